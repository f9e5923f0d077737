/** Claims about when a replica takes no more requests. */
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { createOverload } from './overload.ts';

function setUp() {
  const clock = createFakeClock(async () => {});
  const load = { loop: 0, database: 0, memory: 0.1 };
  const probe = { loopLateMs: () => load.loop, databaseMs: () => load.database, memory: () => load.memory };
  const overload = createOverload({ clock, random: createSeededRandom(1), log: silentLog, probe });
  const refused = (): number =>
    Array.from({ length: 1_000 }, () => overload.refusal('ter_a')).filter((error) => error !== undefined).length;
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
  expect(overload.refusal('ter_a')).toMatchObject({
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

test.each([
  ['somewhat', 1.5, 0.5],
  ['far', 10, 1],
])('%s behind, a community that asks for little is let in while another floods', async (_, times, refusedPart) => {
  const { load, overload, looks } = setUp();
  load.loop = HUB_LIMITS.loopLateMsMax * times;
  await looks(20);
  const refusals = (community: string, count: number): number =>
    Array.from({ length: count }, () => overload.refusal(community)).filter((error) => error !== undefined).length;
  const refused = { flood: 0, small: 0, new: 0 };
  for (let round = 0; round < 10; round++) {
    refused.flood += refusals('ter_flood', 1_000);
    refused.small += refusals('ter_small', 10);
    await looks(1);
    if (round < 9) continue;
    refused.new += refusals('ter_new', 10);
  }
  // The first look knows of nobody yet.
  expect(refused.small).toBeLessThanOrEqual(10);
  expect(refused.new).toBe(0);
  expect(Math.abs(refused.flood / 10_000 - refusedPart)).toBeLessThan(0.06);
});

test('where several ask for more than their share each is refused as much as it asks beyond it', async () => {
  const { load, overload, looks } = setUp();
  load.loop = HUB_LIMITS.loopLateMsMax * 1.5;
  await looks(20);
  const taken = new Map<string, number>();
  for (let round = 0; round < 10; round++) {
    for (const [community, count] of [
      ['ter_a', 1_000],
      ['ter_b', 400],
      ['ter_c', 100],
    ] as const)
      for (let i = 0; i < count; i++)
        if (overload.refusal(community) === undefined && round > 0)
          taken.set(community, (taken.get(community) ?? 0) + 1);
    await looks(1);
  }
  // Of 1,500 half: 100 for the third, and 325 for each of the others.
  expect(taken.get('ter_c')).toBe(900);
  for (const community of ['ter_a', 'ter_b'] as const)
    expect(Math.abs((taken.get(community) ?? 0) / 9 - 325)).toBeLessThan(30);
});

test('one that is stopped leaves no timer', () => {
  const { overload, clock } = setUp();
  overload.stop();
  expect(clock.nextInMs()).toBeUndefined();
});
