/** The whole of Idlewild on a virtual clock: the real hub, many real agents, and all that can go wrong, by seed. */
export { simulate, type Figures, type Report, type SimulationOptions, type Violation } from './run.ts';
export { CALM, RATES, type Rates } from './rates.ts';
export { INVARIANTS, type Invariant } from './invariants/all.ts';
