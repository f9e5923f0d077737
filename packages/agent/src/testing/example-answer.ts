/** An order as a hub sends it, for tests: what it asks for is the same everywhere, but for what a test says. */
import type { AnswerWork, ToDevice } from '@idlewild/protocol';

export type AnswerOrder = Extract<ToDevice, { t: 'answer' }>;

export const exampleWork = (change: Partial<AnswerWork> = {}): AnswerWork => ({
  prompt: { kind: 'text', text: 'Once upon a time' },
  sampling: { seed: 1 },
  choice: 0,
  stop: [],
  tokens: [],
  tokensMax: 50,
  ...change,
});

export const exampleAnswer = (model: string, change: Partial<AnswerOrder> = {}): AnswerOrder => ({
  t: 'answer',
  lease: 'att_1',
  epoch: 1,
  model,
  work: exampleWork(),
  deadlineMs: 60_000,
  ...change,
});
