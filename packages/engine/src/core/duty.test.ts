/** The share of time in which an engine computes, over any stretch of work. */
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createDuty, type Duty } from './duty.ts';
import { LIMITS } from './limits.ts';

/** Time goes on by itself where somebody waits. */
function setUp(share: number): { clock: FakeClock; duty: Duty; work(ms: number): Promise<void> } {
  const clock = createFakeClock(() => Promise.resolve());
  const duty = createDuty(clock, share);
  return {
    clock,
    duty,
    async work(ms) {
      const fromMs = clock.monotonic();
      await clock.advance(ms);
      const rested = duty.rest(fromMs);
      await clock.advance(clock.nextInMs() ?? 0);
      await rested;
    },
  };
}

test('the share holds over many runs, short and long', async () => {
  for (const share of [0.05, 0.3, 0.5, 0.9, 1]) {
    for (const runMs of [0.3, 7, 50]) {
      const { clock, work } = setUp(share);
      for (let run = 0; run < 100; run++) await work(runMs);
      const used = (100 * runMs) / clock.monotonic();
      expect(used).toBeLessThanOrEqual(share * 1.02 + (LIMITS.dutyRestMsMin * share) / clock.monotonic());
      expect(used).toBeGreaterThan(share * 0.9);
    }
  }
});

test('time without work counts as rest, and is not saved up', async () => {
  const { clock, work } = setUp(0.5);
  await work(50);
  await clock.advance(10_000);
  const fromMs = clock.monotonic();
  for (let run = 0; run < 10; run++) await work(50);
  expect(clock.monotonic() - fromMs).toBeGreaterThanOrEqual(950);
});

test('a smaller share holds from the next run on', async () => {
  const { clock, duty, work } = setUp(1);
  await work(50);
  expect(clock.monotonic()).toBe(50);
  duty.set(0.25);
  await work(50);
  expect(clock.monotonic()).toBe(250);
});

test('who was stopped for hours in mid-run does not rest for hours', async () => {
  const { clock, work } = setUp(0.5);
  await work(10_000_000);
  expect(clock.monotonic()).toBeLessThanOrEqual(10_000_000 + LIMITS.dutyRunMsMax);
});
