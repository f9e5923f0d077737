/**
 * How long the journal takes to keep what it is given: the first thing that every request waits for, and so the first
 * sign that the database is slow or gone. It changes nothing of the journal.
 */
import type { Clock } from '@idlewild/protocol';
import type { Journal } from './journal.ts';

export interface WatchedJournal {
  readonly journal: Journal;
  /** Of the last request that was kept, and at least as long as the one that waits longest has waited. */
  waitMs(): number;
}

export function watchJournal(journal: Journal, clock: Pick<Clock, 'monotonic'>): WatchedJournal {
  /** Since when each waits, in their order. */
  const waiting = new Map<object, number>();
  let last = { tookMs: 0, atMs: 0 };
  return {
    journal: {
      ...journal,
      async open(record) {
        const beganAtMs = clock.monotonic();
        waiting.set(record, beganAtMs);
        try {
          await journal.open(record);
        } finally {
          waiting.delete(record);
          const atMs = clock.monotonic();
          last = { tookMs: atMs - beganAtMs, atMs };
        }
      },
    },
    waitMs() {
      const oldest = waiting.values().next().value;
      const nowMs = clock.monotonic();
      // What was slow a while ago says nothing: who refuses everybody would never learn that it is over.
      const lately = Math.max(0, last.tookMs - (nowMs - last.atMs));
      return Math.max(lately, oldest === undefined ? 0 : nowMs - oldest);
    },
  };
}
