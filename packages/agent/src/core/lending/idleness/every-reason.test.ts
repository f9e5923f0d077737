/**
 * Claims about every reason to pause, from what a machine says to what its lender reads: it pauses and resumes, does
 * not flicker about its line, is told in words of its own, to the hub in fewer, and stands in docs/lending.md. The
 * table is typed by the names of the reasons, so that a new one does not compile without its script.
 */
import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import {
  CALM_SIGNALS as CALM,
  createScriptedSignals,
  type ScriptedSignals,
} from '../../../testing/scripted-signals.ts';
import { startDriver, type Driver } from './driver.ts';
import { parseHours } from '../terms/hours.ts';
import { LINES, REASON_NAMES, type Outside, type ReasonName } from './lines.ts';
import type { SignalName, Signals } from './port.ts';
import { DEFAULT_PAUSE_RULES, pauseRulesSchema } from '../terms/rules.ts';
import { TOLD } from './words.ts';

const RULES = { ...DEFAULT_PAUSE_RULES, whenLocked: true, programs: ['quake'] };

/** What a machine says, or what is told from outside. */
type Said = Signals | { readonly outside: Partial<Outside> };
interface Script {
  /** Asks for a pause. */
  readonly over: Said;
  /** Between both lines, where there is a between: it neither begins a pause nor ends one. */
  readonly between?: Said;
  /** What is said of it while it holds: the figures, and where the line is. */
  readonly says: RegExp;
  /** The line of `lending.json`, or of the consent, and the columns of docs/lending.md. */
  readonly rule: string;
  /** What the issue calls it. */
  readonly is: string;
}

const SCRIPTS: Readonly<Record<ReasonName, Script>> = {
  hours: {
    over: { outside: { hours: parseHours('daily 11:00-12:00') } },
    says: /outside the hours that are lent; it works again in 60 min/,
    rule: '(consent)',
    is: 'time window',
  },
  energy: {
    over: { outside: { energy: { wattHoursToday: 21, wattHoursPerDayMax: 20 } } },
    between: { outside: { energy: { wattHoursToday: 19.9, wattHoursPerDayMax: 20 } } },
    says: /21 Wh of 20 Wh for today are used up; it works again in 14 h/,
    rule: '(consent)',
    is: 'energy cap',
  },
  carbon: {
    over: { outside: { lowCarbon: parseHours('daily 12:00-16:00') } },
    says: /hours of cleaner electricity: mon-sun 12:00-16:00; it works again in 2 h/,
    rule: '`energy.lowCarbon`',
    is: 'low-carbon hours',
  },
  programs: { over: { programs: ['quake'] }, says: /quake runs here/, rule: '`programs`', is: 'listed programs' },
  input: {
    over: { inputIdleMs: 0 },
    between: { inputIdleMs: 160_000 },
    says: /somebody used this machine .* ago; it works again in/,
    rule: '`inputIdleMs`, `lockedIdleMs`',
    is: 'input idle',
  },
  locked: { over: { locked: true }, says: /screen is locked/, rule: '`whenLocked`', is: 'screen locked' },
  'full-screen': {
    over: { fullScreen: true },
    says: /fills the screen/,
    rule: '`fullScreen`',
    is: 'full-screen program',
  },
  audio: { over: { audio: true }, says: /sound is played or recorded/, rule: '`audio`', is: 'audio' },
  camera: { over: { camera: true }, says: /camera is in use/, rule: '`camera`', is: 'camera' },
  load: {
    over: { otherCpu: 0.9 },
    between: { otherCpu: 0.18 },
    says: /use 90 % of the processors; the line is 25 %, and it works below 15 %/,
    rule: '`otherCpuMax`, `otherCoresMax`',
    is: 'CPU load',
  },
  gpu: {
    over: { otherGpu: 0.9 },
    between: { otherGpu: 0.13 },
    says: /use 90 % of the graphics card; the line is 20 %, and it works below 10 %/,
    rule: '`otherGpuMax`',
    is: 'GPU load',
  },
  battery: { over: { onBattery: true }, says: /runs on its battery/, rule: '`onBattery`', is: 'battery' },
  charge: {
    over: { charge: 0.2 },
    between: { charge: 0.33 },
    says: /battery is at 20 %; it works above 35 %/,
    rule: '`chargeMin`',
    is: 'charge',
  },
  temperature: {
    over: { celsius: 96 },
    between: { celsius: 79 },
    says: /96 °C hot; the ceiling is 85 °C, and it works below 75 °C/,
    rule: '`celsiusMax`',
    is: 'temperature',
  },
  memory: {
    over: { memoryFree: 0.01 },
    between: { memoryFree: 0.1 },
    says: /1 % of its memory is free; it works above 13 %/,
    rule: '`memoryPressureMax`, `memoryFreeMin`',
    is: 'memory pressure',
  },
  metered: { over: { meteredNetwork: true }, says: /paid by volume/, rule: '`meteredNetwork`', is: 'metered network' },
};

/** Those whose reading is a yes or a no. */
const EITHER: ReadonlySet<ReasonName> = new Set([
  ...(['hours', 'carbon', 'programs', 'locked', 'full-screen', 'audio', 'camera', 'battery', 'metered'] as const),
]);

interface World {
  readonly clock: FakeClock;
  readonly driver: Driver;
  readonly source: ScriptedSignals;
  /** `pause NAME` and `resume NAME`, in order. */
  readonly calls: string[];
  readonly told: string[];
  say(said: Said): Promise<void>;
}

async function createWorld(): Promise<World> {
  const clock = createFakeClock(() => nextTurn());
  const source = createScriptedSignals(CALM);
  const [calls, told]: [string[], string[]] = [[], []];
  let outside: Partial<Outside> = {};
  const driver = startDriver({
    clock,
    source,
    rules: RULES,
    outside: () => ({ localTime: { weekday: 0, minute: 600 }, nowMs: clock.now(), ...outside }),
    isWorking: () => false,
    pause(name, _text, toHub) {
      calls.push(`pause ${name}`);
      told.push(toHub);
    },
    resume: (name) => calls.push(`resume ${name}`),
    halt: () => undefined,
    onTrouble: () => undefined,
  });
  await clock.settle();
  return {
    clock,
    driver,
    source,
    calls,
    told,
    async say(said) {
      outside = 'outside' in said ? said.outside : {};
      source.say('outside' in said ? CALM : { ...CALM, ...said });
      await clock.advance(1_000);
    },
  };
}

/** Longer than any hold, with what means over seconds take. */
const LONG_MS = 10 * Math.max(...REASON_NAMES.map((name) => LINES[name].leaveAfterMs + (LINES[name].smoothedMs ?? 0)));

describe.each(REASON_NAMES)('the reason %s', (name) => {
  const { over, between, says, rule } = SCRIPTS[name];

  test('pauses, says why, and resumes when it is over', async () => {
    const { calls, clock, driver, say, told } = await createWorld();
    expect([calls, driver.view().reasons]).toEqual([[], []]);
    await say(over);
    await clock.advance(5_000);
    expect(calls).toEqual([`pause ${name}`]);
    expect(told).toEqual([TOLD[name]]);
    const [reason] = driver.view().reasons;
    expect(reason).toMatchObject({ name, text: expect.stringMatching(says) as string });
    expect(reason?.text.length).toBeLessThanOrEqual(128);
    // It stays for as long as what asks for it; a person who is away for minutes is not there any more.
    await clock.advance(LONG_MS);
    expect(calls).toEqual([`pause ${name}`]);
    await say({});
    await clock.advance(LONG_MS);
    expect(calls).toEqual([`pause ${name}`, `resume ${name}`]);
    expect(driver.view().reasons).toEqual([]);
  });

  test('is held for a while when it is over, where it is read and not told', async () => {
    const { calls, clock, say } = await createWorld();
    await say(over);
    await clock.advance(5_000);
    await say({});
    const { leaveAfterMs } = LINES[name];
    expect(calls.length).toBe(leaveAfterMs === 0 ? 2 : 1);
    await clock.advance(Math.max(0, leaveAfterMs - 1_500));
    expect(calls.length).toBe(leaveAfterMs === 0 ? 2 : 1);
  });

  test('changes nothing between its lines, whichever side it came from, where there is a between', async () => {
    const { calls, clock, say } = await createWorld();
    // What is or is not has none, and nothing to say of it.
    expect(between === undefined).toBe(EITHER.has(name));
    await say(between ?? {});
    await clock.advance(LONG_MS);
    expect(calls).toEqual([]);
    await say(over);
    await clock.advance(5_000);
    const stays = LINES[name].signals !== undefined && between !== undefined;
    await say(between ?? {});
    await clock.advance(LONG_MS);
    expect(calls).toEqual(stays ? [`pause ${name}`] : [`pause ${name}`, `resume ${name}`]);
  });

  test('does not flicker when its reading swings over its line and back', async () => {
    const { calls, clock, say } = await createWorld();
    const { leaveAfterMs, signals } = LINES[name];
    const changes = 40;
    for (let n = 0; n < changes; n++) {
      await say(n % 2 === 0 ? over : {});
      await clock.advance(Math.min(2_000, Math.max(0, leaveAfterMs - 1_500)));
    }
    const isRead = signals !== undefined;
    // What is told from outside is no reading: it changes as often as it is told.
    expect(calls.length).toBe(isRead ? 1 : changes);
  });

  test('stands in docs/lending.md with its line, which the file of the lender has', () => {
    const row = rows.find((cells) => cells[0] === `\`${name}\``);
    expect(row?.at(-1)).toBe(rule);
    const names = [...rule.matchAll(/`(\w+)`/g)].map(([, line = '']) => line);
    for (const line of names) expect(Object.keys(pauseRulesSchema.shape)).toContain(line);
    // The figures of the docs are those that are held.
    const { leaveAfterMs } = LINES[name];
    expect(row?.[5]).toBe(leaveAfterMs === 0 ? 'at once' : `${leaveAfterMs / 1_000} s`);
  });
});

const rows = readFileSync(new URL('../../../../../../docs/lending.md', import.meta.url), 'utf8')
  .split('\n')
  .map((line) => line.split('|').map((cell) => cell.trim()))
  .filter((cells) => cells.length === 9)
  .map((cells) => cells.slice(1, -1));

test('docs/lending.md has no reason that there is not', () => {
  const names = rows.map(([name = '']) => name).filter((name) => name.startsWith('`'));
  expect(names).toEqual(REASON_NAMES.map((name) => `\`${name}\``));
});

test('every signal that a machine can tell pauses for something, and every line of the lender is read', () => {
  const read = new Set(REASON_NAMES.flatMap((name) => LINES[name].signals ?? []));
  expect([...read].sort()).toEqual((Object.keys(CALM) as SignalName[]).sort());
  const rules = REASON_NAMES.flatMap((name) => [...SCRIPTS[name].rule.matchAll(/`(\w+)`/g)].map(([, line]) => line));
  // The one line that pauses nothing: from there on less power is used.
  expect([...rules, 'celsiusWarm'].sort()).toEqual(Object.keys(pauseRulesSchema.shape).sort());
});
