/**
 * The guard: every piece of work is held against what the lender signed, whatever the hub says.
 *
 * A device opens its consent once, at its start, and believes nothing else about what it may do. The guard refuses by
 * returning the error, so that a refusal is an ordinary event. It knows no hub, no model and no engine.
 */
import {
  IdlewildError,
  consentSchema,
  equalBytes,
  openStatement,
  signStatement,
  type Clock,
  type Consent,
  type Crypto,
  type KeyPair,
  type WorkKind,
} from '@idlewild/protocol';

/** What a lender chooses; `signConsent` makes a statement of it. */
export interface ConsentChoice {
  readonly territories: readonly Uint8Array[];
  readonly kinds: readonly WorkKind[];
  readonly presence: 'ignore' | 'respect';
  readonly tokensPerSecondMax?: number | undefined;
  /** Bytes of models on the disk. */
  readonly diskBytesMax?: number | undefined;
  /** For giving blobs to other devices; 0 is not at all. */
  readonly uploadBytesPerSecondMax?: number | undefined;
}

export interface WorkAsked {
  readonly kind: WorkKind;
  /** The territory whose hub asks: the one this session was proved for. */
  readonly territory: Uint8Array;
}

/** The error to refuse `work` with, or `undefined` when the lender consents to it. */
export function refusalOf(consent: Consent, work: WorkAsked): IdlewildError | undefined {
  if (!consent.territories.some((territory) => equalBytes(territory, work.territory))) {
    return new IdlewildError(
      'consent_refused',
      'the lender of this device does not consent to work for this territory',
    );
  }
  if (!consent.kinds.includes(work.kind)) {
    const kinds = consent.kinds.join(', ') || 'nothing';
    return new IdlewildError(
      'consent_refused',
      `the lender of this device does not consent to ${work.kind}; it lends for ${kinds}`,
    );
  }
  return undefined;
}

/** The signed statement that goes to the hub and onto the disk. */
export function signConsent(
  choice: ConsentChoice,
  identity: KeyPair,
  clock: Clock,
  crypto: Crypto,
): Promise<Uint8Array> {
  const { tokensPerSecondMax, diskBytesMax, uploadBytesPerSecondMax, ...rest } = choice;
  return signStatement(
    'consent',
    {
      // Statements carry whole milliseconds; a clock may count finer.
      v: 1,
      device: identity.publicKey,
      ...rest,
      issuedAtMs: Math.floor(clock.now()),
      ...(tokensPerSecondMax === undefined ? {} : { tokensPerSecondMax }),
      ...(diskBytesMax === undefined ? {} : { diskBytesMax }),
      ...(uploadBytesPerSecondMax === undefined ? {} : { uploadBytesPerSecondMax }),
    },
    identity,
    crypto,
  );
}

/** Opens a consent that `device` itself signed. Throws `signature_invalid` or `frame_invalid`. */
export async function openConsent(signed: Uint8Array, device: Uint8Array, crypto: Crypto): Promise<Consent> {
  const { statement } = await openStatement('consent', signed, consentSchema, crypto, device);
  if (!equalBytes(statement.device, device)) {
    throw new IdlewildError('signature_invalid', 'the consent is of another device');
  }
  return statement;
}
