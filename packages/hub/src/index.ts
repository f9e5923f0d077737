/** The control plane: starting it as a process, and its core for the simulator. */
export { createHub, type Hub } from './hub.ts';
export type { HubDeps, ReplicaDeps } from './hub-deps.ts';
export { startHub, isLoopback, type HubOptions, type RunningHub } from './node/start-hub.ts';
export { createPinoLog, type PinoLogOptions } from './node/pino-log.ts';
export { openDatabase, type OpenDatabase } from './db/open.ts';
export { createMemorySecrets, createDiskSecrets, type Secrets } from './identity/secrets.ts';
export { backUp, type BackUpOptions } from './archive/back-up.ts';
export { restore, type RestoreOptions } from './archive/restore.ts';
export { setMovedAddress, type Place } from './archive/place.ts';
export type { ArchiveKind, ArchiveManifest } from './archive/manifest.ts';
export { readSealingKey } from './identity/database-secrets.ts';
export { openHouse, type House } from './house/house.ts';
export { createHosting } from './house/hosting.ts';
export { createFront } from './gateway/door/front.ts';
export { createOpenAiDoor, type OpenAiDoorDeps } from './gateway/openai-door.ts';
export { silentLog, type Log } from './log.ts';
export { HUB_LIMITS } from './limits.ts';
export { createLocalBusHub, type BusFaults, type LocalBusHub, type LocalBusMember } from './bus/local-bus.ts';
export type { Bus } from './bus/port.ts';
export { createRegister, type Register } from './replicas/register.ts';
export { createContinuation, createEventIds, lastEventId } from './gateway/asking/event-ids.ts';
export { holdFor, sharesOf, type Spender } from './gateway/asking/spend-hook.ts';
export { estimateUse } from './gateway/asking/token-estimate.ts';
export { addMember } from './people/members.ts';
export type { Making, Started } from './callers/recording.ts';
export type { Run } from './callers/runs.ts';
export { testPolicies } from './policy/cases.ts';
export { rescuePolicy } from './policy/rescue.ts';
export type { KeyPrincipal } from './identity/principal.ts';
export type { ConnectedDevice } from './session/connected-device.ts';
export type {
  AnswerHandle,
  AnswerMeter,
  AnswerOutcome,
  AnswerRequest,
  AnswerSink,
  Answers,
} from './answers/port.ts';
