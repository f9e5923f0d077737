/**
 * Signed statements: bytes, the key that signed them, and an Ed25519 signature (RFC 8032) over the carried bytes.
 *
 * A statement is verified as it was carried and decoded afterwards; it is never re-encoded, so fields that this side
 * does not know stay under the signature. The purpose is signed with it, so a receipt can never pass for a consent.
 */
import { z } from 'zod';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { decodeCbor, encodeCbor, refuseUnknownCritical, type Fields } from '../wire/frame.ts';

export type Purpose =
  | 'hub-certificate'
  | 'hub-proof'
  | 'device-proof'
  | 'agreement-key'
  | 'device-vouch'
  | 'invite-vouch'
  | 'device-by-invite'
  | 'consent'
  | 'receipt'
  | 'left'
  | 'audit-head'
  | 'answer-receipt'
  | 'sealed-receipt'
  | 'use-rules';

const signedSchema = z.object({
  payload: z.instanceof(Uint8Array),
  key: z.instanceof(Uint8Array),
  signature: z.instanceof(Uint8Array),
});

const message = (purpose: Purpose, payload: Uint8Array): Uint8Array =>
  concat([utf8(`idlewild/v1/${purpose}\0`), payload]);

/** CBOR of `{ payload, key, signature }`. */
export async function signStatement(
  purpose: Purpose,
  statement: Fields,
  signer: KeyPair,
  crypto: Crypto,
): Promise<Uint8Array> {
  const payload = encodeCbor(statement);
  const signature = await crypto.sign(signer.privateKey, message(purpose, payload));
  return encodeCbor({ payload, key: signer.publicKey, signature });
}

export interface Verified<Statement> {
  readonly statement: Statement;
  /** Who signed. The caller decides whether that key may say this. */
  readonly key: Uint8Array;
}

/**
 * Verifies `carried` and parses its payload by `schema`.
 * With `expectedKey` only that signer is accepted. `verified` are bytes of the same purpose that were verified before:
 * where they are the same, only the signature is not looked at again. Throws `signature_invalid` or `frame_invalid`.
 */
export async function openStatement<Schema extends z.ZodType>(
  purpose: Purpose,
  carried: Uint8Array,
  schema: Schema,
  crypto: Crypto,
  expectedKey?: Uint8Array,
  verified?: Uint8Array,
): Promise<Verified<z.infer<Schema>>> {
  const envelope = signedSchema.safeParse(decodeCbor(carried, `a signed ${purpose}`));
  if (!envelope.success)
    throw new IdlewildError('frame_invalid', `a signed ${purpose} lacks payload, key or signature`);
  const { payload, key, signature } = envelope.data;
  if (expectedKey !== undefined && !equalBytes(expectedKey, key)) {
    throw new IdlewildError('signature_invalid', `a ${purpose} was signed by another key than expected`);
  }
  const isVerified = verified !== undefined && equalBytes(verified, carried);
  if (
    key.length !== 32 ||
    signature.length !== 64 ||
    !(isVerified || (await crypto.verify(key, message(purpose, payload), signature)))
  ) {
    throw new IdlewildError('signature_invalid', `the signature of a ${purpose} does not verify`);
  }
  const fields = decodeCbor(payload, `a ${purpose}`);
  if (typeof fields === 'object' && fields !== null) refuseUnknownCritical(fields as Fields, [], `a ${purpose}`);
  const parsed = schema.safeParse(fields);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new IdlewildError(
      'frame_invalid',
      `a ${purpose} is wrong at ${issue?.path.join('.') || 'its root'}: ${issue?.message ?? ''}`,
    );
  }
  return { statement: parsed.data, key };
}
