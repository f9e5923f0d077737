/**
 * What a busy machine took of a process's time, for claims such as "within a second" that only real time can show: the
 * claim is about what the code waits for, and a machine that gives it no turn breaks none.
 *
 * A short timer is set again and again, and then `ping` asked, such as a statement of the same database. When both are
 * late all else was late, too, by as much. On a quiet machine that is nothing, so there a claim holds in full. It does
 * not know who kept the process waiting: what blocks the process itself counts as lost, and wants a test of its own.
 */
import { systemClock } from '@idlewild/protocol/node';
import { onTestFinished } from 'vitest';

export interface LostTime {
  /** Milliseconds of those between two moments of the system's monotonic clock. */
  between(fromMs: number, untilMs: number): number;
}

const EVERY_MS = 10;
/** Timers and statements take as much on a machine that has nothing else to do. */
const TOLERATED_MS = 5;

/** Until the test is over. */
export function watchLostTime(ping: () => Promise<unknown> = async () => {}): LostTime {
  const slices: { readonly dueMs: number; readonly cameMs: number }[] = [];
  const now = (): number => systemClock.monotonic();
  let dueMs = now() + EVERY_MS;
  let isOver = false;
  async function watch(): Promise<void> {
    while (!isOver) {
      dueMs = now() + EVERY_MS;
      await new Promise<void>((resolve) => {
        systemClock.after(EVERY_MS, resolve);
      });
      await ping();
      slices.push({ dueMs, cameMs: now() });
    }
  }
  const watching = watch();
  onTestFinished(async () => {
    isOver = true;
    await watching;
  });
  return {
    between: (fromMs, untilMs) =>
      [...slices, { dueMs, cameMs: now() }]
        .filter((slice) => slice.cameMs - slice.dueMs > TOLERATED_MS)
        .map((slice) => Math.min(slice.cameMs, untilMs) - Math.max(slice.dueMs, fromMs))
        .reduce((sum, ms) => sum + Math.max(0, ms), 0),
  };
}
