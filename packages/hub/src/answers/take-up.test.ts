/** Claims about answers that another owner began, by what the journal has of them. */
import { expect, test } from 'vitest';
import type { JournalledAnswer } from './journal/runs.ts';
import { HUB_LIMITS } from '../limits.ts';
import { applyEvent, type AnswerState } from './machine.ts';
import { takeUp } from './take-up.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

const attempt = (epoch: number, numericClass: string, from = 0) =>
  ({ t: 'attempt', lease: `att_${epoch}`, epoch, device: `dev_${epoch}`, name: 'd', numericClass, from }) as const;
const found = (tokens: number, attempts: JournalledAnswer['attempts']): JournalledAnswer => ({
  request: 'req_a',
  key: 'key_a',
  countsPrompt: true,
  text: PLAIN_TEXT,
  isDone: false,
  ownerEpoch: 2,
  seq: 1,
  tokens: Array.from({ length: tokens }, (_, id) => ({ id, s: 't', calls: undefined, lp: undefined })),
  attempts,
  started: undefined,
  finished: undefined,
  failovers: 0,
  exact: true,
});
const work = { prompt: { kind: 'text' as const, text: 'x' }, sampling: { seed: 1 }, choice: 0, stop: [] };
const upOf = (journalled: JournalledAnswer, deadlineMs = 1_000): AnswerState =>
  takeUp(journalled, { model: { cid: 'm', name: 'm' }, work }, { nowMs: 0, deadlineMs, stallMs: 100 }).state;

/** The next attempt, of another device, tells its first token. */
function goOn(state: AnswerState, numericClass: string): void {
  const { lease, epoch, device } = attempt(9, numericClass);
  const facts = { stallMs: 100, mayRepeat: false, started: false, progressAtMs: 0 };
  applyEvent(state, { t: 'dispatched', attempt: { lease, epoch, device, numericClass, ...facts } }, 0);
  applyEvent(state, { t: 'frame', device, frame: { t: 'answer.started', lease, epoch, promptTokens: 1 } }, 0);
  const token = { t: 'answer.token', lease, epoch, i: state.tokens.length, id: 7, s: 't' } as const;
  applyEvent(state, { t: 'frame', device, frame: token }, 0);
}

test.each([
  ['tokens', 3],
  ['tokens that were not written down, perhaps,', 0],
])('an answer that has %s of one class and goes on in another is not exact', (_, tokens) => {
  const same = upOf(found(tokens, [attempt(1, 'a')]));
  goOn(same, 'a');
  expect(same).toMatchObject({ exact: true, tokens: { length: tokens + 1 } });
  const other = upOf(found(tokens, [attempt(1, 'a')]));
  goOn(other, 'b');
  expect(other).toMatchObject({ exact: false, tokens: { length: tokens + 1 } });
});

test('an answer that nobody was given yet has no class', () => {
  const state = upOf(found(0, []));
  goOn(state, 'b');
  expect(state.exact).toBe(true);
});

test.each([0, 1])('an answer that was taken over after %s attempts waits until all devices can be back', (attempts) => {
  const state = upOf(found(attempts, [attempt(1, 'a')].slice(0, attempts)), HUB_LIMITS.answerMsMax);
  expect(applyEvent(state, { t: 'tick' }, HUB_LIMITS.takeUpWaitMsMax - 1)).toEqual([]);
  expect(applyEvent(state, { t: 'tick' }, HUB_LIMITS.takeUpWaitMsMax)).toMatchObject([{ t: 'failed' }]);
});
