/**
 * A bound on bytes per second, as a token bucket: what was not used lately may go at once, up to `burstMs` worth of it.
 * What is larger than the bucket goes when the bucket is full, and leaves it in debt.
 */
import type { Clock } from '@idlewild/protocol';

export interface Rate {
  /** Milliseconds until so many bytes may pass; when that is now, which is 0, they have. */
  takeMs(bytes: number): number;
}

/** `bytesPerSecond` above 0. */
export function createRate(clock: Clock, bytesPerSecond: number, burstMs: number): Rate {
  const burst = (bytesPerSecond * burstMs) / 1_000;
  let allowed = burst;
  let filledAtMs = clock.monotonic();
  return {
    takeMs(bytes) {
      const nowMs = clock.monotonic();
      allowed = Math.min(burst, allowed + ((nowMs - filledAtMs) * bytesPerSecond) / 1_000);
      filledAtMs = nowMs;
      const missing = Math.min(bytes, burst) - allowed;
      if (missing > 0) return Math.ceil((missing * 1_000) / bytesPerSecond);
      allowed -= bytes;
      return 0;
    },
  };
}
