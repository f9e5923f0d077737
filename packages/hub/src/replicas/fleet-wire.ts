/**
 * What replicas tell each other of devices. It comes sealed from an equal, of this version or the next to it: fields
 * that are not known are ignored, and what lacks a field is not understood and changes nothing.
 *
 *   all.fleet            changes of a sender's devices, numbered
 *   all.beat             a sender lives; the number of its last change
 *   rep.R.ping           answered with nothing
 *   rep.R.fleet          all devices of R, a page at a time
 *   rep.R.ans            frames of devices, to the owner of their leases: those of one moment together
 *   dev.D                an order for device D, to its home
 */
import {
  DEVICE_TIERS,
  WORK_KINDS,
  bytesSchema,
  causeSchema,
  decodeCbor,
  encodeCbor,
  statusSchema,
  wantedModelSchema,
  answerWorkSchema,
  embedWorkSchema,
  sealedBytesSchema,
  DATA_CLASSES,
} from '@idlewild/protocol';
import { z } from 'zod';

const id = z.string().max(128);
const count = z.int().min(0);

const changingSchema = z.object({
  id,
  session: id,
  /** Grows with each change within a session: an older one than is known changes nothing. */
  v: count,
  status: statusSchema,
  draining: z.boolean(),
  /** Leases that it has, whoever gave them. */
  active: count,
  wanted: z.array(z.string()),
  /** Its signed X25519 key, where it is another than was told last; who is older does not tell it. */
  agreementKey: bytesSchema.optional(),
});
export type Changing = z.infer<typeof changingSchema>;

const factsSchema = changingSchema.extend({
  name: z.string(),
  territory: id,
  publicKey: bytesSchema,
  joinedAtMs: z.number(),
  features: z.array(z.string()),
  /** As its home read it from the database; see `trust/standing.ts`. */
  standing: z.object({
    tier: z.enum(DEVICE_TIERS),
    person: id.optional(),
    pools: z.array(z.string()),
    asOf: z.int().min(-1),
  }),
  lends: z.object({
    kinds: z.array(z.enum(WORK_KINDS)),
    classes: z.array(z.enum(DATA_CLASSES)),
    causes: z.array(causeSchema),
    refused: z.array(causeSchema),
  }),
});
export type Facts = z.infer<typeof factsSchema>;

export const goneSchema = z.object({
  id,
  session: id,
  code: z.enum(['disconnected', 'superseded', 'device_revoked']),
  why: z.string(),
});

export const changesSchema = z.object({
  from: id,
  n: count,
  joined: z.array(factsSchema),
  changed: z.array(changingSchema),
  gone: z.array(goneSchema),
});
export type Changes = z.infer<typeof changesSchema>;

const counts = z.record(z.string(), z.number());
const narrowSchema = z.object({
  models: z.array(id).min(1).readonly(),
  dataClass: z.enum(DATA_CLASSES),
  cause: causeSchema.optional(),
  pools: z.array(id).readonly().optional(),
  features: z.array(id).readonly(),
  count,
});
export const beatSchema = z.object({
  from: id,
  n: count,
  /** Requests for each model since the last beat, and those that wait: what placement goes by. */
  asked: counts,
  queued: counts,
  /** Of what was asked, that for which not every device will do; who is older says and hears nothing of it. */
  narrow: z.array(narrowSchema).readonly().optional().catch(undefined),
});
export type Beat = z.infer<typeof beatSchema>;

export const pageAskedSchema = z.object({ after: z.string() });
export const pageSchema = z.object({
  n: count,
  devices: z.array(factsSchema),
  /** Where the next page begins; absent after the last. */
  next: z.string().optional(),
});
export type Page = z.infer<typeof pageSchema>;

const leased = { lease: id, epoch: z.int().min(1) };
/** What its text is; `cause` where one was said. */
const text = { dataClass: z.enum(DATA_CLASSES), cause: causeSchema.optional() };
export const orderSchema = z.discriminatedUnion('k', [
  z.object({
    k: z.literal('order'),
    from: id,
    ownerEpoch: count,
    isResumable: z.boolean(),
    ...leased,
    ...text,
    model: id,
    work: answerWorkSchema,
    deadlineMs: z.int().min(1),
  }),
  z.object({
    k: z.literal('embed'),
    from: id,
    ...leased,
    ...text,
    model: id,
    work: embedWorkSchema,
    deadlineMs: z.int().min(1),
  }),
  z.object({
    k: z.literal('sealed'),
    from: id,
    ...leased,
    model: id,
    dataClass: z.enum(DATA_CLASSES).optional(),
    cause: z.string().optional(),
    key: bytesSchema,
    enc: bytesSchema,
    sealed: sealedBytesSchema,
    deadlineMs: z.int().min(1),
  }),
  z.object({ k: z.literal('resume'), from: id, ownerEpoch: count, ...leased, at: count }),
  z.object({ k: z.literal('cancel'), from: id, ...leased }),
  z.object({ k: z.literal('kept'), from: id, ...leased }),
  z.object({ k: z.literal('disown'), from: id, ...leased }),
  z.object({ k: z.literal('hold'), from: id, duty: count, models: z.array(wantedModelSchema) }),
  z.object({ k: z.literal('drain'), from: id, reason: z.string() }),
  z.object({ k: z.literal('drop'), from: id, code: z.enum(['superseded', 'device_revoked']), message: z.string() }),
]);
export type Order = z.infer<typeof orderSchema>;

/** Leases and frames, in the order of the frames. */
export const framesSchema = z.array(z.tuple([id, bytesSchema]));
export type Frames = z.infer<typeof framesSchema>;

export const repliedSchema = z.object({ code: z.string().optional(), message: z.string().optional() });
export type Replied = z.infer<typeof repliedSchema>;

/** `undefined` for what is not understood. */
export function readAs<Schema extends z.ZodType>(schema: Schema, carried: Uint8Array): z.infer<Schema> | undefined {
  try {
    const result = schema.safeParse(decodeCbor(carried, 'a message of a replica'));
    return result.success ? result.data : undefined;
  } catch {
    return undefined;
  }
}

export const write = (
  value: Changes | Beat | Page | Order | Replied | Frames | z.infer<typeof pageAskedSchema>,
): Uint8Array => encodeCbor(value);
