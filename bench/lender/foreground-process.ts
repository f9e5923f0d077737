/**
 * A program of the lender's: a loop over registers, or one over more memory than any cache holds. Says how often it got
 * round within the time that it is told.
 */
import { taskOf } from '../processes.ts';

export type ForegroundLoop = 'cpu' | 'memory';

export interface ForegroundTask {
  readonly loop: ForegroundLoop;
}
export interface ForegroundTold {
  readonly forMs: number;
}
export interface ForegroundSaid {
  readonly perMs: number;
}

const WORDS = 16 * 2 ** 20;
const STEPS = 20_000;

const { task, say, onTold, onStop } = await taskOf<ForegroundTask>();
const memory = new Uint32Array(task.loop === 'memory' ? WORDS : 1);
// One round through all of it, in an order that nothing foresees.
for (let i = 0; i < memory.length; i++) memory[i] = (Math.imul(i, 1_664_525) + 1_013_904_223) >>> 0;
let state = 1;

function round(): void {
  if (task.loop === 'cpu') {
    for (let i = 0; i < STEPS * 8; i++) state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return;
  }
  for (let i = 0; i < STEPS; i++) state = ((memory[state & (WORDS - 1)] ?? 0) ^ (state * 5 + 1)) >>> 0;
}

onTold((message) => {
  const { forMs } = message as ForegroundTold;
  const fromMs = performance.now();
  let rounds = 0;
  while (performance.now() - fromMs < forMs) {
    round();
    rounds++;
  }
  say({ perMs: rounds / (performance.now() - fromMs) } satisfies ForegroundSaid);
});
onStop(() => Promise.resolve());
say({ perMs: state === 0 ? 1 : 0 } satisfies ForegroundSaid);
