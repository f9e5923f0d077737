/**
 * A head of an audit log: what its hub vouches for, signed. "This community's log had so many entries, and these."
 *
 * A hub signs heads by its own key, for which the territory vouched by a certificate; so whoever knows the territory's
 * key verifies a head with nothing else. `epoch` counts the processes that signed heads of this log, one after the
 * other: of two heads the one with more entries never has the smaller epoch.
 */
import { z } from 'zod';
import { equalBytes } from '../bytes.ts';
import { checkCertified, notCounting } from '../identity/certified.ts';
import { openStatement, signStatement } from '../identity/signed.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { bytes32 } from '../wire/byte-fields.ts';

const auditHeadSchema = z.object({
  v: z.literal(1),
  /** The territory's key. */
  territory: bytes32,
  /** Entries. */
  size: z.int().min(1),
  /** Of the Merkle tree over their hashes. */
  root: bytes32,
  /** Hash of the last of them. */
  lastHash: bytes32,
  atMs: z.int().min(0),
  epoch: z.int().min(1),
});
export type AuditHead = z.infer<typeof auditHeadSchema>;

/** A head as it is carried: the hub's signed `audit-head`, and the signed `hub-certificate` that it stands on. */
export interface CarriedHead {
  readonly statement: Uint8Array;
  readonly certificate: Uint8Array;
}

export const signAuditHead = (head: Omit<AuditHead, 'v'>, hub: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  signStatement('audit-head', { v: 1, ...head }, hub, crypto);

/**
 * What a head says, once its hub is known to be of the territory. Throws `signature_invalid` for one that is signed by
 * anybody else, is of another territory, or was signed when its hub's certificate was not good.
 */
export async function openAuditHead(
  { statement, certificate }: CarriedHead,
  territory: Uint8Array,
  crypto: Crypto,
): Promise<AuditHead & { readonly hub: Uint8Array }> {
  const what = 'a head of an audit log';
  const { statement: head, key: hub } = await openStatement('audit-head', statement, auditHeadSchema, crypto);
  if (!equalBytes(head.territory, territory)) throw notCounting(what, 'it is of another community');
  // By the clock of the database, which is also that of the certificate: there is nothing to tolerate.
  await checkCertified(certificate, { territory, hub, atMs: head.atMs, lateMs: 0, what }, crypto);
  return { ...head, hub };
}
