/** What of a prompt rules of use look at, and how one begins to which a profile gives a beginning. */
import { IdlewildError } from '../errors.ts';
import type { AnswerWork } from '../wire/answer.ts';

type Prompt = AnswerWork['prompt'];

/** All that was written for the model. */
export const textsOfPrompt = (prompt: Prompt): readonly string[] =>
  prompt.kind === 'text' ? [prompt.text] : prompt.messages.map(({ content }) => content).filter((text) => text !== '');

/** What speaks against a text that is no conversation, where conversations begin with a text of the community's. */
export const CHAT_ONLY = {
  reason: 'chat-only',
  why: 'your conversations begin with a text of its own, and a completion is none: ask at /v1/chat/completions',
} as const;

/** The same, for who has no record of it. */
export const chatOnly = (): IdlewildError =>
  new IdlewildError('use_refused', `this community's rules of use refuse this: ${CHAT_ONLY.why}`, {
    details: { reason: CHAT_ONLY.reason },
  });

/** Throws `use_refused` for what is no conversation. */
export function begunWith(prompt: Prompt, preambles: readonly string[]): Prompt {
  if (preambles.length === 0) return prompt;
  if (prompt.kind === 'text') throw chatOnly();
  const messages = [...preambles.map((content) => ({ role: 'system' as const, content })), ...prompt.messages];
  return { ...prompt, messages };
}
