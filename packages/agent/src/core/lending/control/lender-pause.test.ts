/** Claims about the lender's own pause: when it ends, what outlives a restart, and what a wall clock may do. */
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { CONTROL_LIMITS } from './limits.ts';
import { createLenderPause, isOver, pausedAgain, type KeptPause, type LenderPause } from './lender-pause.ts';

const HOUR_MS = 3_600_000;

interface World {
  readonly clock: FakeClock;
  readonly paused: Set<string>;
  readonly kept: () => KeptPause | undefined;
  start(): LenderPause;
}

function setUp(before?: KeptPause): World {
  const clock = createFakeClock(() => Promise.resolve());
  const paused = new Set<string>();
  let kept = before;
  return {
    clock,
    paused,
    kept: () => kept,
    start: () =>
      createLenderPause({
        clock,
        kept,
        device: { pause: (name) => paused.add(name), resume: (name) => paused.delete(name) },
        keep: async (pause) => {
          kept = pause;
        },
        onFailed: (error) => {
          throw error;
        },
      }),
  };
}

test('a pause without an end holds until it is taken back, also over a restart', async () => {
  const { clock, paused, kept, start } = setUp();
  const first = start();
  await first.pause();
  expect(paused).toEqual(new Set(['lender']));
  expect(kept()).toEqual({ sinceMs: clock.now() });
  first.stop();
  paused.clear();
  const second = start();
  expect(paused).toEqual(new Set(['lender']));
  await clock.advance(1_000 * HOUR_MS);
  expect(paused).toEqual(new Set(['lender']));
  await second.resume();
  expect(paused).toEqual(new Set());
  expect(kept()).toBeUndefined();
});

test('a pause with an end is over at that time, and nothing of it is kept', async () => {
  const { clock, paused, kept, start } = setUp();
  await start().pause(2 * HOUR_MS);
  await clock.advance(2 * HOUR_MS - 1);
  expect(paused).toEqual(new Set(['lender']));
  await clock.advance(1);
  expect(paused).toEqual(new Set());
  expect(kept()).toBeUndefined();
});

test('the end counts over a restart, and one that has passed meanwhile holds no more', async () => {
  const { clock, paused, start } = setUp();
  const first = start();
  await first.pause(2 * HOUR_MS);
  first.stop();
  paused.clear();
  await clock.advance(HOUR_MS);
  const second = start();
  expect(paused).toEqual(new Set(['lender']));
  second.stop();
  await clock.advance(HOUR_MS);
  paused.clear();
  start();
  await clock.advance(0);
  expect(paused).toEqual(new Set());
});

test('the newer end counts, shorter or longer, and the pause keeps the time since when it holds', async () => {
  const { clock, paused, kept, start } = setUp();
  const pause = start();
  const sinceMs = clock.now();
  await pause.pause(10 * HOUR_MS);
  await clock.advance(HOUR_MS);
  await pause.pause(HOUR_MS);
  expect(kept()).toEqual({ sinceMs, untilMs: sinceMs + 2 * HOUR_MS });
  await clock.advance(HOUR_MS);
  expect(paused).toEqual(new Set());
  await pause.pause(HOUR_MS);
  await pause.pause();
  await clock.advance(10 * HOUR_MS);
  expect(paused).toEqual(new Set(['lender']));
});

test('a machine that slept past the end goes on soon after it wakes, though its timers stood still', async () => {
  const clock = createFakeClock(() => Promise.resolve());
  let sleptMs = 0;
  const paused = new Set<string>();
  const pause = createLenderPause({
    clock: { ...clock, now: () => clock.now() + sleptMs },
    kept: undefined,
    device: { pause: (name) => paused.add(name), resume: (name) => paused.delete(name) },
    keep: async () => undefined,
    onFailed: () => undefined,
  });
  await pause.pause(8 * HOUR_MS);
  sleptMs = 9 * HOUR_MS;
  await clock.advance(CONTROL_LIMITS.pauseLookMs);
  expect(paused).toEqual(new Set());
});

test('a pause that cannot be kept holds all the same, and whoever asked is told', async () => {
  const clock = createFakeClock(() => Promise.resolve());
  const paused = new Set<string>();
  const pause = createLenderPause({
    clock,
    kept: undefined,
    device: { pause: (name) => paused.add(name), resume: (name) => paused.delete(name) },
    keep: () => Promise.reject(new Error('the disk is full')),
    onFailed: () => undefined,
  });
  await expect(pause.pause()).rejects.toThrow('the disk is full');
  expect(paused).toEqual(new Set(['lender']));
});

test('paused again it has been paused since the first word, but for a pause whose time was over', () => {
  expect(pausedAgain(undefined, 50, 10)).toEqual({ sinceMs: 50, untilMs: 60 });
  expect(pausedAgain({ sinceMs: 1 }, 50, 10)).toEqual({ sinceMs: 1, untilMs: 60 });
  expect(pausedAgain({ sinceMs: 1, untilMs: 51 }, 50, undefined)).toEqual({ sinceMs: 1 });
  expect(pausedAgain({ sinceMs: 1, untilMs: 50 }, 50, 10)).toEqual({ sinceMs: 50, untilMs: 60 });
  expect(isOver({ sinceMs: 1 }, 1e12)).toBe(false);
});
