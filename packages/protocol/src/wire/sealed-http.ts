/**
 * Sealed prompts as they go over HTTP between a caller and its hub: what is offered, and the events of a stream. Bytes
 * are base64url. Callers read it with these schemas, for nothing that a hub says is believed before it is verified.
 */
import { base64url } from 'multiformats/bases/base64';
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { DATA_CLASSES } from './purpose.ts';

/** Characters of the largest thing in one event, far above what a hub sends. */
const TEXT_MAX = 1_048_576;
/** Appeals of one person that were right, at most that are told. */
const EXCEPT_MAX = 1_024;

const carried = z
  .string()
  .max(TEXT_MAX)
  .transform((text, context) => {
    try {
      return base64url.baseDecode(text);
    } catch {
      context.issues.push({ code: 'custom', message: 'must be base64url', input: text });
      return z.NEVER;
    }
  });
const code = z.string().max(64);
const message = z.string().max(4_096);

/** For what goes the other way. */
export const textOfBytes = (bytes: Uint8Array): string => base64url.baseEncode(bytes);

/** What `POST /v1/sealed/offers` answers. */
export const sealedOfferSchema = z.object({
  /** To be shown with the prompt. */
  offer: z.string().max(TEXT_MAX),
  hold_ms: z.number(),
  lease: z.string().max(64),
  epoch: z.int().min(1),
  /** CID. */
  model: z.string().max(128),
  data_class: z.enum(DATA_CLASSES),
  purpose: z.string().max(64).optional(),
  numeric_class: z.string().max(64).nullable(),
  device: z.object({ id: z.string().max(64), name: z.string().max(256), key: carried }),
  /** A Signed `agreement-key` statement. */
  agreement_key: carried,
  /** What vouches for the device: Signed statements. */
  vouch: z.array(carried).max(8),
  /** What holds for this caller of the rules of use of this version, where those look at texts. */
  use: z
    .object({
      version: z.int().min(1),
      profiles: z.array(z.string().max(64)).max(LIMITS.useProfilesMax),
      except: z.array(z.string().max(128)).max(EXCEPT_MAX),
    })
    .optional(),
});
export type SealedOffer = z.infer<typeof sealedOfferSchema>;

/** Of what `GET /api/use` answers: a steward's Signed `use-rules` statement. */
export const signedUseSchema = z.object({ signed: carried.nullable() });

/** One event of the stream that `POST /v1/sealed/answers` answers with. */
export const sealedStreamEventSchema = z.discriminatedUnion('t', [
  z.object({ t: z.literal('part'), n: z.int().min(0), sealed: carried }),
  /** `receipt`: a Signed `sealed-receipt`, from hubs and of devices that make one. */
  z.object({ t: z.literal('done'), n: z.int().min(0), sealed: carried, receipt: carried.optional() }),
  /** The device cannot go on: another may. */
  z.object({ t: z.literal('lost'), code, message }),
  /** No other would do better. `sealed` says more, to the caller alone. */
  z.object({
    t: z.literal('failed'),
    error: z.object({ code, message, details: z.record(z.string(), z.unknown()).optional() }),
    n: z.int().min(0).optional(),
    sealed: carried.optional(),
  }),
]);
export type SealedStreamEvent = z.infer<typeof sealedStreamEventSchema>;
