/** Claims about measuring a machine: its graphics card is asked only where its lender lends it at that moment. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Machine } from '@idlewild/engine/node';
import { IdlewildError, type Consent } from '@idlewild/protocol';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import type { Signals } from '../core/lending/idleness/port.ts';
import { DEFAULT_PAUSE_RULES } from '../core/lending/terms/rules.ts';
import { createScriptedSignals, type ScriptedSignals } from '../testing/scripted-signals.ts';
import { NODE_LIMITS } from './limits.ts';
import { measureLent } from './measure-lent.ts';
import { PROFILE } from './testing/fixture.ts';

const CALM: Signals = { inputIdleMs: 3_600_000, otherCpu: 0.02, otherGpu: 0 };
const CPU = { name: 'cpu', works: true };
const CARD = { name: 'webgpu', works: true, gflops: 900 };
/** How long a card is asked for. */
const CARD_MS = 700;

interface World {
  readonly clock: FakeClock;
  readonly source: ScriptedSignals;
  /** What the card was used for, in order. */
  readonly card: ('begun' | 'done' | 'let go')[];
  readonly measured: Promise<readonly { readonly name: string }[]>;
}

function createWorld(gpu: Consent['gpu'], signals: Signals = CALM, hours?: Consent['hours']): World {
  const clock = createFakeClock(() => nextTurn());
  const source = createScriptedSignals(signals);
  const card: World['card'] = [];
  const machine: Machine = { ...PROFILE, features: [], providers: [CPU] };
  const measured = measureLent({
    consent: { gpu, hours },
    idleRules: DEFAULT_PAUSE_RULES,
    clock,
    openSignals: () => Promise.resolve(source),
    log: () => undefined,
    measure: {
      machine: () => Promise.resolve(machine),
      graphics(signal) {
        card.push('begun');
        return new Promise((resolve, reject) => {
          const timer = clock.after(CARD_MS, () => {
            card.push('done');
            resolve(CARD);
          });
          signal.addEventListener('abort', () => {
            timer.cancel();
            card.push('let go');
            reject(new IdlewildError('cancelled', 'it was called off'));
          });
        });
      },
    },
  });
  return { clock, source, card, measured: measured.then(({ providers }) => providers) };
}

test('a card that is never lent is not touched, and nobody looks whether the machine is idle', async () => {
  const { card, clock, measured, source } = createWorld('never');
  await clock.advance(60_000);
  expect(await measured).toEqual([CPU]);
  expect([card, source.readings()]).toEqual([[], 0]);
});

test('a card that is lent at any time is asked also while somebody is there', async () => {
  const { card, clock, measured } = createWorld('always', { ...CALM, inputIdleMs: 0 });
  await clock.advance(CARD_MS);
  expect(await measured).toEqual([CPU, CARD]);
  expect(card).toEqual(['begun', 'done']);
});

test('a card that is lent for idle times is asked once the machine has been idle for a while', async () => {
  const { card, clock, measured, source } = createWorld('idle');
  await clock.advance(NODE_LIMITS.idleMs - 1);
  expect(card).toEqual([]);
  await clock.advance(1);
  expect(card).toEqual(['begun']);
  // What keeps the card busy is what is measured.
  source.say({ otherGpu: 1 });
  await clock.advance(CARD_MS);
  expect(await measured).toEqual([CPU, CARD]);
  expect(source.isClosed()).toBe(true);
});

test.each<[string, Signals]>([
  ['somebody uses the machine', { ...CALM, inputIdleMs: 5_000 }],
  ['a game uses the card', { ...CALM, otherGpu: 0.9 }],
  ['another program computes', { ...CALM, otherCpu: 0.9 }],
  ['nothing can be read', {}],
])('it is not touched while %s', async (_, signals) => {
  const { card, clock, measured, source } = createWorld('idle', signals);
  await clock.advance(60_000);
  expect(await measured).toEqual([CPU]);
  expect([card, source.isClosed()]).toEqual([[], true]);
});

test('it is not touched outside the hours that are lent', async () => {
  const { card, clock, measured } = createWorld('idle', CALM, [[], [], [], [], [], [], []]);
  await clock.advance(60_000);
  expect(await measured).toEqual([CPU]);
  expect(card).toEqual([]);
});

test('somebody who comes before it was asked keeps it from being asked', async () => {
  const { card, clock, measured, source } = createWorld('idle');
  await clock.advance(NODE_LIMITS.idleMs / 2);
  source.touch();
  await clock.advance(60_000);
  expect(await measured).toEqual([CPU]);
  expect(card).toEqual([]);
});

test('who comes back while it is asked has it back in the same turn', async () => {
  const { card, clock, measured, source } = createWorld('idle');
  await clock.advance(NODE_LIMITS.idleMs + CARD_MS / 2);
  expect(card).toEqual(['begun']);
  source.touch();
  expect(card).toEqual(['begun', 'let go']);
  expect(await measured).toEqual([CPU]);
  expect(source.isClosed()).toBe(true);
});

test('readings that fail while it is asked let it go as well', async () => {
  const { card, clock, measured, source } = createWorld('idle');
  await clock.advance(NODE_LIMITS.idleMs + 100);
  source.behave(new Error('no such bus'));
  await clock.advance(100);
  expect(card).toEqual(['begun', 'let go']);
  expect(await measured).toEqual([CPU]);
});
