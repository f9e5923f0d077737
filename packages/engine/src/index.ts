/** Running a graph: the port that agents use, and the tokenising, sampling and decoding behind it. */
export type { Engine, EngineEvent, EngineHost, EngineLimits, EngineModel } from './core/port.ts';
