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
export { startDriver } from './core/lending/driver.ts';
export { toldOf } from './core/lending/energy-budget.ts';
export { gridOf, parseGrid } from './core/lending/grid.ts';
export { hoursText, parseHours } from './core/lending/hours.ts';
export { IDLENESS_LIMITS } from './core/lending/limits.ts';
export {
  changed as changedConsent,
  consentChangeSchema,
  widenings,
  type ConsentChange,
} from './core/lending/consent-change.ts';
export type { LeaveOrder, LeaveReport, LendingStatus, LimitsOrder } from './core/lending/control.ts';
export type { DayHistory } from './core/lending/history.ts';
export type { KeptPause } from './core/lending/lender-pause.ts';
export type { LimitHeld, PauseReason, SignalName } from './core/lending/port.ts';
export { PRESETS, PRESET_NAMES, consentOfPreset, type PresetName } from './core/lending/presets.ts';
export { DEFAULT_PAUSE_RULES, NO_PAUSE_RULES, onProcessors } from './core/lending/rules.ts';
export type { LendingSettings } from './core/lending/settings.ts';
export { AGENT_LIMITS } from './core/limits.ts';
export { engineModelOf, type ModelFolders } from './core/model-folders.ts';
export type { Place } from './core/places.ts';
export { deviceUrlOf, type HubAddress } from './core/session.ts';
