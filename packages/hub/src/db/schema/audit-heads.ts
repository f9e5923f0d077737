/** What stands beside the audit log: heads that were signed, and hashes of its Merkle tree. */

export interface AuditHeadRows {
  territory_id: string;
  /** Entries that it vouches for. */
  size: number;
  root: Uint8Array;
  /** Counts the processes that signed heads of this log; never smaller for a larger one. */
  epoch: number;
  at_ms: number;
  /** Signed `audit-head` statement of the hub. */
  statement: Uint8Array;
  /** Signed `hub-certificate` statement, by which the territory vouches for that hub. */
  certificate: Uint8Array;
}

/**
 * Hashes of full subtrees of 256, 65,536 and 16,777,216 entries, for heads and proofs that do not read the whole log.
 * They follow from the entries, and are never believed for more.
 */
export interface AuditNodes {
  territory_id: string;
  /** Two to this power is how many entries it is over. */
  level: number;
  /** Which of its level, from 0. */
  place: number;
  hash: Uint8Array;
}
