/**
 * What a hub signs for whoever holds its territory's key: the hub's certificate is in the statement, so that it can be
 * verified alone, also years later. The certificate has to have been good at that moment, not now.
 */
import type { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto } from '../ports.ts';
import { openStatement, type Purpose } from './signed.ts';
import { hubCertificateSchema } from './statements.ts';

/** What every such statement says of its own standing. */
export interface HubWord {
  readonly territory: Uint8Array;
  /** A Signed `hub-certificate`. */
  readonly certificate: Uint8Array;
  /** Of the hub's wall clock. */
  readonly atMs: number;
}

/** An error for a statement that does not count, and why. */
export const notCounting = (what: string, why: string): IdlewildError =>
  new IdlewildError('signature_invalid', `${what} does not count: ${why}`);

/**
 * Opens what a hub of `territory` said. `what` names it for people. Throws `signature_invalid` or `frame_invalid` for
 * what anybody else signed, or under a certificate that was not good then.
 */
export async function openHubWord<Said extends HubWord>(
  { purpose, schema, what }: { readonly purpose: Purpose; readonly schema: z.ZodType<Said>; readonly what: string },
  carried: Uint8Array,
  territory: Uint8Array,
  crypto: Crypto,
): Promise<{ readonly statement: Said; readonly hub: Uint8Array }> {
  const { statement, key } = await openStatement(purpose, carried, schema, crypto);
  if (!equalBytes(statement.territory, territory)) throw notCounting(what, 'it is of another territory');
  const { statement: certificate } = await openStatement(
    'hub-certificate',
    statement.certificate,
    hubCertificateSchema,
    crypto,
    territory,
  );
  if (!equalBytes(certificate.territory, territory) || !equalBytes(certificate.hub, key)) {
    throw notCounting(what, 'who signed it is not the hub that its certificate names');
  }
  const { atMs } = statement;
  if (atMs < certificate.issuedAtMs - LIMITS.clockSkewMs || atMs > certificate.expiresAtMs + LIMITS.clockSkewMs) {
    throw notCounting(what, 'the certificate of the hub was not good at that time');
  }
  return { statement, hub: key };
}
