/**
 * What gets signed, by whom:
 *  - a territory signs its hubs' certificates;
 *  - a hub signs one proof per handshake;
 *  - a device signs its proof, its X25519 key, its lender's consent and its receipts.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { profileSchema, statusSchema } from '../wire/messages.ts';

const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array, 'must be bytes');
const bytes32 = bytes.refine((value) => value.length === 32, 'must be 32 bytes');
const instantMs = z.int().min(0);

/** "This key is a hub of this territory until then." Signed by the territory's key. */
export const hubCertificateSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  hub: bytes32,
  issuedAtMs: instantMs,
  expiresAtMs: instantMs,
});
export type HubCertificate = z.infer<typeof hubCertificateSchema>;

export const bindingSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('loopback') }),
  z.object({ kind: z.literal('tls'), spki: bytes32 }),
  z.object({ kind: z.literal('session'), key: bytes32 }),
]);

/** Signed by the hub's key. `hello` is SHA-256 of the carried hello frame, so a proof serves one handshake only. */
export const hubProofSchema = z.object({
  version: z.int(),
  hello: bytes32,
  certificate: bytes,
  nonce: bytes32,
  binding: bindingSchema,
});

/** Signed by the device's key: "deliver to this X25519 key". */
export const agreementKeySchema = z.object({
  v: z.literal(1),
  device: bytes32,
  key: bytes32,
  issuedAtMs: instantMs,
  expiresAtMs: instantMs,
});
export type AgreementKey = z.infer<typeof agreementKeySchema>;

export const WORK_KINDS = ['answers', 'jobs', 'training', 'storage'] as const;
export type WorkKind = (typeof WORK_KINDS)[number];

/** What the lender allows. Signed by the device's key; the device's guard holds every piece of work against it. */
export const consentSchema = z.object({
  v: z.literal(1),
  device: bytes32,
  territories: z.array(bytes32).max(64),
  kinds: z.array(z.enum(WORK_KINDS)).max(WORK_KINDS.length),
  /** `ignore`: work also while a person uses the machine; only an explicit consent says so. */
  presence: z.enum(['ignore', 'respect']),
  tokensPerSecondMax: z.number().gt(0).optional(),
  /** Bytes of models on the disk. */
  diskBytesMax: z.int().min(0).optional(),
  /** For giving blobs to other devices; 0 is not at all. */
  uploadBytesPerSecondMax: z.number().min(0).optional(),
  issuedAtMs: instantMs,
});
export type Consent = z.infer<typeof consentSchema>;

/** Signed by the device's key. `challenge` is SHA-256 of the carried challenge frame. */
export const deviceProofSchema = z.object({
  challenge: bytes32,
  name: z.string().min(1).max(LIMITS.nameCharactersMax),
  agreementKey: bytes,
  consent: bytes,
  profile: profileSchema,
  status: statusSchema,
  /** The secret of an invite; only at the first joining. */
  joinToken: z.string().max(256).optional(),
});
export type DeviceProof = z.infer<typeof deviceProofSchema>;

/** What one device did on one attempt of an answer. Signed by the device's key. */
export const receiptSchema = z.object({
  v: z.literal(1),
  device: bytes32,
  lease: z.string().max(64),
  epoch: z.int().min(1),
  model: z.string().max(128),
  numericClass: z.string().max(64),
  promptTokens: z.int().min(0),
  /** Index of the first token of this attempt, and how many it made. */
  firstToken: z.int().min(0),
  tokens: z.int().min(0),
  /** SHA-256 over this attempt's token ids as unsigned 32-bit little-endian. */
  tokensDigest: bytes32,
  prefillMs: z.number().min(0),
  decodeMs: z.number().min(0),
});
export type Receipt = z.infer<typeof receiptSchema>;
