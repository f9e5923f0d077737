/**
 * What an answer is made of: the work a hub hands to a device, and the events that come back.
 *
 * Work is self-contained: any device of the same numeric class that gets the same work gives the same tokens,
 * and with `tokens` set it goes on after them. Text is made on the device only; the hub passes it through.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { bytes } from './byte-fields.ts';

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
  /** Added to the logits of these tokens before anything else, as pairs of id and bias. */
  logitBias: z
    .array(z.tuple([z.int().min(0), finite.min(-100).max(100)]))
    .max(LIMITS.logitBiasMax)
    .optional(),
  /** Unsigned, at most 2^53 − 1. */
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER),
});
export type Sampling = z.infer<typeof samplingSchema>;

/** A function that the caller offers; `parameters` is the text of a JSON Schema. */
export const toolSchema = z.object({
  name: z.string().min(1).max(LIMITS.toolNameCharactersMax),
  description: z.string().optional(),
  parameters: z.string().optional(),
  /** Arguments must follow the schema exactly; otherwise they are any JSON object. */
  strict: z.boolean().optional(),
});
export type Tool = z.infer<typeof toolSchema>;

/** One call of a tool as the model made it; `arguments` is JSON text. */
export const toolCallSchema = z.object({
  id: z.string().max(64),
  name: z.string().min(1).max(LIMITS.toolNameCharactersMax),
  arguments: z.string(),
});
export type ToolCall = z.infer<typeof toolCallSchema>;

export const chatMessageSchema = z.object({
  role: z.string(),
  content: z.string(),
  /** Of an assistant's message. */
  toolCalls: z.array(toolCallSchema).max(LIMITS.toolCallsMax).optional(),
  /** Of a tool's message: the call that it answers. */
  toolCallId: z.string().max(64).optional(),
});
export type ChatMessage = z.infer<typeof chatMessageSchema>;

export const promptSchema = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('chat'),
    messages: z.array(chatMessageSchema).min(1).max(4_096),
    tools: z.array(toolSchema).max(LIMITS.toolsMax).optional(),
  }),
  z.object({ kind: z.literal('text'), text: z.string() }),
]);
export type Prompt = z.infer<typeof promptSchema>;

/** What the answer's text must be: any JSON object, or JSON that follows a schema (its text, JSON Schema). */
export const formSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('json') }),
  z.object({ kind: z.literal('schema'), schema: z.string() }),
]);
export type Form = z.infer<typeof formSchema>;

/** Whether the answer may, must or must not call tools, or which one it must call. */
export const toolChoiceSchema = z.union([z.enum(['auto', 'required', 'none']), z.object({ name: z.string() })]);
export type ToolChoice = z.infer<typeof toolChoiceSchema>;

export const answerWorkSchema = z.object({
  prompt: promptSchema,
  /** Fields left out take the model's own defaults (its generation_config), then the neutral value. */
  sampling: samplingSchema.partial().required({ seed: true }),
  /** Which of several answers to one prompt this is; part of the noise. */
  choice: z.int().min(0).max(127),
  /** Absent: as many as the model's own defaults say, else until it stops or its context is full. */
  tokensMax: z.int().min(1).max(LIMITS.tokensMax).optional(),
  stop: z.array(z.string().min(1).max(LIMITS.stopCharactersMax)).max(LIMITS.stopStringsMax),
  /** Absent: any text. Not together with tools that may be called. */
  form: formSchema.optional(),
  /** Absent: `auto` where the prompt has tools. */
  toolChoice: toolChoiceSchema.optional(),
  /** At most one call in the answer. */
  oneCall: z.boolean().optional(),
  /** How many alternatives to tell beside each token's own probability; absent: no probabilities. */
  logprobs: z.int().min(0).max(LIMITS.logprobsMax).optional(),
  /**
   * Opaque name of who may share cached prompts: a device reuses what it computed for an earlier prompt only where the
   * scope is the same, since the time that it saves tells that the prompt was there. Absent: nothing is reused or kept.
   */
  scope: z.string().max(64).optional(),
  /** Ids of tokens already emitted by earlier attempts. */
  tokens: z.array(z.int().min(0)).max(LIMITS.tokensMax),
  /**
   * Ids that are expected in the answer, by index in it, as whoever has one already asks for it once more. A device may
   * run them before it knows that they come, which is cheaper, and may leave them alone: tokens are the same with and
   * without.
   */
  draft: z.array(z.int().min(0)).max(LIMITS.tokensMax).optional(),
});
export type AnswerWork = z.infer<typeof answerWorkSchema>;

export const FINISH_REASONS = ['stop', 'length', 'tool_calls'] as const;
export type FinishReason = (typeof FINISH_REASONS)[number];

/** What an attempt drew, as its device can tell. */
export const energySchema = z.object({ wattHours: z.number().min(0), how: z.enum(['measured', 'modelled']) });

/** Every event belongs to one lease at one epoch; with any other it changes nothing. */
const leased = { lease: z.string().max(64), epoch: z.int().min(1) };

export const answerStartedSchema = z.object({
  t: z.literal('answer.started'),
  ...leased,
  promptTokens: z.int().min(0),
  /** Of these, how many did not have to be read, because the device had kept them. */
  cachedTokens: z.int().min(0).optional(),
});
/** Sent while a device loads a model or reads a long prompt, so that silence means a stall. */
export const answerProgressSchema = z.object({
  t: z.literal('answer.progress'),
  ...leased,
  phase: z.enum(['loading', 'prefill']),
});
/** Natural logarithm of a probability under the model's own distribution; −9999 stands for −∞. */
const logprob = finite.max(0);
/** A token's bytes are what it adds to the text; they may be part of a character. */
const alternativeSchema = z.object({ id: z.int().min(0), p: logprob, b: bytes });
export const logprobsSchema = z.object({
  p: logprob,
  b: bytes,
  /** The likeliest tokens, likeliest first. */
  top: z.array(alternativeSchema).max(LIMITS.logprobsMax),
});
export type Logprobs = z.infer<typeof logprobsSchema>;

/** What is added to call `i` of the answer: its name, once and first, and text of its arguments. */
export const callPartSchema = z.object({
  i: z.int().min(0).max(LIMITS.toolCallsMax),
  name: z.string().max(LIMITS.toolNameCharactersMax).optional(),
  s: z.string().max(LIMITS.tokenTextCharactersMax),
});
export type CallPart = z.infer<typeof callPartSchema>;

export const answerTokenSchema = z.object({
  t: z.literal('answer.token'),
  ...leased,
  /** Index in the answer, from 0 over all attempts. */
  i: z.int().min(0),
  id: z.int().min(0),
  /** What this token adds to the text; empty while a character or a possible stop string is incomplete. */
  s: z.string().max(LIMITS.tokenTextCharactersMax),
  /** What it adds to calls of tools, in order; text of calls is not in `s`. */
  calls: z.array(callPartSchema).max(LIMITS.callPartsMax).optional(),
  /** Where the work asks for them. */
  lp: logprobsSchema.optional(),
});
export const answerFinishedSchema = z.object({
  t: z.literal('answer.finished'),
  ...leased,
  finish: z.enum(FINISH_REASONS),
  /** Text that was held back until the end. */
  s: z.string().max(LIMITS.tokenTextCharactersMax),
  /** Parts of calls that were. */
  calls: z.array(callPartSchema).max(LIMITS.callPartsMax).optional(),
  promptTokens: z.int().min(0),
  /** Over all attempts. */
  answerTokens: z.int().min(0),
  /** Signed `receipt` statement over this attempt's part. */
  receipt: bytes,
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
