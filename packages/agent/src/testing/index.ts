/** What tests and the simulator need to run real agents: an engine that is arithmetic, and folders that are names. */
export {
  createSimulatedEngineHost,
  simulatedAnswer,
  simulatedPromptTokens,
  simulatedText,
  type SimulatedEngine,
  type SimulatedEngineHost,
  type SimulatedEngineOptions,
} from './simulated-engine.ts';
export { createMemoryModelFolders } from '../core/model-folders.ts';
