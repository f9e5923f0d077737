/** Engines on Node: models in child processes, and measuring the machine. */
export { createNodeEngineHost, type EngineHostOptions } from './engine-host.ts';
export type { ProcessOptions } from './engine-process.ts';
export { measureGraphics, measureMachine, type Machine, type MeasureOptions } from './measure.ts';
export { isolationHere, type Isolation, type Layer, type LayerName } from './isolation/here.ts';
