/** Claims about idle times: what is lent for these alone is lent while nobody is there, and at no other moment. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createScriptedSignals, type ScriptedSignals } from '../../../testing/scripted-signals.ts';
import { startDriver } from './driver.ts';
import type { Signals } from './port.ts';
import { DEFAULT_PAUSE_RULES, ignoringPresence, type PauseRules } from '../terms/rules.ts';

const CALM: Signals = { inputIdleMs: 3_600_000, otherCpu: 0.02, otherGpu: 0, audio: false, onBattery: false };
/** Of a device that works beside its person. */
const BESIDE = ignoringPresence(DEFAULT_PAUSE_RULES);

interface World {
  readonly clock: FakeClock;
  readonly source: ScriptedSignals;
  /** What was told, in order. */
  readonly told: (string | boolean)[];
}

async function createWorld(rules: PauseRules, signals: Signals = CALM): Promise<World> {
  const clock = createFakeClock(() => nextTurn());
  const source = createScriptedSignals(signals);
  const told: (string | boolean)[] = [];
  startDriver({
    clock,
    source,
    rules,
    idle: { rules: DEFAULT_PAUSE_RULES, tell: (isIdle) => told.push(isIdle) },
    outside: () => ({ localTime: { weekday: 0, minute: 600 }, nowMs: clock.now() }),
    isWorking: () => false,
    pause: (name) => told.push(`pause ${name}`),
    resume: (name) => told.push(`resume ${name}`),
    halt: () => undefined,
    onTrouble: () => undefined,
  });
  await clock.settle();
  return { clock, source, told };
}

test('a device that works beside its person is not idle while somebody is there, though not paused', async () => {
  const { clock, source, told } = await createWorld(BESIDE);
  expect(told).toEqual([true]);
  // In the very turn.
  source.touch();
  expect(told).toEqual([true, false]);
  source.say({ inputIdleMs: 200_000 });
  await clock.advance(3_000);
  expect(told).toEqual([true, false, true]);
  for (const busy of [{ otherGpu: 0.9 }, { otherCpu: 0.9 }, { audio: true }]) {
    source.say(busy);
    await clock.advance(5_000);
    expect(told.at(-1), JSON.stringify(busy)).toBe(false);
    source.say(CALM);
    await clock.advance(3_600_000);
    expect(told.at(-1)).toBe(true);
  }
  expect(told.filter((each) => typeof each === 'string')).toEqual([]);
});

test('what pauses a device is not idle either', async () => {
  const { clock, source, told } = await createWorld(DEFAULT_PAUSE_RULES);
  source.say({ onBattery: true });
  await clock.advance(1_000);
  expect(told).toEqual([true, 'pause battery', false]);
  source.say({ onBattery: false });
  await clock.advance(120_000);
  expect(told.slice(3)).toEqual(['resume battery', true]);
});

test('while a machine cannot be read it is not idle, and before it was read neither', async () => {
  const { clock, source, told } = await createWorld(BESIDE);
  source.behave(new Error('no such bus'));
  await clock.advance(1_000);
  expect(told).toEqual([true, false]);
  source.behave('answer');
  await clock.advance(2_000);
  expect(told).toEqual([true, false, true]);
  const silent = await createWorld(BESIDE, {});
  await silent.clock.advance(600_000);
  expect(silent.told).toEqual([]);
});
