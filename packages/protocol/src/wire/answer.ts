/**
 * What an answer is made of: the work a hub hands to a device, and the events that come back.
 *
 * Work is self-contained: any device of the same numeric class that gets the same work gives the same tokens,
 * and with `tokens` set it goes on after them. Text is made on the device only; the hub passes it through.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';

const finite = z.number();

/** How the next token is chosen; the order of the steps is fixed in `sampler/`. */
export const samplingSchema = z.object({
  /** 0 is greedy. */
  temperature: finite.min(0).max(100),
  /** Keeps the k likeliest tokens; 0 keeps all. */
  topK: z.int().min(0),
  /** Keeps the smallest set of likeliest tokens whose probabilities reach this. */
  topP: finite.gt(0).max(1),
  /** Divides positive, multiplies negative logits of tokens already seen (prompt and answer); 1 is off. */
  repetitionPenalty: finite.gt(0).max(100),
  /** Subtracted once per earlier occurrence in the answer. */
  frequencyPenalty: finite.min(-2).max(2),
  /** Subtracted once if the token is in the answer already. */
  presencePenalty: finite.min(-2).max(2),
  /** Unsigned, at most 2^53 − 1. */
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
});
export type Sampling = z.infer<typeof samplingSchema>;

export const promptSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('chat'),
    messages: z
      .array(z.object({ role: z.string(), content: z.string() }))
      .min(1)
      .max(4_096),
  }),
  z.object({ kind: z.literal('text'), text: z.string() }),
]);
export type Prompt = z.infer<typeof promptSchema>;

export const answerWorkSchema = z.object({
  prompt: promptSchema,
  /** Fields left out take the model's own defaults (its generation_config), then the neutral value. */
  sampling: samplingSchema.partial().required({ seed: true }),
  /** Which of several answers to one prompt this is; part of the noise. */
  choice: z.int().min(0).max(127),
  /** Absent: as many as the model's own defaults say, else until it stops or its context is full. */
  tokensMax: z.int().min(1).max(LIMITS.tokensMax).optional(),
  stop: z.array(z.string().min(1).max(LIMITS.stopCharactersMax)).max(LIMITS.stopStringsMax),
  /** Ids of tokens already emitted by earlier attempts. */
  tokens: z.array(z.int().min(0)).max(LIMITS.tokensMax),
});
export type AnswerWork = z.infer<typeof answerWorkSchema>;

export const FINISH_REASONS = ['stop', 'length'] as const;
export type FinishReason = (typeof FINISH_REASONS)[number];

/** Every event belongs to one lease at one epoch; with any other it changes nothing. */
const leased = { lease: z.string().max(64), epoch: z.int().min(1) };

export const answerStartedSchema = z.object({
  t: z.literal('answer.started'),
  ...leased,
  promptTokens: z.int().min(0),
});
/** Sent while a device loads a model or reads a long prompt, so that silence means a stall. */
export const answerProgressSchema = z.object({
  t: z.literal('answer.progress'),
  ...leased,
  phase: z.enum(['loading', 'prefill']),
});
export const answerTokenSchema = z.object({
  t: z.literal('answer.token'),
  ...leased,
  /** Index in the answer, from 0 over all attempts. */
  i: z.int().min(0),
  id: z.int().min(0),
  /** What this token adds to the text; empty while a character or a possible stop string is incomplete. */
  s: z.string().max(LIMITS.tokenTextCharactersMax),
});
export const answerFinishedSchema = z.object({
  t: z.literal('answer.finished'),
  ...leased,
  finish: z.enum(FINISH_REASONS),
  /** Text that was held back until the end. */
  s: z.string().max(LIMITS.tokenTextCharactersMax),
  promptTokens: z.int().min(0),
  /** Over all attempts. */
  answerTokens: z.int().min(0),
  /** Signed `receipt` statement over this attempt's part. */
  receipt: z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes'),
});
export const answerFailedSchema = z.object({
  t: z.literal('answer.failed'),
  ...leased,
  code: z.string().max(64),
  message: z.string().max(2_048),
});

export type AnswerStarted = z.infer<typeof answerStartedSchema>;
export type AnswerProgress = z.infer<typeof answerProgressSchema>;
export type AnswerToken = z.infer<typeof answerTokenSchema>;
export type AnswerFinished = z.infer<typeof answerFinishedSchema>;
export type AnswerFailed = z.infer<typeof answerFailedSchema>;
export type AnswerEvent = AnswerStarted | AnswerProgress | AnswerToken | AnswerFinished | AnswerFailed;
