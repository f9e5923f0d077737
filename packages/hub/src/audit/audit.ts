/**
 * The audit log: every privileged act of a territory, in a chain that shows where it was broken.
 *
 * Entry n holds a hash over the hash of entry n − 1 and all that it says itself (`protocol/src/audit/entry.ts`). An
 * entry is written in the transaction of the act itself, as its last statement: both are there or neither, and replicas
 * take turns. Changing, removing or reordering entries breaks the chain; that its end is cut off, or all of it written
 * anew, shows against the heads that the hub signs (`heads.ts`). Prompts, answers and keys are never in an entry.
 */
import { auditGenesis, auditHash, type AuditRecord, type Clock, type Crypto } from '@idlewild/protocol';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { AuditRow, Database, DatabaseTransaction } from '../db/schema.ts';
import {
  checkChain,
  checkLinks,
  recordsAfter,
  rowOf,
  type AuditFault,
  type AuditVerdict,
  type ChainRange,
} from './chain.ts';
import { checkEvent, type AuditDetails, type AuditEvent } from './event.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { searchAudit, type AuditFound, type AuditSearch } from './search.ts';

export interface AuditEntry extends Required<AuditEvent> {
  readonly seq: number;
  readonly atMs: number;
  readonly hash: Uint8Array;
}

export interface AuditQuery {
  readonly territory: string;
  readonly beforeSeq?: number;
  /** 100, and at most 1,000. */
  readonly limit?: number;
}

export interface Audit {
  /** Adds an entry inside the caller's transaction. Throws when the details could hold a key or a text. */
  append(transaction: DatabaseTransaction, event: AuditEvent): Promise<void>;
  /** Adds many, in their order within each territory: the log's end is read once, and rows are written together. */
  appendAll(transaction: DatabaseTransaction, events: readonly AuditEvent[]): Promise<void>;
  /** Newest first. */
  list(query: AuditQuery): Promise<AuditEntry[]>;
  /** What was asked for, and what is wrong with the links of what was found. */
  search(search: AuditSearch): Promise<AuditFound & { readonly fault?: AuditFault }>;
  /** As they are in the log, from the one after `afterSeq` on; at most 1,000. */
  records(query: {
    readonly territory: string;
    readonly afterSeq: number;
    readonly limit?: number;
  }): Promise<AuditRecord[]>;
  /** Walks the chain, by default all of it; names the first entry that does not follow from the one before. */
  verify(territory: string, range?: ChainRange): Promise<AuditVerdict>;
}

const { pageRows: PAGE_ROWS, seqMax: SEQ_MAX } = AUDIT_LIMITS;

export function createAudit({ db, crypto, clock }: { db: Database; crypto: Crypto; clock: Clock }): Audit {
  async function append(
    transaction: DatabaseTransaction,
    territory: string,
    events: readonly AuditEvent[],
  ): Promise<void> {
    // The entry before it must be there before this one is made of it.
    await oneAtATime(transaction, `audit ${territory}`);
    const last = await transaction
      .selectFrom('audit')
      .select(['seq', 'hash'])
      .where('territory_id', '=', territory)
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirst();
    let seq = last?.seq ?? 0;
    let previous = last?.hash ?? (await auditGenesis(territory, crypto));
    const atMs = clock.now();
    for (let from = 0; from < events.length; from += AUDIT_LIMITS.rowsPerStatement) {
      const rows: AuditRow[] = [];
      for (const { actor, action, subject, details = {} } of events.slice(from, from + AUDIT_LIMITS.rowsPerStatement)) {
        seq++;
        const entry = { seq, atMs, actor, action, subject, details: JSON.stringify(details), previous };
        previous = await auditHash(entry, crypto);
        rows.push(rowOf(territory, { ...entry, hash: previous }));
      }
      await transaction.insertInto('audit').values(rows).execute();
    }
  }

  return {
    append(transaction, event) {
      checkEvent(event);
      return append(transaction, event.territory, [event]);
    },
    async appendAll(transaction, events) {
      for (const event of events) checkEvent(event);
      const groups = Map.groupBy(events, ({ territory }) => territory);
      // Two that write for the same territories wait for each other in one order.
      for (const territory of [...groups.keys()].toSorted())
        await append(transaction, territory, groups.get(territory) as AuditEvent[]);
    },
    async list({ territory, beforeSeq = SEQ_MAX, limit = 100 }) {
      const rows = await db
        .selectFrom('audit')
        .selectAll()
        .where('territory_id', '=', territory)
        .where('seq', '<', Math.min(beforeSeq, SEQ_MAX))
        .orderBy('seq', 'desc')
        .limit(Math.min(limit, PAGE_ROWS))
        .execute();
      return rows.map((row) => ({
        territory,
        seq: row.seq,
        atMs: row.at_ms,
        actor: row.actor,
        action: row.action,
        subject: row.subject,
        details: JSON.parse(row.details_json) as AuditDetails,
        hash: row.hash,
      }));
    },
    async search(search) {
      const found = await searchAudit(db, search);
      const fault = await checkLinks(db, crypto, search.territory, found.entries);
      return fault === undefined ? found : { ...found, fault };
    },
    records: ({ territory, afterSeq, limit }) => recordsAfter(db, territory, { afterSeq }, limit),
    verify: (territory, range = { afterSeq: 0 }) => checkChain(db, crypto, territory, range),
  };
}
