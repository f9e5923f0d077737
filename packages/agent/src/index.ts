/** A device of Idlewild: what it takes to lend one, on any platform. `./node` has the platform's part for Node. */
export {
  createAgent,
  type Agent,
  type AgentOptions,
  type AgentState,
  type LendingLimits,
  type Log,
} from './core/agent.ts';
export { openConsent, refusalOf, signConsent, type ConsentChoice, type WorkAsked } from './core/consent.ts';
export { startDriver } from './core/lending/idleness/driver.ts';
export { toldOf } from './core/lending/energy/budget.ts';
export { gridOf, parseGrid } from './core/lending/energy/grid.ts';
export { hoursText, parseHours } from './core/lending/terms/hours.ts';
export { IDLENESS_LIMITS } from './core/lending/limits.ts';
export {
  changed as changedConsent,
  consentChangeSchema,
  widenings,
  type ConsentChange,
} from './core/lending/terms/consent-change.ts';
export type { LeaveOrder, LeaveReport, LendingStatus, LimitsOrder } from './core/lending/control/control.ts';
export type { DayHistory } from './core/lending/control/history.ts';
export type { KeptPause } from './core/lending/control/lender-pause.ts';
export type { LimitHeld, PauseReason, SignalName } from './core/lending/idleness/port.ts';
export { PRESETS, PRESET_NAMES, consentOfPreset, type PresetName } from './core/lending/terms/presets.ts';
export { DEFAULT_PAUSE_RULES, NO_PAUSE_RULES, onProcessors } from './core/lending/terms/rules.ts';
export type { LendingSettings } from './core/lending/terms/settings.ts';
export { AGENT_LIMITS } from './core/limits.ts';
export { engineModelOf, type ModelFolders } from './core/model-folders.ts';
export type { Place } from './core/places.ts';
export { deviceUrlOf, type HubAddress } from './core/session.ts';
