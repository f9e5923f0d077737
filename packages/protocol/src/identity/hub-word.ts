/**
 * What a hub signs for whoever holds its territory's key: the hub's certificate is in the statement, so that it can be
 * verified alone, also years later. The certificate has to have been good at that moment, not now.
 */
import type { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto } from '../ports.ts';
import { checkCertified, notCounting } from './certified.ts';
import { openStatement, type Purpose } from './signed.ts';

/** What every such statement says of its own standing. */
export interface HubWord {
  readonly territory: Uint8Array;
  /** A Signed `hub-certificate`. */
  readonly certificate: Uint8Array;
  /** Of the hub's wall clock. */
  readonly atMs: number;
}

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
  const claim = { territory, hub: key, atMs: statement.atMs, lateMs: LIMITS.clockSkewMs, what };
  await checkCertified(statement.certificate, claim, crypto);
  return { statement, hub: key };
}
