/** What a piece of work needs of a device beyond plain answers, for whoever can read it: a hub, or who seals it. */
import type { AnswerWork } from './answer.ts';

/** Of the features of devices, those that work may need. */
export const WORK_NEEDS = ['form', 'tools', 'logprobs', 'bias'] as const;
export type WorkNeed = (typeof WORK_NEEDS)[number];

const NOTHING_MORE: readonly WorkNeed[] = [];

export function needsOf({
  prompt,
  form,
  logprobs,
  sampling,
}: Pick<AnswerWork, 'prompt' | 'form' | 'logprobs' | 'sampling'>): readonly WorkNeed[] {
  const needed: WorkNeed[] = [];
  if (form !== undefined) needed.push('form');
  // Also for a conversation that only tells of calls: a device without the feature would leave them out in silence.
  if (prompt.kind === 'chat' && (prompt.tools !== undefined || prompt.messages.some(tellsOfCalls)))
    needed.push('tools');
  if (logprobs !== undefined) needed.push('logprobs');
  if (sampling.logitBias !== undefined) needed.push('bias');
  return needed.length === 0 ? NOTHING_MORE : needed;
}

const tellsOfCalls = (message: { readonly toolCalls?: unknown; readonly toolCallId?: unknown }): boolean =>
  message.toolCalls !== undefined || message.toolCallId !== undefined;
