/**
 * What tests, benches and the simulator need to run real agents: an engine that is arithmetic, folders that are names,
 * and devices by the thousand.
 */
export {
  createSimulatedEngineHost,
  simulatedAnswer,
  simulatedPromptTokens,
  simulatedText,
  type SimulatedEngine,
  type SimulatedEngineHost,
  type SimulatedEngineOptions,
} from './simulated-engine.ts';
export { startLightDevices, type LightDevices, type LightDevicesOptions, type LightEvent } from './light-devices.ts';
export { createMemoryModelFolders } from '../core/model-folders.ts';
export { noisyDay, type NoisyDay } from './noisy-day.ts';
export { createScriptedSignals, type ScriptedSignals } from './scripted-signals.ts';
export { leavesBelow, processorMs, threadStates } from './threads.ts';
