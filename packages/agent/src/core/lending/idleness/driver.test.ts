import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createScriptedSignals, type ScriptedSignals } from '../../../testing/scripted-signals.ts';
import { startDriver, type Driver } from './driver.ts';
import { DRIVER_LIMITS, IDLENESS_LIMITS } from '../limits.ts';
import type { Outside } from './lines.ts';
import type { Signals } from './port.ts';
import { DEFAULT_PAUSE_RULES, type PauseRules } from '../terms/rules.ts';

const CALM: Signals = { inputIdleMs: 3_600_000, otherCpu: 0.02, celsius: 45, onBattery: false };

interface World {
  readonly clock: FakeClock;
  readonly source: ScriptedSignals;
  readonly driver: Driver;
  /** What was called, in order. */
  readonly calls: string[];
  readonly told: string[];
  readonly shares: number[];
  /** Whether engines stand still on a suspicion, each time that it changed. */
  readonly halts: boolean[];
  readonly troubles: (string | undefined)[];
  working(is: boolean): void;
  outside(change: Partial<Outside>): void;
}

async function createWorld(
  signals: Signals = CALM,
  rules: PauseRules = DEFAULT_PAUSE_RULES,
  headless = false,
): Promise<World> {
  const clock = createFakeClock(() => nextTurn());
  const source = createScriptedSignals(signals, { headless });
  const [calls, told, shares, troubles]: [string[], string[], number[], (string | undefined)[]] = [[], [], [], []];
  const halts: boolean[] = [];
  let isWorking = false;
  let outside: Omit<Outside, 'nowMs'> = { localTime: { weekday: 0, minute: 600 } };
  const driver = startDriver({
    clock,
    source,
    rules,
    outside: () => ({ ...outside, nowMs: clock.now() }),
    isWorking: () => isWorking,
    pause(name, text, toHub) {
      calls.push(`pause ${name}: ${text}`);
      told.push(toHub);
    },
    resume: (name) => calls.push(`resume ${name}`),
    halt: (is) => halts.push(is),
    onThrottle: (share) => shares.push(share),
    onTrouble: (message) => troubles.push(message),
  });
  await clock.settle();
  return {
    clock,
    source,
    driver,
    calls,
    told,
    shares,
    halts,
    troubles,
    working(is) {
      isWorking = is;
      driver.lookNow();
    },
    outside(change) {
      outside = { ...outside, ...change };
      driver.lookNow();
    },
  };
}

test('somebody who touches the machine pauses it in the same turn', async () => {
  const { source, calls, told, clock, driver } = await createWorld();
  source.touch();
  expect(calls).toEqual(['pause input: somebody used this machine 0 s ago; it works again in 3 min']);
  expect(told).toEqual(['a person is using this machine']);
  source.touch();
  await clock.advance(5_000);
  expect(calls).toHaveLength(1);
  expect(driver.view().reasons).toMatchObject([{ name: 'input', sinceMs: clock.now() - 5_000 }]);
});

test('a machine that is in use from the start works at no time', async () => {
  const { calls } = await createWorld({ ...CALM, inputIdleMs: 40_000 });
  expect(calls).toEqual(['pause input: somebody used this machine 40 s ago; it works again in 2 min']);
});

/** At work for a while, and so far into the time between two readings. */
async function atWork(intoMs = 0): Promise<World> {
  const world = await createWorld();
  world.working(true);
  await world.clock.advance(10_000 + intoMs);
  return world;
}

async function until(clock: FakeClock, is: () => boolean): Promise<number> {
  let ms = 0;
  for (; !is(); ms++) await clock.advance(1);
  return ms;
}

test('load of another program halts engines within 250 ms, and pauses the device once it is believed', async () => {
  // Whenever it starts between two readings, of which the first sees a part of it.
  for (let intoMs = 0; intoMs < DRIVER_LIMITS.workingMs; intoMs += 7) {
    const { clock, source, calls, halts } = await atWork(intoMs);
    source.say({ otherCpu: 0.5 * (1 - intoMs / DRIVER_LIMITS.workingMs) });
    const firstMs = DRIVER_LIMITS.workingMs - intoMs;
    await clock.advance(firstMs);
    source.say({ otherCpu: 0.5 });
    const haltedMs = firstMs + (await until(clock, () => halts.length > 0));
    expect(halts).toEqual([true]);
    // Reading takes some time, too, on a machine that is just being needed.
    expect(haltedMs).toBeLessThanOrEqual(150);
    const pausedMs = haltedMs + (await until(clock, () => calls.length > 0));
    expect(calls[0]).toContain('pause load');
    expect(pausedMs).toBeLessThanOrEqual(600);
    // What was halted is paused: nobody waits for it any more.
    expect(halts).toEqual([true, false]);
  }
});

test('load that is over soon halts engines for little longer than it lasts, and pauses nothing', async () => {
  for (const lastsMs of [50, 100, 150, 250]) {
    const { clock, source, calls, halts } = await atWork();
    source.say({ otherCpu: 1 });
    await clock.advance(lastsMs);
    source.say({ otherCpu: 0.02 });
    const wasMs = await until(clock, () => halts.length % 2 === 0);
    expect(halts).toEqual(lastsMs < 100 ? [] : [true, false]);
    expect(wasMs).toBeLessThanOrEqual(150);
    await clock.advance(60_000);
    expect(calls).toEqual([]);
  }
});

test('at rest a second of load is nobody waiting, and two in a row are', async () => {
  const { clock, source, calls } = await createWorld();
  for (let minute = 0; minute < 10; minute++) {
    source.say({ otherCpu: 0.5 });
    await clock.advance(1_000);
    source.say({ otherCpu: 0.02 });
    await clock.advance(59_000);
  }
  expect(calls).toEqual([]);
  source.say({ otherCpu: 0.5 });
  await clock.advance(2_000);
  expect(calls).toHaveLength(1);
});

test('nothing is halted that does not compute, or that is paused already', async () => {
  const { clock, source, halts, working } = await createWorld();
  source.say({ otherCpu: 0.285 });
  await clock.advance(1_000);
  expect(halts).toEqual([]);
  source.say({ otherCpu: 0, onBattery: true });
  await clock.advance(1_000);
  working(true);
  await clock.advance(1_000);
  source.say({ otherCpu: 1 });
  await clock.advance(10_000);
  expect(halts).toEqual([]);
});

test('engines that were halted go on though no reading comes any more, and when nobody looks any more', async () => {
  const { clock, source, calls, halts } = await atWork();
  source.say({ otherCpu: 0.5 });
  await until(clock, () => halts.length > 0);
  source.behave('hang');
  await clock.advance(IDLENESS_LIMITS.haltMsMax);
  expect(halts).toEqual([true, false]);
  expect(calls).toEqual([]);
  const other = await atWork();
  other.source.say({ otherCpu: 0.5 });
  await until(other.clock, () => other.halts.length > 0);
  other.driver.stop();
  expect(other.halts).toEqual([true, false]);
});

test('it looks often while something is computed, seldom otherwise, and at once when work begins', async () => {
  const { clock, source, working } = await createWorld();
  const countIn = async (ms: number): Promise<number> => {
    const before = source.readings();
    await clock.advance(ms);
    return source.readings() - before;
  };
  expect(await countIn(10_000)).toBe(10);
  const before = source.readings();
  working(true);
  expect(source.readings()).toBe(before + 1);
  expect(await countIn(10_000)).toBe(200);
  source.touch();
  await clock.advance(1_000);
  // What is paused computes nothing, whatever the agent still says.
  expect(await countIn(10_000)).toBe(10);
  working(false);
  expect(await countIn(10_000)).toBe(10);
});

test('a reason that takes the place of another pauses before the other resumes', async () => {
  const { clock, source, calls, driver } = await createWorld({ ...CALM, inputIdleMs: 0 });
  source.say({ inputIdleMs: 200_000 });
  await clock.advance(2_000);
  source.say({ onBattery: true });
  await clock.advance(1_000);
  expect(calls.slice(1)).toEqual(['pause battery: it runs on its battery', 'resume input']);
  expect(driver.view().reasons.map(({ name }) => name)).toEqual(['battery']);
});

test('readings that fail are told once and change nothing, and so are those that come again', async () => {
  const { clock, source, calls, troubles, driver } = await createWorld();
  source.behave(new Error('no such bus'));
  source.say({ onBattery: true });
  await clock.advance(60_000);
  expect(calls).toEqual([]);
  expect(troubles).toEqual([expect.stringContaining('no such bus')]);
  expect(driver.view().signals.trouble).toContain('no such bus');
  source.behave('answer');
  await clock.advance(1_000);
  expect(calls).toEqual(['pause battery: it runs on its battery']);
  source.behave(new Error('no such bus'));
  source.say({ onBattery: false });
  await clock.advance(600_000);
  expect(calls).toHaveLength(1);
  expect(troubles.slice(1)).toEqual([undefined, expect.stringContaining('no such bus')]);
});

test('readings that hang are bounded in time and number, and pause nothing by themselves', async () => {
  const { clock, source, calls, troubles, driver, outside } = await createWorld();
  const before = source.readings();
  source.behave('hang');
  await clock.advance(600_000);
  expect(source.readings() - before).toBe(DRIVER_LIMITS.hangingMax);
  expect(calls).toEqual([]);
  expect(troubles).toEqual([expect.stringContaining('has not ended')]);
  // What needs no reading goes on.
  outside({ energy: { wattHoursToday: 50, wattHoursPerDayMax: 50 } });
  expect(calls).toEqual(['pause energy: 50 Wh of 50 Wh for today are used up; it works again in 14 h']);
  source.touch();
  expect(calls[1]).toContain('pause input');
  outside({ energy: undefined });
  expect(calls.slice(2)).toEqual(['resume energy']);
  source.behave('answer');
  await clock.advance(2_000);
  expect(driver.view().signals.trouble).toBeUndefined();
  expect(troubles.at(-1)).toBeUndefined();
});

test('what needs no signal pauses and resumes in the same turn', async () => {
  const { calls, clock, outside } = await createWorld();
  const hours = Array.from({ length: 7 }, () => [{ from: 0, until: 600 }]);
  outside({ hours });
  expect(calls).toEqual(['pause hours: it is outside the hours that are lent; it works again in 14 h']);
  outside({ hours, localTime: { weekday: 1, minute: 0 } });
  expect(calls.at(-1)).toBe('resume hours');
  await clock.advance(60_000);
  expect(calls).toHaveLength(2);
});

test('warmth lowers the share of the processors step by step, and is not told more often than it changes', async () => {
  const { clock, source, shares, calls } = await createWorld();
  source.say({ celsius: 80 });
  await clock.advance(30_000);
  expect(shares.length).toBeLessThanOrEqual(12);
  expect(shares).toEqual([...shares].sort((a, b) => b - a));
  expect(shares.at(-1)).toBeCloseTo(1 - (0.75 * 15) / 20, 1);
  expect(calls).toEqual([]);
  source.say({ celsius: 40 });
  await clock.advance(600_000);
  expect(shares.at(-1)).toBe(1);
});

test('a machine without screen and input is idle by its load alone, and says so', async () => {
  const { clock, source, driver, calls } = await createWorld({ otherCpu: 0 }, DEFAULT_PAUSE_RULES, true);
  await clock.advance(5_000);
  expect(calls).toEqual([]);
  expect(driver.view()).toMatchObject({ signals: { headless: true }, reasons: [] });
  expect(driver.view().signals.unknown).toContain('inputIdleMs');
  expect(driver.view().signals.unknown).not.toContain('otherCpu');
  source.say({ otherCpu: 0.9 });
  await clock.advance(2_000);
  expect(driver.view().reasons.map(({ name }) => name)).toEqual(['load']);
});

test('when it is stopped it lets go of the machine and calls nobody', async () => {
  const { clock, source, driver, calls } = await createWorld();
  driver.stop();
  expect(source.isClosed()).toBe(true);
  const before = source.readings();
  source.touch();
  driver.lookNow();
  await clock.advance(60_000);
  expect(source.readings()).toBe(before);
  expect(calls).toEqual([]);
  expect(clock.nextInMs()).toBeUndefined();
});
