/**
 * Sealed prompts on the wire: an order whose work only its device can read, and frames whose events only its caller
 * can. The hub between them carries padded bytes, and counts, which it needs for limits and usage.
 *
 * What is in the clear beside them is bound into the sealing (`sealed/envelope.ts`), so that a hub that changes it has
 * an order that does not open.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { bytes, bytes32 } from './byte-fields.ts';
import {
  answerFailedSchema,
  answerFinishedSchema,
  answerStartedSchema,
  answerTokenSchema,
  energySchema,
  type AnswerFailed,
  type AnswerFinished,
  type AnswerStarted,
  type AnswerToken,
} from './answer.ts';
import { useOrderSchema } from '../use/use-order.ts';
import { causeSchema, purposeFields } from './purpose.ts';

const leased = { lease: z.string().max(64), epoch: z.int().min(1) };
/** The tag, and ahead of the first event the nonce of the answer. */
const OVERHEAD_BYTES = 48;
const tokens = z.int().min(0).max(LIMITS.tokensMax);

export const sealedBytesSchema = bytes.refine(
  ({ length }) => length <= LIMITS.sealedPromptBytesMax + OVERHEAD_BYTES,
  'is longer than the longest sealed prompt',
);
const sealedEvent = bytes.refine(
  ({ length }) => length <= LIMITS.sealedEventBytesMax + OVERHEAD_BYTES,
  'is longer than the longest sealed event',
);

export const sealedSchema = z.object({
  t: z.literal('sealed'),
  ...leased,
  model: z.string().min(8).max(128),
  ...purposeFields,
  /** The device's X25519 key to which it is sealed. */
  key: bytes32,
  /** The encapsulated key (RFC 9180). */
  enc: bytes32,
  sealed: sealedBytesSchema,
  /** What it is held to after opening: it opens under this alone. Absent: to nothing. */
  use: useOrderSchema.optional(),
  /** From now, on the device's own clock. */
  deadlineMs: z.int().min(1),
});

/** One event; the first tells how long the prompt was. */
export const sealedPartSchema = z.object({
  t: z.literal('sealed.part'),
  ...leased,
  /** Counts the events of the attempt, from 0. */
  n: z.int().min(0),
  promptTokens: z.int().min(0).optional(),
  cachedTokens: z.int().min(0).optional(),
  /** Made by this attempt so far. */
  tokens,
  sealed: sealedEvent,
});
/** So that silence means a stall. */
export const sealedProgressSchema = z.object({ t: z.literal('sealed.progress'), ...leased });
/** The last event. */
export const sealedDoneSchema = z.object({
  t: z.literal('sealed.done'),
  ...leased,
  n: z.int().min(0),
  promptTokens: z.int().min(0),
  tokens,
  sealed: sealedEvent,
  /** SHA-256 over a salt and the digest of the text (`identity/sealed-receipt.ts`), for the hub to sign. */
  commitment: bytes32.optional(),
  /** What the attempt drew, as its receipt says; the hub adds these up. */
  energy: energySchema.optional(),
});
/** `message` says nothing of what was sealed; where there is more to say, `sealed` says it to the caller. */
export const sealedFailedSchema = z.object({
  t: z.literal('sealed.failed'),
  ...leased,
  code: z.string().max(64),
  message: z.string().max(2_048),
  /** With `use_refused`: the rule of the order that speaks against it, or absent where it is no conversation. */
  rule: causeSchema.optional(),
  n: z.int().min(0).optional(),
  sealed: sealedEvent.optional(),
});

export type SealedPart = z.infer<typeof sealedPartSchema>;
export type SealedProgress = z.infer<typeof sealedProgressSchema>;
export type SealedDone = z.infer<typeof sealedDoneSchema>;
export type SealedFailed = z.infer<typeof sealedFailedSchema>;
export type SealedEvent = SealedPart | SealedProgress | SealedDone | SealedFailed;

const withoutLease = { lease: true, epoch: true } as const;
/** What is inside the frames: the events of an answer, which need no lease, for the seal is for one alone. */
export const innerEventSchema = z.discriminatedUnion('t', [
  answerStartedSchema.omit(withoutLease),
  answerTokenSchema.omit(withoutLease),
  answerFinishedSchema.omit(withoutLease),
  answerFailedSchema.omit(withoutLease),
]);
type Inner<Event> = Omit<Event, 'lease' | 'epoch'>;
export type InnerEvent = Inner<AnswerStarted> | Inner<AnswerToken> | Inner<AnswerFinished> | Inner<AnswerFailed>;
