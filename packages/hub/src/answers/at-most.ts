/** Waiting, but not for ever. */
import type { Clock } from '@idlewild/protocol';

/** Resolves when `promise` is settled, however, or when the time is over. */
export async function atMost(promise: Promise<void>, ms: number, clock: Clock): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = clock.after(ms, over.resolve);
  await Promise.race([promise.catch(() => {}), over.promise]);
  timer.cancel();
}
