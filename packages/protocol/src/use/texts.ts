/** What of a prompt rules of use look at, and how one begins to which a profile gives a beginning. */
import { IdlewildError } from '../errors.ts';
import type { AnswerWork } from '../wire/answer.ts';

type Prompt = AnswerWork['prompt'];

/** All that was written for the model. */
export const textsOfPrompt = (prompt: Prompt): readonly string[] =>
  prompt.kind === 'text' ? [prompt.text] : prompt.messages.map(({ content }) => content).filter((text) => text !== '');

/** For a text that is no conversation, where conversations begin with a text of the community's. */
export const chatOnly = (): IdlewildError =>
  new IdlewildError(
    'use_refused',
    "this community's rules of use begin your conversations with a text of its own, and a completion is none: " +
      'ask at /v1/chat/completions',
    { details: { reason: 'chat-only' } },
  );

/** Throws `use_refused` for what is no conversation. */
export function begunWith(prompt: Prompt, preambles: readonly string[]): Prompt {
  if (preambles.length === 0) return prompt;
  if (prompt.kind === 'text') throw chatOnly();
  const messages = [...preambles.map((content) => ({ role: 'system' as const, content })), ...prompt.messages];
  return { ...prompt, messages };
}
