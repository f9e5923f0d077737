import { expect, test } from 'vitest';
import { createFakeClock, type FakeClock } from './fake-clock.ts';
import { createSeededRandom } from './seeded-random.ts';
import { yieldToNode } from './yield-to-node.ts';

const newClock = (startMs?: number): FakeClock => createFakeClock(yieldToNode, startMs);

test('time stands still until it is told to go on', async () => {
  const clock = newClock(1_000);
  expect([clock.now(), clock.monotonic()]).toEqual([1_000, 0]);
  await clock.settle();
  expect(clock.now()).toBe(1_000);
  await clock.advance(250);
  expect([clock.now(), clock.monotonic()]).toEqual([1_250, 250]);
});

test('timers fire in the order of their times, then of their setting, each at its own time', async () => {
  const clock = newClock();
  const random = createSeededRandom(7);
  const expected: [number, number][] = [];
  const fired: [number, number][] = [];
  for (let order = 0; order < 500; order++) {
    const delayMs = Math.floor(random.unit() * 50);
    expected.push([delayMs, order]);
    clock.after(delayMs, () => fired.push([clock.monotonic(), order]));
  }
  await clock.advance(49);
  expect(fired).toEqual(expected.toSorted((left, right) => left[0] - right[0] || left[1] - right[1]));
});

test('a timer at the end of the stretch fires, one after it does not, a cancelled one never', async () => {
  const clock = newClock();
  const fired: string[] = [];
  clock.after(10, () => fired.push('at the end'));
  clock.after(11, () => fired.push('after'));
  const cancelled = clock.after(5, () => fired.push('cancelled'));
  expect(clock.nextInMs()).toBe(5);
  cancelled.cancel();
  expect(clock.nextInMs()).toBe(10);
  await clock.advance(10);
  expect(fired).toEqual(['at the end']);
  await clock.advance(1);
  expect(clock.nextInMs()).toBeUndefined();
  expect(fired).toEqual(['at the end', 'after']);
});

test('promises settle between timers, and what they set falls due in the same stretch', async () => {
  const clock = newClock();
  const seen: string[] = [];
  clock.after(1, () => {
    const later = async (): Promise<void> => {
      for (let step = 0; step < 3; step++) await Promise.resolve();
      seen.push('settled');
      clock.after(1, () => seen.push(`again at ${clock.monotonic()}`));
    };
    void later();
  });
  clock.after(2, () => seen.push('second'));
  await clock.advance(5);
  expect(seen).toEqual(['settled', 'second', 'again at 2']);
  expect(clock.monotonic()).toBe(5);
});

test('a delay below nothing is now, not the past', async () => {
  const clock = newClock();
  await clock.advance(100);
  let at = 0;
  clock.after(-50, () => {
    at = clock.monotonic();
  });
  await clock.advance(0);
  expect(at).toBe(100);
});
