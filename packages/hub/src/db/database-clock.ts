/**
 * A clock that follows the database's time, so that what replicas write down is of one clock, however wrong their own
 * machines' are.
 *
 * A reading is taken to be of the middle of its round trip, and time goes on from there by the monotonic clock; it is
 * never further off than half of that round trip and what the monotonic clock drifts until the next reading. `now`
 * never goes back: where a reading says that it was ahead, it stands still until the database has caught up. The
 * machine's own wall clock is not looked at.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';

export interface DatabaseClock {
  readonly clock: Clock;
  /** Reads the database's time. Rejects when it does not answer; the clock goes on as before. */
  sync(): Promise<void>;
  /** No more readings. */
  stop(): void;
}

/** `read` asks for the database's milliseconds since 1970. Resolves after the first reading, rejects with its error. */
export async function followDatabase(own: Clock, read: () => Promise<number>): Promise<DatabaseClock> {
  /** Database time minus monotonic time, and how far off it may be. */
  let aheadMs = 0;
  let doubtMs = Number.POSITIVE_INFINITY;
  let readAtMs = 0;
  let lastMs = 0;
  let timer: Timer | undefined;
  let isStopped = false;
  let reading: Promise<void> | undefined;

  async function take(): Promise<void> {
    const askedAtMs = own.monotonic();
    const saidMs = await read();
    const heardAtMs = own.monotonic();
    const halfMs = (heardAtMs - askedAtMs) / 2;
    // A slow answer says less than a quick one of a moment ago, until that has grown old.
    if (halfMs > doubtMs && heardAtMs - readAtMs < HUB_LIMITS.databaseTimeOldMs) return;
    aheadMs = saidMs - (askedAtMs + halfMs);
    doubtMs = halfMs;
    readAtMs = heardAtMs;
  }
  const sync = (): Promise<void> => {
    reading ??= take().finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const again = (): void => {
    timer = own.after(HUB_LIMITS.databaseTimeMs, () => {
      // It does not answer: who needs it hears so from his own statement, and the next reading comes.
      void sync().catch(() => {});
      if (!isStopped) again();
    });
  };
  await sync();
  again();
  return {
    clock: {
      now() {
        lastMs = Math.max(lastMs, Math.floor(own.monotonic() + aheadMs));
        return lastMs;
      },
      monotonic: () => own.monotonic(),
      after: (delayMs, act) => own.after(delayMs, act),
    },
    sync,
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}
