/**
 * Whether who signed something was a hub of a territory at the moment that it names: the territory vouched for the
 * hub's key by a certificate, which had to be good then, not now. The one place where that is decided for whatever a
 * hub leaves behind; a device that meets a hub asks more of it (`handshake.ts`).
 */
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto } from '../ports.ts';
import { openStatement } from './signed.ts';
import { hubCertificateSchema } from './statements.ts';

export interface CertifiedClaim {
  /** The territory's key, as it is known from elsewhere. */
  readonly territory: Uint8Array;
  /** Who signed. */
  readonly hub: Uint8Array;
  /** When, by the hub's own word. */
  readonly atMs: number;
  /** How long after its end the certificate still counts, for clocks that differ. */
  readonly lateMs: number;
  /** What was signed, for people. */
  readonly what: string;
}

/** An error for a statement that does not count, and why. */
export const notCounting = (what: string, why: string): IdlewildError =>
  new IdlewildError('signature_invalid', `${what} does not count: ${why}`);

/** `certificate` is a Signed `hub-certificate`. Throws `signature_invalid`, or `frame_invalid` where it is none. */
export async function checkCertified(
  certificate: Uint8Array,
  { territory, hub, atMs, lateMs, what }: CertifiedClaim,
  crypto: Crypto,
): Promise<void> {
  const { statement } = await openStatement('hub-certificate', certificate, hubCertificateSchema, crypto, territory);
  if (!equalBytes(statement.territory, territory) || !equalBytes(statement.hub, hub))
    throw notCounting(what, 'who signed it is not the hub that its certificate names');
  if (atMs < statement.issuedAtMs - LIMITS.clockSkewMs || atMs >= statement.expiresAtMs + lateMs)
    throw notCounting(what, 'the certificate of the hub was not good at that time');
}
