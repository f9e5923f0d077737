/** Claims about power that is lowered before a fan gets loud, by scripted temperatures; a failing seed has its name. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createScriptedSignals } from '../../../testing/scripted-signals.ts';
import { startDriver, type Driver } from './driver.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import { DEFAULT_PAUSE_RULES } from '../terms/rules.ts';

const RULES = DEFAULT_PAUSE_RULES;
const WARM = RULES.celsiusWarm ?? 0;
const CEILING = RULES.celsiusMax ?? 0;

interface Machine {
  readonly driver: Driver;
  /** What the agent was told last, and how often. */
  share(): number;
  tellings(): number;
  isPaused(): boolean;
  is(celsius: number): void;
}

function createMachine(clock: FakeClock): Machine {
  const source = createScriptedSignals({ celsius: 40 });
  const shares = [1];
  const pauses = new Set<string>();
  const driver = startDriver({
    clock,
    source,
    rules: RULES,
    outside: () => ({ localTime: { weekday: 0, minute: 600 }, nowMs: clock.now() }),
    isWorking: () => false,
    pause: (name) => pauses.add(name),
    resume: (name) => pauses.delete(name),
    halt: () => undefined,
    onThrottle: (share) => shares.push(share),
    onTrouble: () => undefined,
  });
  return {
    driver,
    share: () => shares.at(-1) ?? 1,
    tellings: () => shares.length - 1,
    isPaused: () => pauses.size > 0,
    is: (celsius) => source.say({ celsius }),
  };
}

const createClock = (): FakeClock => createFakeClock(() => nextTurn());

describe.each([1, 2, 3, 4])('with the seed %i', (seed) => {
  test('the share stays within its bounds, and a machine that is never cooler never gets more', async () => {
    const clock = createClock();
    const random = createSeededRandom(seed);
    const [cooler, hotter] = [createMachine(clock), createMachine(clock)];
    let celsius = 40;
    let lowered = 0;
    for (let n = 0; n < 400; n++) {
      celsius = Math.min(100, Math.max(30, celsius + (random.unit() - 0.48) * 20));
      cooler.is(celsius);
      hotter.is(celsius + random.unit() * 15);
      await clock.advance(1_000 + Math.floor(random.unit() * 5) * 1_000);
      for (const { driver, share } of [cooler, hotter]) {
        expect(share()).toBeGreaterThanOrEqual(HOLD.throttleMin);
        expect(share()).toBeLessThanOrEqual(1);
        // The lender reads what the agent was told.
        const { cooled } = driver.view();
        expect(cooled?.share ?? 1).toBe(share());
        if (cooled !== undefined) expect(cooled.text).toMatch(/^lowered to \d+ % of what is lent: it is \d+ °C warm/);
      }
      // Each is told in steps.
      expect(hotter.share()).toBeLessThan(cooler.share() + HOLD.throttleStep);
      if (hotter.share() < 1) lowered++;
    }
    expect(lowered).toBeGreaterThan(50);
  });
});

test('a machine that gets warm slowly has lost most of its power before anything is paused', async () => {
  const clock = createClock();
  const machine = createMachine(clock);
  let before = 1;
  for (let celsius = 50; !machine.isPaused(); celsius += 0.5) {
    machine.is(celsius);
    await clock.advance(1_000);
    expect(machine.share()).toBeLessThanOrEqual(before);
    before = machine.share();
    if (celsius <= WARM) expect(machine.share()).toBe(1);
    expect(celsius).toBeLessThan(CEILING + 15);
  }
  expect(machine.share()).toBeLessThan(0.4);
});

test('power comes back when the machine has cooled, several times as slowly as it went', async () => {
  const clock = createClock();
  const machine = createMachine(clock);
  await clock.advance(10_000);
  const untilMs = async (is: () => boolean): Promise<number> => {
    for (let ms = 0; ; ms += 1_000) {
      if (is()) return ms;
      await clock.advance(1_000);
    }
  };
  machine.is(CEILING - 1);
  const downMs = await untilMs(() => machine.share() < 0.6);
  await clock.advance(60_000);
  const least = machine.share();
  machine.is(40);
  const upMs = await untilMs(() => machine.share() > 1 - (0.6 - least));
  expect(upMs).toBeGreaterThanOrEqual(5 * downMs);
  await clock.advance(600_000);
  expect(machine.share()).toBe(1);
  expect(machine.driver.view().cooled).toBeUndefined();
});

test('a temperature that swings by a degree is not a fan that does: little is told', async () => {
  for (const middle of [WARM, (WARM + CEILING) / 2, CEILING - 5]) {
    const clock = createClock();
    const machine = createMachine(clock);
    machine.is(middle);
    await clock.advance(120_000);
    const before = machine.tellings();
    for (let n = 0; n < 600; n++) {
      machine.is(middle + (n % 2 === 0 ? 1 : -1));
      await clock.advance(1_000);
    }
    expect(machine.tellings() - before).toBeLessThanOrEqual(1);
  }
});
