/** Claims about how often something is done. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createPace } from './pace.ts';

const GAP_MS = 4;

function setUp() {
  const clock = createFakeClock(() => Promise.resolve());
  const done: number[] = [];
  const startedMs = clock.monotonic();
  return { clock, done, pace: createPace(clock, GAP_MS, () => done.push(clock.monotonic() - startedMs)) };
}

test('who asks less often than once in a moment never waits', async () => {
  const { clock, done, pace } = setUp();
  for (let i = 0; i < 3; i++) {
    pace.ask();
    await clock.advance(GAP_MS);
  }
  expect(done).toEqual([0, GAP_MS, 2 * GAP_MS]);
});

test('what is asked for within a moment is done together, when it is over', async () => {
  const { clock, done, pace } = setUp();
  for (let ms = 0; ms < 3 * GAP_MS; ms++) {
    pace.ask();
    pace.ask();
    await clock.advance(1);
  }
  expect(done).toEqual([0, GAP_MS, 2 * GAP_MS, 3 * GAP_MS]);
});

test('what is done now is not done again for who asked before', async () => {
  const { clock, done, pace } = setUp();
  pace.ask();
  pace.ask();
  pace.now();
  await clock.advance(2 * GAP_MS);
  expect(done).toEqual([0, 0]);
});

test('one that was stopped does nothing any more', async () => {
  const { clock, done, pace } = setUp();
  pace.ask();
  pace.ask();
  pace.stop();
  pace.ask();
  pace.now();
  await clock.advance(2 * GAP_MS);
  expect(done).toEqual([0]);
});
