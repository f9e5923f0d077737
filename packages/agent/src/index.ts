/** A device of Idlewild: what it takes to lend one, on any platform. `./node` has the platform's part for Node. */
export {
  createAgent,
  type Agent,
  type AgentOptions,
  type AgentState,
  type LendingLimits,
  type Log,
  type Presence,
} from './core/agent.ts';
export { openConsent, refusalOf, signConsent, type ConsentChoice, type WorkAsked } from './core/consent.ts';
export { hoursText, parseHours } from './core/lending/hours.ts';
export type { LimitHeld, PauseReason } from './core/lending/port.ts';
export { PRESETS, PRESET_NAMES, consentOfPreset, type PresetName } from './core/lending/presets.ts';
export type { LendingSettings } from './core/lending/settings.ts';
export { AGENT_LIMITS } from './core/limits.ts';
export { engineModelOf, type ModelFolders } from './core/model-folders.ts';
export type { Place } from './core/places.ts';
export { deviceUrlOf, type HubAddress } from './core/session.ts';
