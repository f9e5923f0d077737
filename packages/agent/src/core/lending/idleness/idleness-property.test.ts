/** Claims that hold for every sequence of readings, looked for in random ones; a failing seed is in the name. */
import { createSeededRandom } from '@idlewild/protocol/testing';
import type { Random } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import { noisyDay } from '../../../testing/noisy-day.ts';
import { UNSEEN, activeNames, look, type Idleness } from './idleness.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import { LINES, REASON_NAMES, type Outside, type ReasonName } from './lines.ts';
import type { Signals } from './port.ts';
import { DEFAULT_PAUSE_RULES } from '../terms/rules.ts';

const RULES = { ...DEFAULT_PAUSE_RULES, whenLocked: true, programs: ['doom'] };
const OUTSIDE: Outside = { localTime: { weekday: 0, minute: 0 }, nowMs: 0 };
const STEPS = 3_000;

/** Of each signal, readings on both sides of its lines, and none at all; often the same as before. */
function readings(random: Random): () => Signals {
  const values: { [Name in keyof Signals]-?: readonly Signals[Name][] } = {
    inputIdleMs: [0, 100_000, 150_000, 175_000, 185_000, 600_000],
    locked: [true, false, false, false],
    fullScreen: [true, false],
    audio: [true, false],
    camera: [true, false],
    otherCpu: [0, 0.1, 0.14, 0.16, 0.24, 0.26, 0.36, 1],
    otherGpu: [0, 0.09, 0.11, 0.19, 0.21, 0.31, 1],
    onBattery: [true, false],
    charge: [0.29, 0.31, 0.34, 0.36, 1],
    celsius: [40, 70, 74, 76, 84, 86, 100],
    memoryPressure: [0, 0.02, 0.04, 0.09, 0.11, 1],
    memoryFree: [0, 0.07, 0.09, 0.12, 0.14, 0.5],
    meteredNetwork: [true, false],
    programs: [[], ['doom']],
  };
  let now: Signals = {};
  return () => {
    const changed = Object.entries(values).flatMap(([name, of]) =>
      random.unit() < 0.8 ? [] : [[name, random.unit() < 0.1 ? undefined : of[Math.floor(random.unit() * of.length)]]],
    );
    now = { ...now, ...(Object.fromEntries(changed) as Signals) };
    return now;
  };
}

/** Every signal as it is or worse. What a lock says is neither. */
function worse(signals: Signals, random: Random): Signals {
  const more = (value: number | undefined, by: number): number | undefined =>
    value === undefined ? undefined : Math.max(0, value + by * random.unit());
  const or = (value: boolean | undefined): boolean | undefined =>
    value === undefined ? undefined : value || random.unit() < 0.3;
  const { inputIdleMs, fullScreen, audio, camera, otherCpu, otherGpu, onBattery, charge, celsius } = signals;
  const changed = {
    inputIdleMs: more(inputIdleMs, -200_000),
    fullScreen: or(fullScreen),
    audio: or(audio),
    camera: or(camera),
    otherCpu: more(otherCpu, 0.3),
    otherGpu: more(otherGpu, 0.3),
    onBattery: or(onBattery),
    charge: more(charge, -0.2),
    celsius: more(celsius, 20),
    memoryPressure: more(signals.memoryPressure, 0.2),
    memoryFree: more(signals.memoryFree, -0.2),
    meteredNetwork: or(signals.meteredNetwork),
    programs: random.unit() < 0.3 ? ['doom'] : signals.programs,
  };
  return { ...signals, ...(Object.fromEntries(Object.entries(changed)) as Signals) };
}

interface Step {
  readonly atMs: number;
  readonly signals: Signals;
  readonly before: Idleness;
  readonly after: Idleness;
}

function* walk(seed: number): Generator<Step & { readonly random: Random }> {
  const random = createSeededRandom(seed);
  const next = readings(random);
  let before = UNSEEN;
  for (let step = 0, atMs = 0; step < STEPS; step++, atMs += random.unit() < 0.5 ? 50 : 30_000 * random.unit() ** 3) {
    const signals = next();
    const after = look(before, { signals, outside: OUTSIDE, rules: RULES }, atMs);
    yield { atMs, signals, before, after, random };
    before = after;
  }
}

const has = (state: Idleness, name: ReasonName): boolean => activeNames(state).includes(name);
const heightOf = (name: ReasonName, signals: Signals): number | undefined =>
  LINES[name].height({ signals, outside: OUTSIDE, rules: RULES });

describe.each([1, 2, 3, 4, 5, 6])('with the seed %i', (seed) => {
  test('no reason is entered unless its reading is beyond its line: for its hold, or in its mean', () => {
    const farSince = new Map<ReasonName, number>();
    const lastOver = new Map<ReasonName, number>();
    let entered = 0;
    for (const { atMs, signals, before, after } of walk(seed)) {
      for (const name of REASON_NAMES) {
        const { enterAfterMs, smoothedMs } = LINES[name];
        const height = heightOf(name, signals) ?? 0;
        if (height >= 1) lastOver.set(name, atMs);
        if (height < (smoothedMs === undefined ? 1 : 2)) farSince.delete(name);
        else if (!farSince.has(name)) farSince.set(name, atMs);
        if (has(before, name) || !has(after, name)) continue;
        entered++;
        const isHeld = atMs - (farSince.get(name) ?? Infinity) >= enterAfterMs;
        const isInTheMean = smoothedMs !== undefined && atMs === lastOver.get(name);
        expect(isHeld || isInTheMean, `${name} at ${atMs}`).toBe(true);
      }
    }
    expect(entered).toBeGreaterThan(50);
  });

  test('a reason that was entered stays for its hold, and is not left while its reading is beyond its line', () => {
    const enteredMs = new Map<ReasonName, number>();
    let left = 0;
    for (const { atMs, signals, before, after } of walk(seed)) {
      for (const name of REASON_NAMES) {
        if (!has(before, name) && has(after, name)) enteredMs.set(name, atMs);
        if (!has(before, name) || has(after, name)) continue;
        left++;
        expect(atMs - (enteredMs.get(name) ?? Infinity), name).toBeGreaterThanOrEqual(LINES[name].leaveAfterMs);
        expect(heightOf(name, signals) ?? 0, name).toBeLessThan(1);
      }
    }
    expect(left).toBeGreaterThan(20);
  });

  test('a worse reading never ends a reason that a better one would have kept or entered', () => {
    for (const { atMs, signals, before, after, random } of walk(seed)) {
      const worst = look(before, { signals: worse(signals, random), outside: OUTSIDE, rules: RULES }, atMs);
      expect(activeNames(worst)).toEqual(expect.arrayContaining([...activeNames(after)]));
      expect(worst.throttle).toBeLessThanOrEqual(after.throttle);
    }
  });

  test('a halt has a reading to show for it, is over in time, and leaves time to work before the next', () => {
    const times: { sinceMs: number; endedMs: number }[] = [];
    for (const { atMs, signals, before, after } of looksAtLoad(seed)) {
      const [was, is] = [before.halt.sinceMs, after.halt.sinceMs];
      if (is !== undefined) expect(activeNames(after)).toEqual([]);
      if (was === undefined && is !== undefined) {
        expect(heightOf('load', signals) ?? 0).toBeGreaterThanOrEqual(HOLD.heightSuspected);
        const { endedMs = -Infinity } = before.halt;
        expect(atMs - endedMs).toBeGreaterThanOrEqual(HOLD.haltGapMs);
      }
      if (was !== undefined && is === undefined) times.push({ sinceMs: was, endedMs: atMs });
    }
    expect(times.length).toBeGreaterThan(20);
    for (const { sinceMs, endedMs } of times) expect(endedMs - sinceMs).toBeLessThanOrEqual(HOLD.haltMsMax + LATE_MS);
  });

  test('whatever went before, engines stand or are paused 250 ms after a program began to compute', () => {
    const random = createSeededRandom(seed);
    let longestMs = 0;
    for (const { atMs, after } of looksAtLoad(seed)) {
      let state = after;
      const stands = (): boolean => state.halt.sinceMs !== undefined || activeNames(state).length > 0;
      let ms = 0;
      while (!stands() && ms < 1_000) {
        ms += 50;
        // One processor of two, and what accounting is off by.
        const otherCpu = 0.5 + 0.1 * (random.unit() - 0.5);
        state = look(state, { signals: { otherCpu }, outside: OUTSIDE, rules: RULES }, atMs + ms);
      }
      longestMs = Math.max(longestMs, ms);
    }
    expect(longestMs).toBeGreaterThanOrEqual(100);
    expect(longestMs).toBeLessThanOrEqual(200);
  });
});

/** How much later than it is due a reading comes. */
const LATE_MS = 60;

/** Load alone, on both sides of its line, for moments and for seconds, as it is read while something is computed. */
function* looksAtLoad(seed: number): Generator<Step> {
  const random = createSeededRandom(seed);
  let before = UNSEEN;
  let otherCpu = 0;
  for (let step = 0, atMs = 0; step < STEPS; step++, atMs += 50 + 10 * random.unit()) {
    if (random.unit() < 0.15) otherCpu = [0, 0.1, 0.2, 0.24, 0.27, 0.4, 1][Math.floor(random.unit() * 7)] ?? 0;
    // A pause ends what is looked for here; as if its minutes had passed.
    if (activeNames(before).length > 0) before = UNSEEN;
    const signals = { otherCpu };
    const after = look(before, { signals, outside: OUTSIDE, rules: RULES }, atMs);
    yield { atMs, signals, before, after };
    before = after;
  }
}

test('the worst of noise does not make a reason come more often than its holds allow', () => {
  const random = createSeededRandom(9);
  let state = UNSEEN;
  let entered = 0;
  // Load that stands just long enough to count, and is gone just long enough to be over, for three hours.
  for (let atMs = 0; atMs < 10_800_000;) {
    const wasActive = has(state, 'load');
    const otherCpu: number = wasActive ? 0 : 1;
    state = look(state, { signals: { otherCpu }, outside: OUTSIDE, rules: RULES }, atMs);
    if (!wasActive && has(state, 'load')) entered++;
    atMs += wasActive ? 1_000 : 50 + 100 * random.unit();
  }
  // A minute doubled four times is sixteen minutes; without that it would be 180.
  expect(entered).toBeLessThan(25);
});

test('in a day of signals that are noisy around the lines no pause and no resume is one too many', () => {
  const { flaps, pauses, pausedShare, haltedShare, entered } = noisyDay(createSeededRandom(1));
  expect(flaps).toEqual([]);
  // The day was one to fail in: there were many pauses, for every reason that signals can give.
  expect(pauses).toBeGreaterThan(50);
  expect(pausedShare).toBeGreaterThan(0.2);
  expect(pausedShare).toBeLessThan(0.9);
  // What is halted for in vain costs little, though a tenth of the day's load is just below its line.
  expect(haltedShare).toBeGreaterThan(0);
  expect(haltedShare).toBeLessThan(0.03);
  const never = REASON_NAMES.filter((name) => entered[name] === undefined);
  expect(never).toEqual(['hours', 'energy', 'carbon', 'locked']);
});
