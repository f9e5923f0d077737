/** Claims about one answer: what a caller is told, whatever devices and time do. */
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import {
  applyEvent,
  createAnswerState,
  type AnswerState,
  type Attempt,
  type Effect,
  type MachineEvent,
} from './machine.ts';

const fresh = (): AnswerState =>
  createAnswerState({
    request: 'req_1',
    model: 'cid',
    nowMs: 0,
    deadlineMs: 600_000,
    work: { prompt: { kind: 'text', text: 'hi' }, sampling: { seed: 1 }, choice: 0, stop: [] },
  });

const attemptOn = (state: AnswerState, device: string, numericClass = 'a', nowMs = 0): Attempt => ({
  lease: `att_${state.epoch + 1}`,
  epoch: state.epoch + 1,
  device,
  numericClass,
  stallMs: 3_000,
  mayRepeat: false,
  started: false,
  progressAtMs: nowMs,
});

function dispatchTo(state: AnswerState, device: string, numericClass = 'a', nowMs = 0): Attempt {
  const attempt = attemptOn(state, device, numericClass, nowMs);
  applyEvent(state, { t: 'dispatched', attempt }, nowMs);
  return attempt;
}
const leased = (attempt: Attempt): { lease: string; epoch: number } => ({ lease: attempt.lease, epoch: attempt.epoch });
const started = (attempt: Attempt): MachineEvent => ({
  t: 'frame',
  device: attempt.device,
  frame: { t: 'answer.started', ...leased(attempt), promptTokens: 3 },
});
const token = (attempt: Attempt, i: number, id = 100 + i): MachineEvent => ({
  t: 'frame',
  device: attempt.device,
  frame: { t: 'answer.token', ...leased(attempt), i, id, s: `<${id}>` },
});
const finished = (attempt: Attempt, answerTokens: number): MachineEvent => ({
  t: 'frame',
  device: attempt.device,
  frame: {
    t: 'answer.finished',
    ...leased(attempt),
    finish: 'stop',
    s: '',
    promptTokens: 3,
    answerTokens,
    receipt: new Uint8Array(),
  },
});
const failedFrame = (attempt: Attempt, code: string): MachineEvent => ({
  t: 'frame',
  device: attempt.device,
  frame: { t: 'answer.failed', ...leased(attempt), code, message: 'why' },
});
const kinds = (effects: readonly Effect[]): string[] => effects.map((effect) => effect.t);

test('an answer that nothing interrupts is started once, told token by token, and finished', () => {
  const state = fresh();
  const attempt = dispatchTo(state, 'dev_a');
  expect(kinds(applyEvent(state, started(attempt), 1))).toEqual(['started']);
  expect(applyEvent(state, token(attempt, 0), 2)).toEqual([{ t: 'token', i: 0, id: 100, s: '<100>' }]);
  expect(kinds(applyEvent(state, finished(attempt, 1), 3))).toEqual(['finished']);
  expect(state).toMatchObject({ phase: 'over', failovers: 0, exact: true, tokens: [100] });
});

test('after a device is lost the next one goes on behind the tokens that were emitted', () => {
  const state = fresh();
  const first = dispatchTo(state, 'dev_a');
  for (const event of [started(first), token(first, 0), token(first, 1)]) applyEvent(state, event, 1);
  expect(kinds(applyEvent(state, { t: 'lost', device: 'dev_a', code: 'disconnected', why: 'gone' }, 2))).toEqual([
    'revoke',
    'requeue',
  ]);
  const second = dispatchTo(state, 'dev_b');
  expect(second.epoch).toBe(2);
  expect(applyEvent(state, started(second), 3)).toEqual([]);
  expect(kinds(applyEvent(state, token(second, 2), 4))).toEqual(['token']);
  applyEvent(state, finished(second, 3), 5);
  expect(state).toMatchObject({ failovers: 1, exact: true, devices: ['dev_a', 'dev_b'], tokens: [100, 101, 102] });
});

test('tokens of another numeric class make the answer inexact, and so does coming back from it', () => {
  const state = fresh();
  const first = dispatchTo(state, 'dev_a', 'a');
  for (const event of [started(first), token(first, 0)]) applyEvent(state, event, 1);
  applyEvent(state, { t: 'lost', device: 'dev_a', code: 'disconnected', why: 'gone' }, 2);
  const second = dispatchTo(state, 'dev_b', 'b');
  applyEvent(state, started(second), 3);
  expect(state.exact).toBe(true);
  applyEvent(state, token(second, 1), 4);
  expect(state.exact).toBe(false);
});

test('frames of a lease that is over change nothing', () => {
  const state = fresh();
  const first = dispatchTo(state, 'dev_a');
  applyEvent(state, started(first), 1);
  applyEvent(state, { t: 'lost', device: 'dev_a', code: 'disconnected', why: 'gone' }, 2);
  const second = dispatchTo(state, 'dev_b');
  applyEvent(state, started(second), 3);
  expect(applyEvent(state, token(first, 0), 4)).toEqual([]);
  expect(applyEvent(state, finished(first, 0), 4)).toEqual([]);
  expect(
    applyEvent(
      state,
      { t: 'frame', device: 'dev_c', frame: { t: 'answer.token', ...leased(second), i: 0, id: 1, s: '' } },
      4,
    ),
  ).toEqual([]);
  expect(state.tokens).toEqual([]);
});

test('a device that repeats or skips a token loses its lease and is not asked again', () => {
  for (const wrong of [0, 2]) {
    const state = fresh();
    const attempt = dispatchTo(state, 'dev_a');
    for (const event of [started(attempt), token(attempt, 0)]) applyEvent(state, event, 1);
    expect(kinds(applyEvent(state, token(attempt, wrong), 2))).toEqual(['revoke', 'requeue']);
    expect(state.excluded.has('dev_a')).toBe(true);
    expect(state.tokens).toEqual([100]);
  }
});

test('what another device would only repeat ends the answer with that code', () => {
  const state = fresh();
  const attempt = dispatchTo(state, 'dev_a');
  expect(applyEvent(state, failedFrame(attempt, 'context_length_exceeded'), 1)).toContainEqual({
    t: 'failed',
    code: 'context_length_exceeded',
    message: 'why',
  });
  expect(state.phase).toBe('over');
});

test('a request that kills every engine is given up after a few of them', () => {
  const state = fresh();
  let effects: readonly Effect[] = [];
  for (let i = 0; i < HUB_LIMITS.engineFailuresMax; i++)
    effects = applyEvent(state, failedFrame(dispatchTo(state, `dev_${i}`), 'engine_failed'), i);
  expect(effects.at(-1)).toMatchObject({ t: 'failed', code: 'attempts_exhausted' });
});

test('silence is a stall once started, and loading with progress is not', () => {
  const state = fresh();
  const attempt = dispatchTo(state, 'dev_a');
  expect(applyEvent(state, { t: 'tick' }, HUB_LIMITS.startMsMax - 1)).toEqual([]);
  applyEvent(
    state,
    { t: 'frame', device: 'dev_a', frame: { t: 'answer.progress', ...leased(attempt), phase: 'loading' } },
    HUB_LIMITS.startMsMax - 1,
  );
  expect(applyEvent(state, { t: 'tick' }, HUB_LIMITS.startMsMax + 1)).toEqual([]);
  applyEvent(state, started(attempt), 20_000);
  expect(applyEvent(state, { t: 'tick' }, 22_999)).toEqual([]);
  expect(kinds(applyEvent(state, { t: 'tick' }, 23_000))).toEqual(['revoke', 'requeue']);
});

test('a deadline, a long wait and a cancel each end it once', () => {
  const late = fresh();
  expect(applyEvent(late, { t: 'tick' }, 600_000)).toMatchObject([{ t: 'failed', code: 'deadline_exceeded' }]);
  const waiting = fresh();
  expect(applyEvent(waiting, { t: 'tick' }, HUB_LIMITS.queueMsMax)).toMatchObject([{ t: 'failed', code: 'too_busy' }]);
  const cancelled = fresh();
  dispatchTo(cancelled, 'dev_a');
  expect(kinds(applyEvent(cancelled, { t: 'cancel', code: 'cancelled', why: 'bye' }, 1))).toEqual(['revoke', 'failed']);
  expect(applyEvent(cancelled, { t: 'cancel', code: 'cancelled', why: 'bye' }, 1)).toEqual([]);
});

test('whatever happens, tokens come once, in order, and nothing follows the end (1,000 seeds)', () => {
  for (let seed = 0; seed < 1_000; seed++) {
    const random = createSeededRandom(seed);
    const pick = (count: number): number => Math.floor(random.unit() * count);
    const state = fresh();
    const attempts: Attempt[] = [];
    let nowMs = 0;
    let next = 0;
    let ended = 0;
    for (let step = 0; step < 120; step++) {
      nowMs += pick(400);
      if (state.phase === 'queued')
        attempts.push(dispatchTo(state, `dev_${pick(3)}`, random.unit() < 0.8 ? 'a' : 'b', nowMs));
      // Mostly the current attempt, sometimes one that is long over.
      const attempt = (random.unit() < 0.8 ? attempts.at(-1) : attempts[pick(attempts.length)]) as Attempt;
      const events: MachineEvent[] = [
        started(attempt),
        token(attempt, state.tokens.length),
        token(attempt, state.tokens.length),
        token(attempt, pick(6)),
        finished(attempt, pick(9)),
        { t: 'lost', device: attempt.device, code: 'disconnected', why: 'gone' },
        failedFrame(attempt, 'engine_failed'),
        { t: 'tick' },
      ];
      for (const effect of applyEvent(state, events[pick(events.length)] as MachineEvent, nowMs)) {
        expect(ended, `seed ${seed}`).toBe(0);
        if (effect.t === 'token') expect(effect.i, `seed ${seed}`).toBe(next++);
        if (effect.t === 'failed' || effect.t === 'finished') ended++;
      }
      expect(state.tokens.length, `seed ${seed}`).toBe(next);
      expect(state.phase === 'over', `seed ${seed}`).toBe(ended === 1);
    }
  }
});

test('an answer that another class only ends is inexact: the first would have gone on', () => {
  const state = fresh();
  const first = dispatchTo(state, 'dev_a', 'a');
  for (const event of [started(first), token(first, 0)]) applyEvent(state, event, 1);
  applyEvent(state, { t: 'lost', device: 'dev_a', code: 'disconnected', why: 'gone' }, 2);
  const second = dispatchTo(state, 'dev_b', 'b');
  for (const event of [started(second), finished(second, 1)]) applyEvent(state, event, 3);
  expect(state).toMatchObject({ phase: 'over', exact: false, tokens: [100] });
});

test('when the last attempt fails, its lease is taken back before the answer ends', () => {
  const state = fresh();
  let effects: readonly Effect[] = [];
  while (state.phase !== 'over') {
    effects = applyEvent(state, failedFrame(dispatchTo(state, 'dev_a'), 'engine_failed'), 1);
  }
  expect(kinds(effects)).toEqual(['revoke', 'failed']);
});

test('an answer that is cut ends as at a length, its device is told, and nothing of it counts afterwards', () => {
  const state = fresh();
  expect(applyEvent(state, { t: 'cut' }, 0)).toEqual([]);
  const attempt = dispatchTo(state, 'd1');
  applyEvent(state, started(attempt), 1);
  applyEvent(state, token(attempt, 0), 2);
  expect(applyEvent(state, { t: 'cut' }, 3)).toEqual([
    { t: 'revoke', attempt },
    { t: 'finished', finish: 'length', s: '', calls: undefined, receipt: undefined },
  ]);
  expect(state.tokens).toEqual([100]);
  expect(applyEvent(state, token(attempt, 1), 4)).toEqual([]);
  expect(applyEvent(state, { t: 'cut' }, 5)).toEqual([]);
});
