/** Tokens per second over all that one engine does: what came is paid for before more may come. */
import type { Clock } from '@idlewild/protocol';

export interface Pace {
  /** Until more tokens may be made or read; 0 or less when they may be now. */
  waitMs(): number;
  /** How many tokens it allows in so many milliseconds. */
  within(ms: number): number;
  /** So many were; one, if it is not said. */
  count(tokens?: number): void;
}

export function createPace(tokensPerSecondMax: number | undefined, clock: Clock): Pace {
  if (tokensPerSecondMax === undefined) return { waitMs: () => 0, within: () => Infinity, count: () => undefined };
  let freeMs = 0;
  return {
    waitMs: () => freeMs - clock.monotonic(),
    within: (ms) => Math.floor((ms * tokensPerSecondMax) / 1_000),
    count(tokens = 1) {
      freeMs = Math.max(freeMs, clock.monotonic()) + (1_000 * tokens) / tokensPerSecondMax;
    },
  };
}
