/** The entries of a log as they lie in the database, and whether each follows from the one before. */
import { auditGenesis, auditHash, equalBytes, type AuditRecord, type Crypto } from '@idlewild/protocol';
import type { AuditRow, Database } from '../db/schema.ts';
import { AUDIT_LIMITS } from './limits.ts';

export type AuditVerdict =
  | { readonly intact: true; readonly entries: number; readonly lastHash: Uint8Array }
  | ({ readonly intact: false } & AuditFault);

export interface AuditFault {
  readonly seq: number;
  readonly why: string;
}

export interface ChainRange {
  readonly afterSeq: number;
  /** Absent: to the end. */
  readonly toSeq?: number;
}

/** From the one after `afterSeq` on, oldest first; at most 1,000. `db` may be a transaction's handle. */
export async function recordsAfter(
  db: Database,
  territory: string,
  { afterSeq, toSeq = AUDIT_LIMITS.seqMax }: ChainRange,
  limit: number = AUDIT_LIMITS.pageRows,
): Promise<AuditRecord[]> {
  const rows = await db
    .selectFrom('audit')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('seq', '>', Math.min(afterSeq, AUDIT_LIMITS.seqMax))
    .where('seq', '<=', toSeq)
    .orderBy('seq')
    .limit(Math.min(limit, AUDIT_LIMITS.pageRows))
    .execute();
  return rows.map(recordOf);
}

/** Walks the chain; names the first entry that does not follow from the one before. */
export async function checkChain(
  db: Database,
  crypto: Crypto,
  territory: string,
  range: ChainRange,
): Promise<AuditVerdict> {
  let seq = range.afterSeq;
  let previous = await hashAt(db, crypto, territory, seq);
  if (previous === undefined) return { intact: false, seq, why: `entry ${seq} is missing` };
  for (;;) {
    const page = await recordsAfter(db, territory, { ...range, afterSeq: seq });
    for (const entry of page) {
      seq++;
      if (entry.seq !== seq) {
        return { intact: false, seq, why: `entry ${seq} is missing: entry ${entry.seq} comes next` };
      }
      const why = await whyBroken(entry, previous, crypto);
      if (why !== undefined) return { intact: false, seq, why };
      previous = entry.hash;
    }
    if (page.length < AUDIT_LIMITS.pageRows) return { intact: true, entries: seq, lastHash: previous };
  }
}

/** The same of entries that need not be next to each other: each against the one before it. */
export async function checkLinks(
  db: Database,
  crypto: Crypto,
  territory: string,
  entries: readonly AuditRecord[],
): Promise<AuditFault | undefined> {
  const hashes = new Map(entries.map(({ seq, hash }) => [seq, hash]));
  hashes.set(0, await auditGenesis(territory, crypto));
  const apart = entries.map(({ seq }) => seq - 1).filter((seq) => !hashes.has(seq));
  for (let from = 0; from < apart.length; from += AUDIT_LIMITS.rowsPerStatement) {
    const before = await db
      .selectFrom('audit')
      .select(['seq', 'hash'])
      .where('territory_id', '=', territory)
      .where('seq', 'in', apart.slice(from, from + AUDIT_LIMITS.rowsPerStatement))
      .execute();
    for (const { seq, hash } of before) hashes.set(seq, hash);
  }
  for (const entry of entries.toSorted((left, right) => left.seq - right.seq)) {
    const { seq } = entry;
    const before = hashes.get(seq - 1);
    if (before === undefined) return { seq: seq - 1, why: `entry ${seq - 1} is missing` };
    const why = await whyBroken(entry, before, crypto);
    if (why !== undefined) return { seq, why };
  }
  return undefined;
}

async function whyBroken(entry: AuditRecord, before: Uint8Array, crypto: Crypto): Promise<string | undefined> {
  if (!equalBytes(entry.previous, before)) return `entry ${entry.seq} does not follow from the entry before it`;
  return equalBytes(entry.hash, await auditHash(entry, crypto)) ? undefined : `entry ${entry.seq} was changed`;
}

/** Of entry `seq`; of none it is what stands before the first. */
async function hashAt(db: Database, crypto: Crypto, territory: string, seq: number): Promise<Uint8Array | undefined> {
  if (seq === 0) return auditGenesis(territory, crypto);
  const [entry] = await recordsAfter(db, territory, { afterSeq: seq - 1, toSeq: seq }, 1);
  return entry?.hash;
}

/** How many entries there are, if none is missing. */
export async function lastSeq(db: Database, territory: string): Promise<number> {
  const row = await db
    .selectFrom('audit')
    .select('seq')
    .where('territory_id', '=', territory)
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirst();
  return row?.seq ?? 0;
}

export const rowOf = (territory: string, entry: AuditRecord): AuditRow => ({
  territory_id: territory,
  seq: entry.seq,
  at_ms: entry.atMs,
  actor: entry.actor,
  action: entry.action,
  subject: entry.subject,
  details_json: entry.details,
  previous_hash: entry.previous,
  hash: entry.hash,
});

export const recordOf = (row: AuditRow): AuditRecord => ({
  seq: row.seq,
  atMs: row.at_ms,
  actor: row.actor,
  action: row.action,
  subject: row.subject,
  details: row.details_json,
  previous: row.previous_hash,
  hash: row.hash,
});
