/**
 * What a hub signs for a device that left: that it is no device of the territory any more, since when, what it gave.
 *
 * The hub's certificate is in the statement, so that who has the territory's key needs nothing else to verify it, also
 * years later: the certificate has to have been good at that moment, not now. It names no person and no prompt.
 */
import { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { openStatement, signStatement } from './signed.ts';
import { hubCertificateSchema } from './statements.ts';
import { bytes, bytes32 } from '../wire/byte-fields.ts';

const leftStatementSchema = z.object({
  v: z.literal(1),
  territory: bytes32,
  device: bytes32,
  /** The hub's own, by which its signature counts: a Signed `hub-certificate`. */
  certificate: bytes,
  /** Of the hub's wall clock. */
  atMs: z.int().min(0),
  /** Answers that the device finished for this territory, and the tokens that it made for them. */
  answers: z.int().min(0),
  tokens: z.int().min(0),
});
export type LeftStatement = z.infer<typeof leftStatementSchema>;

export const signLeft = (left: Omit<LeftStatement, 'v'>, hub: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('left', { v: 1, ...left }, hub, crypto);

/**
 * Opens what a hub of `territory` signed for `device`. Throws `signature_invalid` or `frame_invalid` for what was
 * signed by anybody else, for another device, or under a certificate that was not good then.
 */
export async function openLeft(
  carried: Uint8Array,
  { territory, device }: { readonly territory: Uint8Array; readonly device: Uint8Array },
  crypto: Crypto,
): Promise<LeftStatement> {
  const refuse = (why: string): never => {
    throw new IdlewildError('signature_invalid', `the statement that the device has left does not count: ${why}`);
  };
  const { statement, key } = await openStatement('left', carried, leftStatementSchema, crypto);
  if (!equalBytes(statement.territory, territory)) refuse('it is of another territory');
  if (!equalBytes(statement.device, device)) refuse('it is of another device');
  const certificate = await openStatement(
    'hub-certificate',
    statement.certificate,
    hubCertificateSchema,
    crypto,
    territory,
  );
  const { hub, issuedAtMs, expiresAtMs } = certificate.statement;
  if (!equalBytes(certificate.statement.territory, territory) || !equalBytes(hub, key)) {
    refuse('who signed it is not the hub that its certificate names');
  }
  const { atMs } = statement;
  if (atMs < issuedAtMs - LIMITS.clockSkewMs || atMs > expiresAtMs + LIMITS.clockSkewMs) {
    refuse('the certificate of the hub was not good at that time');
  }
  return statement;
}
