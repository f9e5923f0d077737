/**
 * The share of time in which an engine computes: after each run it rests until its runs so far are no more than that
 * share of the time since the first of them began. Time in which there was nothing to do counts as rest, and is not
 * saved up for later.
 */
import type { Clock } from '@idlewild/protocol';
import { LIMITS } from './limits.ts';

export interface Duty {
  /** From now on; over 0, at most 1. */
  set(share: number): void;
  /** Something was computed from `fromMs` (monotonic) until now: resolves when more may be; absent: at once. */
  rest(fromMs: number): Promise<void> | undefined;
}

export function createDuty(clock: Clock, initial = 1): Duty {
  let share = initial;
  let freeMs = 0;
  return {
    set(next) {
      share = next;
    },
    rest(fromMs) {
      const nowMs = clock.monotonic();
      // Who was stopped in mid-run or slept with the lid closed has not computed all that time.
      const ranMs = Math.min(nowMs - fromMs, LIMITS.dutyRunMsMax);
      freeMs = Math.max(freeMs, nowMs - ranMs) + ranMs / share;
      const waitMs = freeMs - clock.monotonic();
      // What is too short for a timer is made up for by the next rest.
      if (waitMs < LIMITS.dutyRestMsMin) return undefined;
      return new Promise<void>((resolve) => void clock.after(waitMs, resolve));
    },
  };
}
