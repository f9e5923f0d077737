/**
 * What gets signed, by whom:
 *  - a territory signs its hubs' certificates;
 *  - a hub signs one proof per handshake;
 *  - a device signs its proof, its X25519 key, its lender's consent and its receipts.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import { FINISH_REASONS, energySchema } from '../wire/answer.ts';
import { profileSchema, statusSchema } from '../wire/messages.ts';
import { DATA_CLASSES, causeSchema } from '../wire/purpose.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';

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

/** What every version of a consent says. */
const consentFields = {
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
};

const MINUTES_PER_DAY = 1_440;
/** Minutes of the lender's local day, from `from` on and before `until`. What goes past midnight is on two days. */
const windowSchema = z
  .object({ from: z.int().min(0).max(MINUTES_PER_DAY), until: z.int().min(0).max(MINUTES_PER_DAY) })
  .refine(({ from, until }) => from < until, 'must end after it begins');
const causes = z.array(causeSchema).max(LIMITS.causesMax);

const consentFieldsOfV2 = {
  /** Classes of data that the device may see. */
  classes: z.array(z.enum(DATA_CLASSES)).max(DATA_CLASSES.length),
  /** It works for these alone; none named: for any that is not refused. */
  causes,
  /** It never works for these. */
  refused: causes,
  /** When it works at all: of each weekday, from Monday on. Absent: always. */
  hours: z.array(z.array(windowSchema).max(LIMITS.hoursPerDayMax)).length(7).optional(),
  /** Of the processors, 0 to 1. */
  cpuShareMax: z.number().gt(0).max(1).optional(),
  /** Resident bytes of all engines together. */
  memoryBytesMax: z.int().min(0).optional(),
  downloadBytesPerSecondMax: z.number().min(LIMITS.downloadBytesPerSecondMin).optional(),
  /** `idle`: while nobody is at the machine. */
  gpu: z.enum(['never', 'idle', 'always']),
  celsiusMax: z.number().gt(0).optional(),
  wattHoursPerDayMax: z.number().gt(0).optional(),
};

/** What a lender chooses, field by field, as it is bounded once it is signed: for whoever takes a change of it. */
export const CONSENT_FIELDS = { ...consentFields, ...consentFieldsOfV2 } as const;

/**
 * What the lender allows, as it was signed, in either version. Signed by the device's key; the device's guard holds
 * every piece of work against it.
 */
export const signedConsentSchema = z.discriminatedUnion('v', [
  z.object({ v: z.literal(1), ...consentFields }),
  z.object({ v: z.literal(2), ...consentFields, ...consentFieldsOfV2 }),
]);
type SignedConsent = z.infer<typeof signedConsentSchema>;

/** What a lender is taken to have meant who signed before there was more to say: nothing wider than was lent then. */
export const CONSENT_UNSAID: Pick<Extract<SignedConsent, { v: 2 }>, 'classes' | 'causes' | 'refused' | 'gpu'> = {
  classes: ['public', 'internal'],
  causes: [],
  refused: [],
  gpu: 'never',
};

/** Either version as one; `v` tells which was signed. */
export type Consent = Omit<Extract<SignedConsent, { v: 2 }>, 'v'> & Pick<SignedConsent, 'v'>;
export const consentSchema = signedConsentSchema.transform((signed): Consent =>
  signed.v === 1 ? { ...CONSENT_UNSAID, ...signed } : signed,
);

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
  /** With the token of an invite that a steward vouches for: a Signed `device-by-invite` statement. */
  byInvite: bytes.optional(),
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
  /**
   * What this attempt made the machine draw beyond what it would have drawn without it, as far as its device can tell;
   * nobody else measured it.
   */
  energy: energySchema.optional(),
  /** Of an answer to a sealed prompt, which only its caller reads: what its hub cannot sign. */
  sealed: z
    .object({
      /** Digest of the whole text, as `digestAnswer` makes it, and what hides it in the hub's word. */
      digest: bytes32,
      salt: bytes32,
      seed: z.int().min(0),
      finish: z.enum(FINISH_REASONS),
    })
    .optional(),
});
export type Receipt = z.infer<typeof receiptSchema>;
