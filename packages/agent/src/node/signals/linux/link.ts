/**
 * A connection that comes and goes with a person's session: opened when it is needed, and again after it was lost, but
 * looked for in vain only now and then.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';

export interface Link<T> {
  get(): Promise<T | undefined>;
  /** What is open now, without looking for it. */
  current(): T | undefined;
  close(): void;
}

interface Closable {
  isOpen(): boolean;
  close(): void;
}

export function createLink<T extends Closable>(clock: Clock, open: () => Promise<T | undefined>): Link<T> {
  let opening: Promise<void> | undefined;
  let link: T | undefined;
  let triedMs = -Infinity;
  let isClosed = false;
  const tryOpen = async (): Promise<void> => {
    triedMs = clock.monotonic();
    const opened = await open().catch(() => undefined);
    if (isClosed) opened?.close();
    else link = opened;
    opening = undefined;
  };
  const current = (): T | undefined => (link?.isOpen() === true ? link : undefined);
  return {
    current,
    async get() {
      if (current() !== undefined || isClosed) return current();
      if (opening === undefined && clock.monotonic() - triedMs >= SIGNAL_LIMITS.reconnectMs) opening = tryOpen();
      await opening;
      return current();
    },
    close() {
      isClosed = true;
      link?.close();
    },
  };
}
