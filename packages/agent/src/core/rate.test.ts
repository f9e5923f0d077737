/** A bound on bytes per second: what passes over any time, whatever the sizes. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createRate } from './rate.ts';

test('over any time no more passes than the rate and one burst, and hardly less', async () => {
  for (const bytes of [1, 700, 4_000, 9_000]) {
    const clock = createFakeClock(() => Promise.resolve());
    const rate = createRate(clock, 1_000, 4_000);
    let passed = 0;
    for (let i = 0; i < 400; i++) {
      const waitMs = rate.takeMs(bytes);
      if (waitMs === 0) passed += bytes;
      else await clock.advance(waitMs);
      expect(passed).toBeLessThanOrEqual(clock.monotonic() + Math.max(4_000, bytes));
    }
    expect(passed).toBeGreaterThan(clock.monotonic() - bytes);
  }
});

test('who waited as long as it was told may go', async () => {
  const clock = createFakeClock(() => Promise.resolve());
  const rate = createRate(clock, 3_000, 1_000);
  expect(rate.takeMs(3_000)).toBe(0);
  const waitMs = rate.takeMs(1_000);
  expect(waitMs).toBe(334);
  await clock.advance(waitMs - 10);
  expect(rate.takeMs(1_000)).toBeGreaterThan(0);
  await clock.advance(10);
  expect(rate.takeMs(1_000)).toBe(0);
});
