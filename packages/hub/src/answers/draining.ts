/** Coming to an end with what is open, for a hub that stops. */
import type { Clock } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';

export interface Draining {
  isOpen(): boolean;
  /** Takes nothing new any more; called more than once. */
  close(): void;
}

/**
 * Resolves when nothing is open, or after `boundMs`. Who has a connection here may still ask on it in the first half
 * of that, as long as there is time to answer.
 */
export async function drain({ isOpen, close }: Draining, boundMs: number, clock: Clock): Promise<void> {
  const endsAtMs = clock.monotonic() + boundMs;
  while (isOpen() && clock.monotonic() < endsAtMs) {
    if (clock.monotonic() > endsAtMs - boundMs / 2) close();
    const pause = Promise.withResolvers<void>();
    clock.after(HUB_LIMITS.sweepMs, pause.resolve);
    await pause.promise;
  }
  close();
}
