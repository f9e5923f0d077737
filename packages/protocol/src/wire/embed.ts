/**
 * Vectors and labels of texts: one order, one reply. The same texts give the same bits on one numeric class, so a part
 * that was lost is asked of another device and nothing of it is kept.
 *
 * The order carries as many texts as their reply fits one frame; cutting a request into parts is the hub's.
 */
import { z } from 'zod';
import { utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { purposeFields } from './purpose.ts';
import { bytes } from './byte-fields.ts';

const leased = { lease: z.string().max(64), epoch: z.int().min(1) };

export const embedWorkSchema = z.object({
  /** `embed`: a vector for each text. `classify`: the probability of each of the model's labels. */
  kind: z.enum(['embed', 'classify']),
  inputs: z
    .array(z.string())
    .min(1)
    .max(LIMITS.embedInputsMax)
    .refine(
      (inputs) => inputs.reduce((sum, input) => sum + utf8(input).length, 0) <= LIMITS.promptBytesMax,
      `must be at most ${LIMITS.promptBytesMax} bytes together`,
    ),
});
export type EmbedWork = z.infer<typeof embedWorkSchema>;

export const embedSchema = z.object({
  t: z.literal('embed'),
  ...leased,
  model: z.string().min(8).max(128),
  ...purposeFields,
  work: embedWorkSchema,
  /** From now, on the device's own clock. */
  deadlineMs: z.int().min(1),
});

/** In the order of the inputs. */
export const embedDoneSchema = z.object({
  t: z.literal('embed.done'),
  ...leased,
  /** Each float32, little-endian. */
  vectors: z
    .array(bytes.refine((vector) => vector.length > 0 && vector.length % 4 === 0, 'must be whole float32 values'))
    .max(LIMITS.embedInputsMax),
  /** Tokens that were read of each input. */
  tokens: z.array(z.int().min(0)).max(LIMITS.embedInputsMax),
});
export const embedFailedSchema = z.object({
  t: z.literal('embed.failed'),
  ...leased,
  code: z.string().max(64),
  message: z.string().max(2_048),
  /** Index of the input that is at fault, where one is. */
  input: z.int().min(0).max(LIMITS.embedInputsMax).optional(),
});

export type EmbedDone = z.infer<typeof embedDoneSchema>;
export type EmbedFailed = z.infer<typeof embedFailedSchema>;
export type EmbedEvent = EmbedDone | EmbedFailed;
