/** Claims about what counts as lost: a claim about time rests on it. */
import { systemClock } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { watchLostTime } from './lost-time.ts';

const wait = (ms: number): Promise<void> => new Promise((resolve) => void systemClock.after(ms, resolve));

test('a process that gets no turn, and a database that does not answer, have lost that time and no other', async () => {
  let answerMs = 0;
  const lost = watchLostTime(() => wait(answerMs));
  await wait(50);
  const blockedMs = systemClock.monotonic();
  while (systemClock.monotonic() < blockedMs + 300);
  const freeMs = systemClock.monotonic();
  expect(lost.between(blockedMs, freeMs)).toBeGreaterThan(270);
  expect(lost.between(blockedMs, freeMs)).toBeLessThanOrEqual(freeMs - blockedMs);
  expect(lost.between(freeMs + 10_000, freeMs + 20_000)).toBe(0);
  answerMs = 200;
  const askedMs = systemClock.monotonic();
  await wait(600);
  expect(lost.between(askedMs, systemClock.monotonic())).toBeGreaterThan(400);
});
