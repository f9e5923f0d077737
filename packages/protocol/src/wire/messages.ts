/**
 * Every message between a device and its hub, as one schema each: parsed once at the door, trusted inside.
 *
 * Order of a session: hello → challenge → prove → welcome, then anything. `refused` or `dropped` ends it and says why.
 */
import { z } from 'zod';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import {
  answerFailedSchema,
  answerFinishedSchema,
  answerProgressSchema,
  answerStartedSchema,
  answerTokenSchema,
  answerWorkSchema,
} from './answer.ts';
import { embedDoneSchema, embedFailedSchema, embedSchema } from './embed.ts';
import { decodeFrame, refuseUnknownCritical } from './frame.ts';
import { purposeFields } from './purpose.ts';
import {
  sealedDoneSchema,
  sealedFailedSchema,
  sealedPartSchema,
  sealedProgressSchema,
  sealedSchema,
} from './sealed.ts';
import { bytes, bytes32 } from './byte-fields.ts';

const name = z.string().min(1).max(LIMITS.nameCharactersMax);
const cidText = z.string().min(8).max(128);

export const DEVICE_STATES = ['ready', 'busy', 'paused', 'draining', 'offline'] as const;
/**
 * - `ready`: takes work. `busy`: connected, all its slots are in use. `paused`: its lender or a limit says not now.
 * - `draining`: finishes what it has and takes nothing new. `offline`: no channel.
 */
export type DeviceState = (typeof DEVICE_STATES)[number];

export const providerSchema = z.object({
  name: z.string().max(32),
  works: z.boolean(),
  gflops: z.number().min(0).optional(),
});

/**
 * - `form`: answers that must be JSON. `tools`: calls of tools. `logprobs`, `bias`: as their names say.
 * - `embed`: vectors and labels of texts. `relay`: gives blobs to other devices.
 * - `resume`: keeps what it sent of an answer until it is told that the hub has it, also without a channel.
 * - `sealed`: opens prompts that were sealed to its key. `use`: holds them to rules of use.
 */
export const DEVICE_FEATURES = [
  'form',
  'tools',
  'logprobs',
  'bias',
  'embed',
  'relay',
  'resume',
  'sealed',
  'use',
] as const;
export type DeviceFeature = (typeof DEVICE_FEATURES)[number];

/** What a device measured of itself, at joining and after. */
export const profileSchema = z.object({
  platform: z.string().max(32),
  arch: z.string().max(32),
  cores: z.int().min(1),
  memoryBytes: z.int().min(0),
  /** Single-precision throughput of the fixed kernel on one thread. */
  gflops: z.number().min(0),
  agentVersion: z.string().max(64),
  engineBuild: z.string().max(128),
  /** Hex digest of the fingerprint graph's output: the CPU kernel family as its last bits show it. */
  fingerprint: z.string().max(64),
  /** What its agent and engine can do beyond plain answers; absent: nothing more. */
  features: z.array(z.string().max(32)).max(64).optional(),
  /** Execution providers and whether each passed its kernel self-test. */
  providers: z.array(providerSchema).max(16),
});
export type DeviceProfile = z.infer<typeof profileSchema>;

export const deviceModelSchema = z.object({
  cid: cidText,
  state: z.enum(['fetching', 'held', 'loading', 'warm', 'failed']),
  /** Fetched share of the bytes, 0 to 1. */
  fraction: z.number().min(0).max(1),
  /** Numeric class: hex digest over (model CID, engine build, provider, kernel family, wire precision). */
  numericClass: z.string().max(64).optional(),
  tokensPerSecond: z.number().min(0).optional(),
  prefillTokensPerSecond: z.number().min(0).optional(),
  /** What each further answer adds to a step of decoding, as a share of it; absent: answers take turns, which is 1. */
  sharedCost: z.number().min(0).max(1).optional(),
  /** Resident bytes, measured when it was loaded last. */
  memoryBytes: z.int().min(0).optional(),
  reason: z.string().max(512).optional(),
});
export type DeviceModel = z.infer<typeof deviceModelSchema>;

/** How much of the machine its lender lends. */
export const lentSchema = z.object({
  /** Resident bytes of all models together. */
  memoryBytes: z.int().min(0),
  /** Bytes of models on the disk. */
  diskBytes: z.int().min(0),
  /** For giving blobs to other devices; 0 is not at all. */
  uploadBytesPerSecond: z.number().min(0),
});
export type Lent = z.infer<typeof lentSchema>;

/** An attempt at an answer that a device goes on with, or has ended, and of which it keeps all events. */
export const keptAttemptSchema = z.object({
  lease: z.string().max(64),
  epoch: z.int().min(1),
  /** Index of the next token, over all attempts. */
  tokens: z.int().min(0),
});
export type KeptAttempt = z.infer<typeof keptAttemptSchema>;

export const statusSchema = z.object({
  state: z.enum(['ready', 'busy', 'paused', 'draining']),
  pauseReasons: z.array(z.string().max(LIMITS.pauseReasonCharactersMax)).max(LIMITS.pauseReasonsMax),
  slots: z.int().min(0).max(1_024),
  active: z.int().min(0),
  models: z.array(deviceModelSchema).max(LIMITS.modelsPerDeviceMax),
  /** Round trip that the device measured last. */
  roundTripMs: z.number().min(0).optional(),
  /** Absent: it says nothing of bounds, and whatever does not fit fails there. */
  lent: lentSchema.optional(),
  /** In `prove` only: attempts of earlier sessions, for whichever replica now has their answers. */
  attempts: z.array(keptAttemptSchema).max(1_024).optional(),
});
export type DeviceStatus = z.infer<typeof statusSchema>;

export const helloSchema = z.object({
  t: z.literal('hello'),
  versions: z.array(z.int()).min(1).max(16),
  /** The device's Ed25519 key. */
  device: bytes32,
  /** The key of the territory that it means to join. */
  territory: bytes32,
  nonce: bytes32,
  /** An X25519 key for this session alone: seal the channel. A hub that knows this names its own key in the binding. */
  session: bytes32.optional(),
});
/** `proof` is a Signed `hub-proof` statement. */
export const challengeSchema = z.object({ t: z.literal('challenge'), proof: bytes });
/** `proof` is a Signed `device-proof` statement. */
export const proveSchema = z.object({ t: z.literal('prove'), proof: bytes });
export const welcomeSchema = z.object({
  t: z.literal('welcome'),
  device: z.string().max(64),
  session: z.string().max(64),
  /** Bearer for fetching blobs, for a day; a session that lasts longer is given another with `heartbeat.ack`. */
  ticket: z.string().max(128),
  heartbeatMs: z.int().min(1),
  /** Attempts of earlier sessions are resumed or cancelled here, and `answer.kept` is said; absent: neither. */
  resumes: z.boolean().optional(),
  /** What people call the territory: the hub's word, which nothing proves. */
  community: z.string().max(LIMITS.nameCharactersMax).optional(),
});
const endSchema = {
  code: z.string().max(64),
  message: z.string().max(2_048),
  /** With `too_busy` and `hub_stopping`: when to come back, roughly. */
  retryAfterMs: z.int().min(0).max(600_000).optional(),
};
export const refusedSchema = z.object({
  t: z.literal('refused'),
  ...endSchema,
  /** To a device that has left and comes back without an invite: what `left` said, which it may have missed. */
  left: bytes.optional(),
});
export const droppedSchema = z.object({ t: z.literal('dropped'), ...endSchema });
export const heartbeatSchema = z.object({ t: z.literal('heartbeat'), n: z.int().min(0), status: statusSchema });
export const heartbeatAckSchema = z.object({
  t: z.literal('heartbeat.ack'),
  n: z.int().min(0),
  /** In place of the one in the welcome, which a long session outlives. */
  ticket: z.string().max(128).optional(),
});
export const wantedModelSchema = z.object({
  cid: cidText,
  name,
  /** Of all its files. */
  bytes: z.int().min(0),
  /** It is never removed to make room for another. */
  pinned: z.boolean().optional(),
  /** Requests per minute for it in the whole territory, roughly; what a swap of models in memory is judged by. */
  demand: z.number().min(0).optional(),
});
export type WantedModel = z.infer<typeof wantedModelSchema>;
/** The models that the hub wants on the device, in order of preference; blob URLs are relative to the hub's address. */
export const holdSchema = z.object({
  t: z.literal('hold'),
  models: z.array(wantedModelSchema).max(LIMITS.modelsPerDeviceMax),
  /** Base URLs that serve `/blobs/CID`, tried in order. */
  sources: z.array(z.string().max(512)).max(16),
});
export const answerSchema = z.object({
  t: z.literal('answer'),
  lease: z.string().max(64),
  epoch: z.int().min(1),
  model: cidText,
  ...purposeFields,
  work: answerWorkSchema,
  /** From now, on the device's own clock. */
  deadlineMs: z.int().min(1),
  /** Somebody may come for it when this channel is lost: the attempt goes on without one for a while. */
  keep: z.boolean().optional(),
});
export const cancelSchema = z.object({ t: z.literal('cancel'), lease: z.string().max(64), epoch: z.int().min(1) });
/**
 * Send all events of this attempt again, `answer.started` first and then tokens from index `from` on, and go on. A
 * device that has no such attempt answers `answer.failed` with `lease_unknown`.
 */
export const answerResumeSchema = z.object({
  t: z.literal('answer.resume'),
  lease: z.string().max(64),
  epoch: z.int().min(1),
  from: z.int().min(0),
});
/** The end of this attempt is written down: the device may forget it. */
export const answerKeptSchema = z.object({
  t: z.literal('answer.kept'),
  lease: z.string().max(64),
  epoch: z.int().min(1),
});
/**
 * This replica is stopping, or the territory has another address: connect anew `afterMs` from now or when the channel
 * closes. Attempts go on meanwhile.
 */
export const moveSchema = z.object({
  t: z.literal('move'),
  afterMs: z.int().min(0).max(600_000),
  reason: z.string().max(512),
  /** Where; absent: the same address. It is kept once a hub of the same territory has proved itself there. */
  url: z.string().max(512).optional(),
  /** With `url`: SHA-256 of the SubjectPublicKeyInfo of the TLS key there; absent: authorities vouch for it. */
  pin: bytes32.optional(),
  /** With `url`: something there ends TLS, and the session has to be sealed, as by an invite that says so. */
  session: z.boolean().optional(),
});
/** Gives a part of a block to the hub, which passes it to another device. */
export const blobWantSchema = z.object({
  t: z.literal('blob.want'),
  id: z.int().min(0),
  cid: cidText,
  offset: z.int().min(0).max(LIMITS.blockBytesMax),
  length: z.int().min(1).max(LIMITS.relayBytesMax),
});
/** The answer to a `blob.want`. Without bytes: the device does not have it, or `busyMs` says when to ask again. */
export const blobHaveSchema = z.object({
  t: z.literal('blob.have'),
  id: z.int().min(0),
  /** Of the whole block. */
  total: z.int().min(0).max(LIMITS.blockBytesMax).optional(),
  bytes: bytes.refine((value) => value.length <= LIMITS.relayBytesMax, 'must be one part').optional(),
  busyMs: z.int().min(0).optional(),
});
export const drainSchema = z.object({ t: z.literal('drain'), reason: z.string().max(512) });
/** It goes for good: what runs on it is given to others, and its key is good for nothing any more. */
export const leaveSchema = z.object({ t: z.literal('leave') });
/** It is written down that the device left. `statement` is a Signed `left` statement; then the channel closes. */
export const leftSchema = z.object({ t: z.literal('left'), statement: bytes });
export const agreementSchema = z.object({ t: z.literal('agreement'), key: bytes });
export const unsupportedSchema = z.object({ t: z.literal('unsupported'), kind: z.string().max(64) });

const toHub = {
  hello: helloSchema,
  prove: proveSchema,
  heartbeat: heartbeatSchema,
  agreement: agreementSchema,
  leave: leaveSchema,
  unsupported: unsupportedSchema,
  'answer.started': answerStartedSchema,
  'answer.progress': answerProgressSchema,
  'answer.token': answerTokenSchema,
  'answer.finished': answerFinishedSchema,
  'answer.failed': answerFailedSchema,
  'blob.have': blobHaveSchema,
  'embed.done': embedDoneSchema,
  'embed.failed': embedFailedSchema,
  'sealed.part': sealedPartSchema,
  'sealed.progress': sealedProgressSchema,
  'sealed.done': sealedDoneSchema,
  'sealed.failed': sealedFailedSchema,
} as const;
const toDevice = {
  challenge: challengeSchema,
  welcome: welcomeSchema,
  refused: refusedSchema,
  dropped: droppedSchema,
  'heartbeat.ack': heartbeatAckSchema,
  hold: holdSchema,
  answer: answerSchema,
  embed: embedSchema,
  sealed: sealedSchema,
  cancel: cancelSchema,
  'answer.resume': answerResumeSchema,
  'answer.kept': answerKeptSchema,
  move: moveSchema,
  drain: drainSchema,
  left: leftSchema,
  'blob.want': blobWantSchema,
  unsupported: unsupportedSchema,
} as const;

type MessageOf<Table extends Record<string, z.ZodType>> = { [Kind in keyof Table]: z.infer<Table[Kind]> }[keyof Table];
export type ToHub = MessageOf<typeof toHub>;
export type ToDevice = MessageOf<typeof toDevice>;
/** A kind that this side does not know: answer `unsupported`, change nothing. */
export interface UnknownMessage {
  readonly t: '?';
  readonly kind: string;
}

function parse<Message>(
  table: Record<string, z.ZodType>,
  frame: Uint8Array,
  bytesMax: number,
): Message | UnknownMessage {
  const fields = decodeFrame(frame, bytesMax);
  const schema = Object.hasOwn(table, fields.t) ? table[fields.t] : undefined;
  refuseUnknownCritical(fields, [], `a "${fields.t.slice(0, 64)}" frame`);
  if (schema === undefined) return { t: '?', kind: fields.t.slice(0, 64) };
  const result = schema.safeParse(fields);
  if (result.success) return result.data as Message;
  const issue = result.error.issues[0];
  throw new IdlewildError(
    'frame_invalid',
    `a "${fields.t}" frame is wrong at ${issue?.path.join('.') || 'its root'}: ${issue?.message ?? ''}`,
  );
}

/** A frame from a device. Throws `frame_invalid` or `frame_too_large`. */
export const parseToHub = (frame: Uint8Array, bytesMax: number = LIMITS.frameBytesMax): ToHub | UnknownMessage =>
  parse<ToHub>(toHub, frame, bytesMax);

/** A frame from a hub. Throws `frame_invalid` or `frame_too_large`. */
export const parseToDevice = (frame: Uint8Array, bytesMax: number = LIMITS.frameBytesMax): ToDevice | UnknownMessage =>
  parse<ToDevice>(toDevice, frame, bytesMax);
