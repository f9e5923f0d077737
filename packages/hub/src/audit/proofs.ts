/** Proofs from a territory's audit log, each against the newest head that was signed over it. */
import { IdlewildError, proveConsistency, proveInclusion, type Crypto, type EntryProof } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { recordsAfter } from './chain.ts';
import type { AuditHeads, StoredHead } from './heads.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { subtreesOf } from './tree.ts';

export interface AuditProofs {
  /** That entry `seq` is in the log. Throws `not_found`, also for one that no head vouches for yet. */
  entry(seq: number): Promise<EntryProof>;
  /** That the log of `from` entries is the beginning of today's. Throws `not_found` where it is not that long. */
  growth(from: number): Promise<{ readonly head: StoredHead; readonly path: readonly Uint8Array[] }>;
}

export interface AuditProofsDeps {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly heads: Pick<AuditHeads, 'newest' | 'write'>;
  readonly territory: { readonly id: string; readonly publicKey: Uint8Array };
}

export function createAuditProofs({ db, crypto, heads, territory }: AuditProofsDeps): AuditProofs {
  const read = subtreesOf({ db, territory: territory.id, crypto });

  /** The newest head, once it has `size` entries: this replica may be the one that signs. */
  async function headOf(size: number): Promise<StoredHead> {
    const newest = await heads.newest();
    if (newest !== undefined && newest.size >= size) return newest;
    await heads.write();
    const head = await heads.newest();
    if (head !== undefined && head.size >= size) return head;
    throw new IdlewildError(
      'not_found',
      `no head of this community's audit log has ${size} entries: the newest has ${head?.size ?? 0}. ` +
        `What was just written is signed within about ${AUDIT_LIMITS.headMs / 1000} seconds`,
    );
  }

  return {
    async entry(seq) {
      const [entry] = await recordsAfter(db, territory.id, { afterSeq: seq - 1, toSeq: seq }, 1);
      if (entry === undefined) throw new IdlewildError('not_found', `the audit log has no entry ${seq}`);
      const head = await headOf(seq);
      const path = await proveInclusion(seq - 1, head.size, read, crypto);
      return { owner: { id: territory.id, key: territory.publicKey }, entry, head, path };
    },
    async growth(from) {
      const head = await headOf(from);
      return { head, path: await proveConsistency(from, head.size, read, crypto) };
    },
  };
}
