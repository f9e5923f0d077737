import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { followDatabase } from './database-clock.ts';

const HOUR_MS = 3_600_000;

/** A database an hour ahead, which answers after `way.tripMs`, having looked at its clock in the middle. */
async function setUp() {
  const own = createFakeClock(yieldToNode);
  const way = { tripMs: 0, aheadMs: HOUR_MS, isDown: false, reads: 0 };
  const read = async (): Promise<number> => {
    way.reads++;
    if (way.isDown) throw new Error('the database is away');
    const pause = (ms: number) => new Promise<void>((resolve) => own.after(ms, resolve));
    if (way.tripMs > 0) await pause(way.tripMs / 2);
    const now = own.now() + way.aheadMs;
    if (way.tripMs > 0) await pause(way.tripMs / 2);
    return now;
  };
  const { clock, sync, stop } = await followDatabase(own, read);
  return { own, way, clock, sync, stop, truth: () => own.now() + way.aheadMs };
}

test('its time is the database’s, and goes on between readings', async () => {
  const { own, clock, truth } = await setUp();
  expect(clock.now()).toBe(truth());
  await own.advance(9_000);
  expect(clock.now()).toBe(truth());
  expect(clock.monotonic()).toBe(own.monotonic());
});

test('a reading is of the middle of its round trip', async () => {
  const { own, way, clock, sync, truth } = await setUp();
  way.tripMs = 400;
  // Old enough that a slower reading counts.
  await own.advance(70_000);
  way.aheadMs = 2 * HOUR_MS;
  const synced = sync();
  await own.advance(400);
  await synced;
  expect(clock.now()).toBe(truth());
});

test('a database whose time is corrected is followed within ten seconds', async () => {
  const { own, way, clock, truth } = await setUp();
  way.aheadMs += 5_000;
  await own.advance(10_000);
  expect(clock.now()).toBe(truth());
});

test('it never goes back: it stands until the database has caught up', async () => {
  const { own, way, clock, truth } = await setUp();
  way.aheadMs -= 3_000;
  await own.advance(9_999);
  const standing = clock.now();
  await own.advance(1);
  expect(standing).toBeGreaterThan(truth());
  const seen: number[] = [];
  for (let second = 0; second < 5; second++) {
    await own.advance(1_000);
    seen.push(clock.now());
  }
  expect(seen.toSorted((a, b) => a - b)).toEqual(seen);
  expect(seen[0]).toBe(standing);
  expect(clock.now()).toBe(truth());
});

test('a slow answer does not undo a quick one', async () => {
  const { own, way, clock, sync, truth } = await setUp();
  const late = { ...way };
  way.tripMs = 8_000;
  // It lies by as much as its round trip allows.
  way.aheadMs += 4_000;
  const synced = sync();
  await own.advance(8_000);
  await synced;
  way.aheadMs = late.aheadMs;
  expect(clock.now()).toBe(truth());
});

test('while the database is away time goes on, and it is asked again', async () => {
  const { own, way, clock, sync, truth } = await setUp();
  way.isDown = true;
  await own.advance(35_000);
  expect(clock.now()).toBe(truth());
  await expect(sync()).rejects.toThrow('away');
  way.isDown = false;
  way.aheadMs += 1_000;
  await own.advance(10_000);
  expect(clock.now()).toBe(truth());
});

test('once stopped it asks no more', async () => {
  const { own, way, stop } = await setUp();
  stop();
  await own.advance(60_000);
  expect(way.reads).toBe(1);
});
