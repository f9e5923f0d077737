/**
 * OpenAI's request and answer shapes, and their translation to and from the work a device gets.
 *
 * Every field is either supported or refused by name: an unknown key fails the schema, and the refusal names it. Text
 * passes through untouched; nothing here looks into it.
 */
import type { AnswerWork, FinishReason, Prompt, Random } from '@idlewild/protocol';
import { LIMITS } from '@idlewild/protocol';
import { z } from 'zod';
import type { AnswerSummary } from '../answers/answers.ts';
import { HUB_LIMITS } from '../limits.ts';

const optionalNumber = (schema: z.ZodNumber): z.ZodOptional<z.ZodNullable<z.ZodNumber>> => schema.nullable().optional();

const stop = z.union([
  z.string().min(1).max(LIMITS.stopCharactersMax),
  z.array(z.string().min(1).max(LIMITS.stopCharactersMax)).max(LIMITS.stopStringsMax),
]);

const commonFields = {
  model: z.string().min(1).max(LIMITS.nameCharactersMax).describe('A name from /v1/models.'),
  max_tokens: z.int().min(1).max(LIMITS.tokensMax).nullable().optional(),
  temperature: optionalNumber(z.number().min(0).max(2)),
  top_p: optionalNumber(z.number().gt(0).max(1)),
  top_k: z
    .int()
    .min(0)
    .nullable()
    .optional()
    .describe("Not in OpenAI's API: keeps the k likeliest tokens, 0 keeps all."),
  seed: z.int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER).nullable().optional(),
  frequency_penalty: optionalNumber(z.number().min(-2).max(2)),
  presence_penalty: optionalNumber(z.number().min(-2).max(2)),
  stop: stop.nullable().optional(),
  stream: z.boolean().nullable().optional(),
  stream_options: z.strictObject({ include_usage: z.boolean().optional() }).nullable().optional(),
  n: z.literal(1, 'only one answer at a time is supported').nullable().optional(),
};

const textPart = z.strictObject({ type: z.literal('text', 'only text parts are supported'), text: z.string() });
const content = z.union([z.string(), z.array(textPart).min(1).max(HUB_LIMITS.messagesMax)]);

export const chatRequestSchema = z.strictObject({
  ...commonFields,
  messages: z
    .array(
      z.strictObject({
        role: z.enum(['system', 'developer', 'user', 'assistant']),
        content,
        name: z.string().max(64).optional(),
      }),
    )
    .min(1)
    .max(HUB_LIMITS.messagesMax),
  max_completion_tokens: z.int().min(1).max(LIMITS.tokensMax).nullable().optional(),
});
export type ChatRequest = z.infer<typeof chatRequestSchema>;

export const completionRequestSchema = z.strictObject({
  ...commonFields,
  prompt: z.string().min(1, 'must not be empty'),
});
export type CompletionRequest = z.infer<typeof completionRequestSchema>;

const joined = (value: ChatRequest['messages'][number]['content']): string =>
  typeof value === 'string' ? value : value.map((part) => part.text).join('');

export const chatPrompt = (request: ChatRequest): Prompt => ({
  kind: 'chat',
  messages: request.messages.map(({ role, content }) => ({
    role: role === 'developer' ? 'system' : role,
    content: joined(content),
  })),
});

/** The work for a device; a request without a seed gets one, so that the answer can be asked for again. */
export function workOf(
  request: ChatRequest | CompletionRequest,
  prompt: Prompt,
  random: Random,
): Omit<AnswerWork, 'tokens'> {
  const tokensMax =
    ('max_completion_tokens' in request ? request.max_completion_tokens : undefined) ?? request.max_tokens ?? undefined;
  const given = {
    temperature: request.temperature,
    topP: request.top_p,
    topK: request.top_k,
    frequencyPenalty: request.frequency_penalty,
    presencePenalty: request.presence_penalty,
  };
  const set = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== null && value !== undefined),
  ) as Partial<AnswerWork['sampling']>;
  const seed =
    request.seed === null || request.seed === undefined ? Math.floor(random.unit() * 2 ** 31) : Math.abs(request.seed);
  const stops =
    request.stop === null || request.stop === undefined
      ? []
      : typeof request.stop === 'string'
        ? [request.stop]
        : request.stop;
  return {
    prompt,
    sampling: { ...set, seed },
    choice: 0,
    stop: stops,
    ...(tokensMax === undefined ? {} : { tokensMax }),
  };
}

/** What Idlewild adds to every answer, and to the last chunk of a stream. */
export interface IdlewildNote {
  /** Names of the devices that worked on it, in order. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly seed: number;
  /** Whether the whole is bit-identical to an uninterrupted answer. */
  readonly exact: boolean;
  readonly hub: string;
}

export const noteOf = (summary: AnswerSummary, hub: string): IdlewildNote => ({
  devices: summary.devices.map((device) => device.name),
  failovers: summary.failovers,
  seed: summary.seed,
  exact: summary.exact,
  hub,
});

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export const usageOf = (promptTokens: number, answerTokens: number): Usage => ({
  prompt_tokens: promptTokens,
  completion_tokens: answerTokens,
  total_tokens: promptTokens + answerTokens,
});

/** How the two endpoints differ in shape. */
export interface Shape {
  readonly object: string;
  readonly chunkObject: string;
  readonly idPrefix: string;
  whole(text: string, finish: FinishReason): object;
  /** The JSON of one choice that adds `text`, built by hand: it is made once for every token. */
  piece(text: string): string;
  first(): object | undefined;
  last(finish: FinishReason): object;
}

export const CHAT: Shape = {
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  idPrefix: 'chatcmpl-',
  whole: (text, finish) => ({
    index: 0,
    message: { role: 'assistant', content: text, refusal: null },
    logprobs: null,
    finish_reason: finish,
  }),
  piece: (text) => `{"index":0,"delta":{"content":${JSON.stringify(text)}},"logprobs":null,"finish_reason":null}`,
  first: () => ({ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }),
  last: (finish) => ({ index: 0, delta: {}, logprobs: null, finish_reason: finish }),
};

export const COMPLETION: Shape = {
  object: 'text_completion',
  chunkObject: 'text_completion',
  idPrefix: 'cmpl-',
  whole: (text, finish) => ({ index: 0, text, logprobs: null, finish_reason: finish }),
  piece: (text) => `{"index":0,"text":${JSON.stringify(text)},"logprobs":null,"finish_reason":null}`,
  first: () => undefined,
  last: (finish) => ({ index: 0, text: '', logprobs: null, finish_reason: finish }),
};
