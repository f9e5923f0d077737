/** Claims about what a lender reads of each signal: its reading and its line, whether or not anything is paused. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createScriptedSignals } from '../../../testing/scripted-signals.ts';
import { startDriver } from './driver.ts';
import type { SignalName, Signals } from './port.ts';
import { readingsOf } from './readings.ts';
import { DEFAULT_PAUSE_RULES as RULES, NO_PAUSE_RULES } from '../terms/rules.ts';

const SIGNALS: Required<Signals> = {
  inputIdleMs: 40_000,
  locked: false,
  fullScreen: true,
  audio: false,
  camera: false,
  otherCpu: 0.021,
  otherGpu: 0.5,
  onBattery: true,
  charge: 0.9,
  celsius: 45.4,
  memoryPressure: 0.04,
  memoryFree: 0.6,
  meteredNetwork: false,
  programs: ['quake', 'doom', 'nethack', 'rogue'],
};

test('each signal is told with what it says, and where it pauses and works again', () => {
  expect(readingsOf({ signals: SIGNALS, rules: { ...RULES, programs: ['quake', 'doom'] } })).toEqual({
    inputIdleMs: 'not touched for 40 s (pauses within 2 min, works from 3 min on)',
    locked: 'no (pauses nothing)',
    fullScreen: 'yes (pauses)',
    audio: 'no (pauses)',
    camera: 'no (pauses)',
    otherCpu: '2 % (pauses from 25 % on, works below 15 %)',
    otherGpu: '50 % (pauses from 20 % on, works below 10 %)',
    onBattery: 'yes (pauses)',
    charge: '90 % (pauses at 30 %, works above 35 %)',
    celsius: '45 °C (pauses from 85 °C on, works below 75 °C)',
    memoryPressure: '4 % (pauses from 10 % on, works below 3 %)',
    memoryFree: '60 % (pauses at 8 %, works above 13 %)',
    meteredNetwork: 'no (pauses)',
    programs: 'quake, doom, nethack runs (one of 2 pauses)',
  } satisfies Record<SignalName, string>);
});

test('where the screen is locked the line of input is that of a locked screen', () => {
  const { inputIdleMs } = readingsOf({ signals: { inputIdleMs: 5_000, locked: true }, rules: RULES });
  expect(inputIdleMs).toBe('not touched for 5 s (pauses within 16 s, works from 20 s on)');
});

test('what pauses nothing says so, and what tells nothing is not told', () => {
  const texts = Object.values(readingsOf({ signals: SIGNALS, rules: NO_PAUSE_RULES }));
  for (const text of texts) expect(text).toMatch(/\((pauses nothing|none is listed)\)$/);
  expect(texts).toHaveLength(Object.keys(SIGNALS).length);
  expect(readingsOf({ signals: {}, rules: RULES })).toEqual({});
});

test('a driver tells of its last reading, paused or not', async () => {
  const clock = createFakeClock(() => nextTurn());
  const source = createScriptedSignals({ otherCpu: 0.02 });
  const driver = startDriver({
    clock,
    source,
    rules: RULES,
    outside: () => ({ localTime: { weekday: 0, minute: 600 }, nowMs: clock.now() }),
    isWorking: () => false,
    pause: () => undefined,
    resume: () => undefined,
    onTrouble: () => undefined,
  });
  await clock.advance(1_000);
  expect(driver.view()).toMatchObject({ reasons: [], signals: { now: { otherCpu: expect.stringMatching(/^2 %/) } } });
  source.say({ otherCpu: 0.9 });
  await clock.advance(5_000);
  expect(driver.view()).toMatchObject({
    reasons: [{ name: 'load' }],
    signals: { now: { otherCpu: expect.stringMatching(/^90 %/) } },
  });
  driver.stop();
});
