/** Claims about when a replica takes no more requests. */
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { createOverload } from './overload.ts';

function setUp() {
  const clock = createFakeClock(async () => {});
  const load = { loop: 0, database: 0, memory: 0.1 };
  const probe = { loopLateMs: () => load.loop, databaseMs: () => load.database, memory: () => load.memory };
  const overload = createOverload({ clock, random: createSeededRandom(1), log: silentLog, probe });
  const refused = (): number =>
    Array.from({ length: 1_000 }, () => overload.refusal()).filter((error) => error !== undefined).length;
  const looks = (count: number): Promise<void> => clock.advance(count * HUB_LIMITS.loadLookMs);
  return { load, overload, refused, looks, clock };
}

test('one long task sheds nobody, and neither does a process that was stopped for a minute, for long', async () => {
  const { load, refused, looks } = setUp();
  load.loop = HUB_LIMITS.loopLateMsMax * 2;
  await looks(1);
  load.loop = 0;
  expect(refused()).toBe(0);
  load.loop = 60_000;
  await looks(1);
  load.loop = 0;
  await looks(5);
  expect(refused()).toBe(0);
});

test.each([
  ['the event loop is late', 'loop', HUB_LIMITS.loopLateMsMax, /\d+ ms behind with its work/],
  ['the database is slow', 'database', HUB_LIMITS.databaseSlowMsMax, /database takes \d+ ms/],
] as const)('when %s, more are refused the further it is behind', async (_, what, bound, message) => {
  const { load, overload, refused, looks } = setUp();
  load[what] = bound;
  await looks(20);
  expect(refused()).toBe(0);
  load[what] = bound * 1.5;
  await looks(20);
  const some = refused();
  expect(some).toBeGreaterThan(400);
  expect(some).toBeLessThan(600);
  load[what] = bound * 3;
  await looks(20);
  expect(refused()).toBe(1_000);
  expect(overload.refusal()).toMatchObject({
    code: 'too_busy',
    message: expect.stringMatching(message),
    details: { retryAfterMs: expect.any(Number), retryAfterSeconds: expect.any(Number) },
  });
  load[what] = 0;
  await looks(3);
  expect(refused()).toBe(0);
});

test('when memory runs out nobody new comes, and everybody as soon as there is room', async () => {
  const { load, refused, looks } = setUp();
  load.memory = 0.95;
  await looks(1);
  expect(refused()).toBe(1_000);
  load.memory = 0.5;
  await looks(1);
  expect(refused()).toBe(0);
});

test('one that is stopped leaves no timer', () => {
  const { overload, clock } = setUp();
  overload.stop();
  expect(clock.nextInMs()).toBeUndefined();
});
