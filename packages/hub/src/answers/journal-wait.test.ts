/** Claims about how long the journal is seen to take. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Journal } from './journal.ts';
import type { OpenRecord } from './journal-records.ts';
import { watchJournal } from './journal-wait.ts';

function setUp() {
  const clock = createFakeClock(async () => {});
  const ends: (() => void)[] = [];
  const journal = {
    open: (record: OpenRecord) =>
      new Promise<void>((resolve, reject) => {
        ends.push(record.request === 'bad' ? () => reject(new Error('on purpose')) : resolve);
      }),
  } as unknown as Journal;
  const record = (request: string): OpenRecord => ({ request }) as OpenRecord;
  return { clock, ends, watched: watchJournal(journal, clock), record };
}

test('it is as slow as the one that waits longest, then as the last one was, and that is forgotten', async () => {
  const { clock, ends, watched, record } = setUp();
  expect(watched.waitMs()).toBe(0);
  const first = watched.journal.open(record('a'));
  await clock.advance(400);
  const second = watched.journal.open(record('b'));
  await clock.advance(100);
  expect(watched.waitMs()).toBe(500);
  ends[0]?.();
  await first;
  ends[1]?.();
  await second;
  expect(watched.waitMs()).toBe(100);
  await clock.advance(100);
  expect(watched.waitMs()).toBe(0);
});

test('a write that fails is passed on, and waits no longer', async () => {
  const { clock, ends, watched, record } = setUp();
  const failing = watched.journal.open(record('bad'));
  await clock.advance(50);
  ends[0]?.();
  await expect(failing).rejects.toThrow('on purpose');
  await clock.advance(50);
  expect(watched.waitMs()).toBe(0);
});
