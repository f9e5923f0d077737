import { expect, test } from 'vitest';
import { parseHours } from '../terms/hours.ts';
import {
  UNSEEN,
  activeNames,
  look,
  lookOutside,
  reasonsOf,
  unknownOf,
  type ActiveReason,
  type Idleness,
} from './idleness.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import { REASON_NAMES, type Outside, type ReasonName } from './lines.ts';
import { CALM_SIGNALS } from '../../../testing/scripted-signals.ts';
import type { Signals } from './port.ts';
import {
  DEFAULT_PAUSE_RULES,
  NO_PAUSE_RULES,
  ignoringPresence,
  onProcessors,
  withinConsent,
  type PauseRules,
} from '../terms/rules.ts';

const NOON: Outside = { localTime: { weekday: 2, minute: 720 }, nowMs: 1_000_000 };
const RULES: PauseRules = { ...DEFAULT_PAUSE_RULES, whenLocked: true, programs: ['doom', 'blender'] };
const MINUTE_MS = 60_000;

const CALM: Signals = { ...CALM_SIGNALS, inputIdleMs: 600_000 };

interface Machine {
  /** Reads this every `everyMs` for `forMs`, from now on, and once more at the end. */
  reads(signals: Signals, forMs?: number, everyMs?: number): readonly ReasonName[];
  without(names: readonly (keyof Signals)[], forMs: number): readonly ReasonName[];
  outside(change: Partial<Outside>): readonly ReasonName[];
  reasons(): readonly ActiveReason[];
  state(): Idleness;
}

function createMachine(rules = RULES): Machine {
  let state = UNSEEN;
  let nowMs = 0;
  let signals = CALM;
  let outside = NOON;
  const seen = () => ({ signals, outside: { ...outside, nowMs: outside.nowMs + nowMs }, rules });
  const run = (forMs: number, everyMs: number): readonly ReasonName[] => {
    const untilMs = nowMs + forMs;
    for (;;) {
      state = look(state, seen(), nowMs);
      if (nowMs === untilMs) return activeNames(state);
      nowMs = Math.min(untilMs, nowMs + everyMs);
    }
  };
  return {
    reads(change, forMs = 0, everyMs = 1_000) {
      signals = { ...CALM, ...change };
      return run(forMs, everyMs);
    },
    without(names, forMs) {
      signals = Object.fromEntries(Object.entries(signals).filter(([name]) => !names.includes(name as keyof Signals)));
      return run(forMs, 1_000);
    },
    outside(change) {
      outside = { ...outside, ...change };
      state = lookOutside(state, seen(), nowMs);
      return activeNames(state);
    },
    reasons: () => reasonsOf(state, seen(), nowMs),
    state: () => state,
  };
}

/** A reason; what asks for it; how long that must stand; what keeps it up; and within how long it is left without. */
const SCRIPTS: readonly [ReasonName, Signals, number, Signals, Signals, number, number][] = [
  ['programs', { programs: ['doom'] }, 0, { programs: ['doom'] }, {}, 60_000, 60_000],
  ['input', { inputIdleMs: 143_000 }, 0, { inputIdleMs: 179_000 }, { inputIdleMs: 180_000 }, 2_000, 2_000],
  ['locked', { locked: true }, 0, { locked: true }, {}, 60_000, 60_000],
  ['full-screen', { fullScreen: true }, 0, { fullScreen: true }, {}, 60_000, 60_000],
  ['audio', { audio: true }, 2_000, { audio: true }, {}, 60_000, 60_000],
  ['camera', { camera: true }, 0, { camera: true }, {}, 60_000, 60_000],
  ['load', { otherCpu: 0.26 }, 12_180, { otherCpu: 0.16 }, { otherCpu: 0.05 }, 60_000, 62_000],
  ['load', { otherCpu: 0.5 }, 540, { otherCpu: 0.16 }, { otherCpu: 0.05 }, 60_000, 62_000],
  ['gpu', { otherGpu: 0.21 }, 12_180, { otherGpu: 0.11 }, { otherGpu: 0.01 }, 60_000, 62_000],
  ['gpu', { otherGpu: 0.4 }, 200, { otherGpu: 0.11 }, { otherGpu: 0.01 }, 60_000, 62_000],
  ['battery', { onBattery: true }, 0, { onBattery: true }, {}, 60_000, 60_000],
  ['charge', { charge: 0.29 }, 23_980, { charge: 0.34 }, { charge: 0.38 }, 60_000, 65_000],
  ['charge', { charge: 0.2 }, 1_000, { charge: 0.34 }, { charge: 0.38 }, 60_000, 65_000],
  ['temperature', { celsius: 86 }, 30_450, { celsius: 76 }, { celsius: 65 }, 60_000, 65_000],
  ['temperature', { celsius: 95 }, 1_000, { celsius: 76 }, { celsius: 65 }, 60_000, 65_000],
  ['memory', { memoryPressure: 0.11 }, 23_990, { memoryPressure: 0.04 }, { memoryPressure: 0 }, 60_000, 66_000],
  ['memory', { memoryFree: 0.07 }, 20_980, { memoryFree: 0.12 }, { memoryFree: 0.3 }, 60_000, 65_000],
  ['memory', { memoryFree: 0.02 }, 1_000, { memoryFree: 0.12 }, { memoryFree: 0.3 }, 60_000, 65_000],
  ['metered', { meteredNetwork: true }, 0, { meteredNetwork: true }, {}, 60_000, 60_000],
];

test.each(SCRIPTS)(
  'the reason %s: entered at %o after %i ms, kept by %o, left at %o',
  (name, over, enterMs, between, clear, leaveMsMin, leaveMsMax) => {
    const machine = createMachine();
    expect(machine.reads({}, MINUTE_MS)).toEqual([]);
    if (enterMs > 0) {
      expect(machine.reads(over, enterMs - 10, 10)).toEqual([]);
      expect(machine.reads(over, 20, 10)).toEqual([name]);
    } else {
      expect(machine.reads(over)).toEqual([name]);
    }
    expect(machine.reads(between, 20 * MINUTE_MS)).toEqual([name]);
    expect(machine.reads(clear, leaveMsMin - 10)).toEqual([name]);
    expect(machine.reads(clear, leaveMsMax - leaveMsMin + 10)).toEqual([]);
    // Between the lines it is not entered, either: that takes as much as the first time.
    const isEither = JSON.stringify(between) === JSON.stringify(over);
    expect(machine.reads(between, isEither ? enterMs : 20 * MINUTE_MS)).toEqual(isEither ? [name] : []);
  },
);

test('every reason is held by a script, or told from outside', () => {
  const scripted = new Set([...SCRIPTS.map(([name]) => name), 'hours', 'energy', 'carbon']);
  expect([...scripted].sort()).toEqual([...REASON_NAMES].sort());
});

test('outside the hours that are lent nothing runs, and it says when they begin', () => {
  const night = [{ from: 1_320, until: 1_440 }];
  const hours = [night, night, night, night, night, [], []];
  const machine = createMachine();
  expect(machine.outside({ hours })).toEqual(['hours']);
  expect(machine.reasons()[0]?.text).toBe('it is outside the hours that are lent; it works again in 10 h');
  expect(machine.outside({ localTime: { weekday: 2, minute: 1_320 } })).toEqual([]);
  expect(machine.outside({ localTime: { weekday: 5, minute: 0 } })).toEqual(['hours']);
  expect(machine.reasons()[0]?.text).toBe('it is outside the hours that are lent; it works again in 3 days');
  expect(machine.outside({ hours: [[], [], [], [], [], [], []] })).toEqual(['hours']);
  expect(machine.reasons()[0]?.text).toBe('it is outside the hours that are lent');
});

test('outside the hours of clean electricity nothing runs, and the lender reads which they are', () => {
  const machine = createMachine();
  const lowCarbon = parseHours('daily 10:00-16:00');
  expect(machine.outside({ lowCarbon })).toEqual([]);
  expect(machine.outside({ localTime: { weekday: 2, minute: 960 } })).toEqual(['carbon']);
  expect(machine.reasons()).toMatchObject([
    {
      name: 'carbon',
      text: 'it waits for the hours of cleaner electricity: mon-sun 10:00-16:00; it works again in 18 h',
    },
  ]);
  expect(machine.outside({ lowCarbon: undefined })).toEqual([]);
});

test('when the energy of the day is used up nothing runs until there is more', () => {
  const machine = createMachine();
  expect(machine.outside({ energy: { wattHoursToday: 119.9, wattHoursPerDayMax: 120 } })).toEqual([]);
  expect(machine.outside({ energy: { wattHoursToday: 120.4, wattHoursPerDayMax: 120 } })).toEqual(['energy']);
  expect(machine.reasons()[0]?.text).toBe('120 Wh of 120 Wh for today are used up; it works again in 12 h');
  expect(machine.outside({ energy: { wattHoursToday: 0, wattHoursPerDayMax: 120 } })).toEqual([]);
});

test('every reason says what was seen and where the line is, in as much as a pause has room for', () => {
  const machine = createMachine();
  machine.reads({ inputIdleMs: 40_000, otherCpu: 0.43, celsius: 91, memoryFree: 0.05, charge: 0.2 }, 15_000);
  expect(machine.reasons().map(({ name, text }) => [name, text])).toEqual([
    ['input', 'somebody used this machine 40 s ago; it works again in 2 min'],
    ['load', 'other programs use 43 % of the processors; the line is 25 %, and it works below 15 %'],
    ['charge', 'its battery is at 20 %; it works above 35 %'],
    ['temperature', 'it is 91 °C hot; the ceiling is 85 °C, and it works below 75 °C'],
    ['memory', '5 % of its memory is free; it works above 13 %'],
  ]);
  machine.reads({ programs: ['doom'.repeat(40), 'blender'], audio: true, camera: true, otherGpu: 0.9 }, 5_000);
  machine.reads({ otherGpu: 0.05 }, 30_000);
  const reasons = machine.reasons();
  expect(reasons.map(({ name }) => name)).toEqual(
    ['programs', 'audio', 'camera', 'load', 'gpu', 'charge', 'temperature', 'memory'].filter((name) =>
      activeNames(machine.state()).includes(name as ReasonName),
    ),
  );
  for (const { text } of reasons) expect(text.length, text).toBeLessThanOrEqual(128);
});

test('a reason that is about to end says when', () => {
  const machine = createMachine();
  machine.reads({ camera: true });
  expect(machine.reasons()[0]).toMatchObject({ text: 'a camera is in use', endsInMs: undefined, sinceMs: NOON.nowMs });
  machine.reads({}, 20_000);
  expect(machine.reasons()[0]).toMatchObject({ text: 'a camera was in use; it works again in 40 s', endsInMs: 40_000 });
});

test('a pause does not end while something else is near its line, and says what it waits for', () => {
  const machine = createMachine();
  machine.reads({ camera: true });
  expect(machine.reads({ otherCpu: 0.22 }, 10 * MINUTE_MS)).toEqual(['camera']);
  expect(machine.reasons()[0]?.text).toBe('a camera was in use; it still waits for load to fall');
  expect(machine.reads({ otherCpu: 0.18 }, 15_000)).toEqual([]);
  // By itself the same load would not have paused it.
  expect(machine.reads({ otherCpu: 0.22 }, 10 * MINUTE_MS)).toEqual([]);
});

test('a locked screen says that nobody is there: input is believed for a short while only', () => {
  const machine = createMachine({ ...RULES, whenLocked: false });
  expect(machine.reads({ inputIdleMs: 1_000 })).toEqual(['input']);
  expect(machine.reads({ inputIdleMs: 19_000, locked: true }, 10_000)).toEqual(['input']);
  expect(machine.reads({ inputIdleMs: 20_000, locked: true }, 2_000)).toEqual([]);
  // Who types a password comes back.
  expect(machine.reads({ inputIdleMs: 0, locked: true })).toEqual(['input']);
});

test('what fills a locked screen is the lock', () => {
  const machine = createMachine({ ...RULES, whenLocked: false });
  expect(machine.reads({ fullScreen: true, locked: true })).toEqual([]);
  expect(machine.reads({ fullScreen: true })).toEqual(['full-screen']);
});

test('what no signal tells pauses nothing and is listed, and what the lender does not ask for is not', () => {
  const machine = createMachine();
  expect(machine.without(Object.keys(CALM) as (keyof Signals)[], 10 * MINUTE_MS)).toEqual([]);
  expect(unknownOf({ signals: { otherCpu: 0.9, memoryPressure: 0 }, rules: { ...RULES, camera: false } })).toEqual([
    'programs',
    'inputIdleMs',
    'locked',
    'fullScreen',
    'audio',
    'otherGpu',
    'onBattery',
    'charge',
    'celsius',
    'memoryFree',
    'meteredNetwork',
  ]);
  expect(unknownOf({ signals: {}, rules: NO_PAUSE_RULES })).toEqual([]);
});

test('a signal that goes away while it pauses is let go after its hold', () => {
  const machine = createMachine();
  machine.reads({ fullScreen: true });
  expect(machine.without(['fullScreen'], 59_000)).toEqual(['full-screen']);
  expect(machine.without(['fullScreen'], 1_000)).toEqual([]);
});

test('rules that pause nothing pause nothing', () => {
  const machine = createMachine(NO_PAUSE_RULES);
  const worst: Signals = {
    inputIdleMs: 0,
    locked: true,
    fullScreen: true,
    audio: true,
    camera: true,
    otherCpu: 1,
    otherGpu: 1,
    onBattery: true,
    charge: 0,
    celsius: 120,
    memoryPressure: 1,
    memoryFree: 0,
    meteredNetwork: true,
    programs: ['doom'],
  };
  expect(machine.reads(worst, 10 * MINUTE_MS)).toEqual([]);
  expect(machine.state().throttle).toBe(1);
  const others = createMachine(ignoringPresence(RULES));
  expect(others.reads(worst, 10 * MINUTE_MS)).toEqual(['battery', 'charge', 'temperature', 'memory', 'metered']);
});

test('load that comes back soon is believed twice as long each time, and in the end as at first', () => {
  const machine = createMachine();
  const heldMs = (): number => {
    machine.reads({ otherCpu: 0.9 }, 5_000);
    let ms = 0;
    while (machine.reads({ otherCpu: 0 }, 1_000).length > 0) ms += 1_000;
    return ms;
  };
  const holds = Array.from({ length: 7 }, heldMs);
  const extra = (holds[0] ?? 0) - HOLD.loadLeaveMs;
  expect(extra).toBeLessThan(20_000);
  expect(holds.map((held) => held - extra)).toEqual([1, 2, 4, 8, 16, 16, 16].map((times) => times * HOLD.loadLeaveMs));
  machine.reads({}, HOLD.returnsWithinMs);
  expect(heldMs()).toBe(holds[0]);
});

test('power is lowered as the machine gets warm, before anything is paused, and comes back more slowly', () => {
  const machine = createMachine();
  machine.reads({ celsius: 65 }, MINUTE_MS);
  expect(machine.state().throttle).toBe(1);
  machine.reads({ celsius: 75 }, 1_000);
  const soon = machine.state().throttle;
  expect(soon).toBeGreaterThan(0.8);
  expect(machine.reads({ celsius: 75 }, MINUTE_MS)).toEqual([]);
  expect(machine.state().throttle).toBeCloseTo(0.625, 3);
  expect(machine.reads({ celsius: 84 }, MINUTE_MS)).toEqual([]);
  expect(machine.state().throttle).toBeCloseTo(0.2875, 3);
  expect(machine.reads({ celsius: 86 }, MINUTE_MS)).toEqual(['temperature']);
  expect(machine.state().throttle).toBeCloseTo(HOLD.throttleMin, 3);
  machine.reads({ celsius: 50 }, 10_000);
  expect(machine.state().throttle).toBeLessThan(0.5);
  machine.reads({ celsius: 50 }, 10 * MINUTE_MS);
  expect(machine.state().throttle).toBe(1);
});

test('a ceiling in the consent lowers both lines of temperature, and raises none', () => {
  expect(withinConsent(RULES, {})).toBe(RULES);
  expect(withinConsent(RULES, { celsiusMax: 95 })).toMatchObject({ celsiusWarm: 65, celsiusMax: 85 });
  expect(withinConsent(RULES, { celsiusMax: 70 })).toMatchObject({ celsiusWarm: 60, celsiusMax: 70 });
  expect(withinConsent(NO_PAUSE_RULES, { celsiusMax: 80 })).toMatchObject({ celsiusWarm: 70, celsiusMax: 80 });
});

test('a program on one processor counts on a machine of eight, and not what a machine of 64 does by itself', () => {
  const lineOn = (cores: number, rules = DEFAULT_PAUSE_RULES): number | null => onProcessors(rules, cores).otherCpuMax;
  expect([1, 2, 4, 8, 16, 64].map((cores) => lineOn(cores))).toEqual([0.25, 0.25, 0.1875, 0.09375, 0.05, 0.05]);
  expect(lineOn(8, { ...DEFAULT_PAUSE_RULES, otherCoresMax: null })).toBe(0.25);
  expect(lineOn(8, { ...DEFAULT_PAUSE_RULES, otherCpuMax: null, otherCoresMax: 3 })).toBe(0.375);
  expect(lineOn(2, { ...DEFAULT_PAUSE_RULES, otherCpuMax: null, otherCoresMax: 3 })).toBe(1);
  expect(lineOn(64, { ...DEFAULT_PAUSE_RULES, otherCpuMax: 0.02 })).toBe(0.02);
  expect(lineOn(8, ignoringPresence(DEFAULT_PAUSE_RULES))).toBeNull();
});
