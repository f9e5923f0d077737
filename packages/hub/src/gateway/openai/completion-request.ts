/** /v1/completions: what may be asked, and the work that it makes for a device, one draft for each prompt. */
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';
import { given, refused, sampledFields } from './fields.ts';
import { refuse, samplingOf, stopsOf, type WorkDraft } from './work.ts';

/** Alternatives that this endpoint gives at most; chat gives more. As in OpenAI's API. */
const LOGPROBS_MAX = 5;

const onlyText = 'must be a text or a list of texts, none of them empty; lists of token ids are not supported';
const prompt = z.string({ error: onlyText }).min(1, onlyText);

export const completionRequestSchema = z.strictObject({
  ...sampledFields,
  prompt: z.union([prompt, z.array(prompt).min(1).max(HUB_LIMITS.answersPerRequestMax)], { error: onlyText }),
  best_of: given(z.int().min(1).max(HUB_LIMITS.answersPerRequestMax)),
  echo: given(z.boolean()),
  logprobs: given(z.int().min(0).max(LOGPROBS_MAX)),
  suffix: refused('models that fill in the middle are not supported'),
});
export type CompletionRequest = z.infer<typeof completionRequestSchema>;

export const promptsOf = (request: CompletionRequest): readonly string[] =>
  typeof request.prompt === 'string' ? [request.prompt] : request.prompt;

/** Throws `invalid_request` where fields contradict each other. */
export function completionWorks(request: CompletionRequest, seed: number): WorkDraft[] {
  const { best_of: bestOf, logprobs } = request;
  const n = request.n ?? 1;
  if (bestOf !== null && bestOf !== undefined && bestOf !== n)
    throw refuse('best_of', 'is only supported where it equals "n": answers are not ranked');
  const prompts = promptsOf(request);
  if (prompts.length * n > HUB_LIMITS.answersPerRequestMax) {
    const most = HUB_LIMITS.answersPerRequestMax;
    throw refuse(
      'n',
      `times the number of prompts is ${prompts.length * n}; at most ${most} answers are given at once`,
    );
  }
  const wanted = logprobs !== null && logprobs !== undefined;
  if (wanted && request.echo === true)
    throw refuse('echo', 'is not supported together with "logprobs": the prompt\'s tokens have none');
  return prompts.map((text) => ({
    prompt: { kind: 'text', text },
    sampling: samplingOf(request, seed),
    stop: stopsOf(request.stop),
    ...(wanted ? { logprobs } : {}),
    ...(request.max_tokens === null || request.max_tokens === undefined ? {} : { tokensMax: request.max_tokens }),
  }));
}
