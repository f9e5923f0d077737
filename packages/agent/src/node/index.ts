/** A device on Node: the wiring, and the ports that it is made of. */
export { startNodeAgent, type LenderChoice, type NodeAgentOptions } from './start-agent.ts';
export { openDataFolder, type DataFolder, type DeviceSettings } from './data-folder.ts';
export { createHttpSources, type HttpSources } from './http-source.ts';
export { readLending } from './lending-file.ts';
export { createNodeModelFolders } from './model-folders.ts';
export { createWsTransport } from './ws-transport.ts';
export { openControl, type ControlClient } from './control-client.ts';
export { readHistory } from './history.ts';
export { heldPause, keepPause, pauseResting } from './kept-pause.ts';
export { hasDevice, leaveFolder } from './leave.ts';
export { readConsent, type KeptConsent } from './kept-consent.ts';
export { changeLimits } from './change-limits.ts';
export type { LentDevice } from './lent-device.ts';
export { openSignals } from './signals/open-signals.ts';
