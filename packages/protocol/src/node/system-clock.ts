/** The `Clock` port over the system's clocks. Timers keep the process alive, as work that is due should. */
import type { Clock } from '../ports.ts';

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, act) => {
    const timer = setTimeout(act, Math.max(0, delayMs));
    return { cancel: () => clearTimeout(timer) };
  },
};
