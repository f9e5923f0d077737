/**
 * The audit log: every privileged act of a territory, in a chain that shows where it was broken.
 *
 * Entry n holds SHA-256 over CBOR [hash of entry n − 1, n, time, actor, action, subject, details]; before the first
 * stands a hash of the territory's id, so a log cannot pass for another's. An entry is written in the transaction of
 * the act itself, as its last statement: both are there or neither, and replicas take turns. Changing, removing or
 * reordering entries breaks the chain; cutting off its end does not, so whoever needs that keeps the last hash
 * elsewhere. Prompts, answers and keys are never in an entry.
 */
import { IdlewildError, encodeCbor, equalBytes, utf8, type Clock, type Crypto } from '@idlewild/protocol';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { AuditRow, Database, DatabaseTransaction } from '../db/schema.ts';

/** Flat and small: what was changed, never what somebody wrote. */
export type AuditDetails = Readonly<Record<string, string | number | boolean>>;

export interface AuditEvent {
  readonly territory: string;
  /** Id of the key or device that acted; `hub` for the hub itself. */
  readonly actor: string;
  readonly action: string;
  /** Id of what was acted on. */
  readonly subject: string;
  readonly details?: AuditDetails;
}

export interface AuditEntry extends Required<AuditEvent> {
  readonly seq: number;
  readonly atMs: number;
  readonly hash: Uint8Array;
}

export type AuditVerdict =
  | { readonly intact: true; readonly entries: number; readonly lastHash: Uint8Array }
  | { readonly intact: false; readonly seq: number; readonly why: string };

export interface AuditQuery {
  readonly territory: string;
  readonly beforeSeq?: number;
  /** 100, and at most 1,000. */
  readonly limit?: number;
}

export interface Audit {
  /** Adds an entry inside the caller's transaction. Throws when the details could hold a key or a text. */
  append(transaction: DatabaseTransaction, event: AuditEvent): Promise<void>;
  /** Newest first. */
  list(query: AuditQuery): Promise<AuditEntry[]>;
  /** Walks the whole chain; names the first entry that does not follow from the one before. */
  verify(territory: string): Promise<AuditVerdict>;
}

const PAGE_ROWS = 1_000;
/** What an integer of a database holds, which is a thousand acts a second for 24 days. */
const SEQ_MAX = 2 ** 31 - 1;
const DETAIL_CHARACTERS_MAX = 256;
const DETAILS_MAX = 16;
/** The texts of a key and of an invite. */
const SECRET = /iw_[a-z2-7]{52}|iwj1\./;

export function createAudit({ db, crypto, clock }: { db: Database; crypto: Crypto; clock: Clock }): Audit {
  const genesis = async (territory: string): Promise<Uint8Array> =>
    crypto.sha256(utf8(`idlewild/v1/audit\n${territory}`));
  const hashOf = async (row: Omit<AuditRow, 'hash' | 'territory_id'>): Promise<Uint8Array> =>
    crypto.sha256(
      encodeCbor([row.previous_hash, row.seq, row.at_ms, row.actor, row.action, row.subject, row.details_json]),
    );
  const page = (territory: string, afterSeq: number): Promise<AuditRow[]> =>
    db
      .selectFrom('audit')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('seq', '>', afterSeq)
      .orderBy('seq')
      .limit(PAGE_ROWS)
      .execute();

  return {
    async append(transaction, { territory, actor, action, subject, details = {} }) {
      checkDetails(action, details);
      // The entry before it must be there before this one is made of it.
      await oneAtATime(transaction, `audit ${territory}`);
      const last = await transaction
        .selectFrom('audit')
        .select(['seq', 'hash'])
        .where('territory_id', '=', territory)
        .orderBy('seq', 'desc')
        .limit(1)
        .executeTakeFirst();
      const entry = {
        seq: (last?.seq ?? 0) + 1,
        at_ms: clock.now(),
        actor,
        action,
        subject,
        details_json: JSON.stringify(details),
        previous_hash: last?.hash ?? (await genesis(territory)),
      };
      const hash = await hashOf(entry);
      await transaction
        .insertInto('audit')
        .values({ ...entry, territory_id: territory, hash })
        .execute();
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
    async verify(territory) {
      let previous = await genesis(territory);
      let seq = 0;
      for (;;) {
        const rows = await page(territory, seq);
        for (const row of rows) {
          seq++;
          if (row.seq !== seq) {
            return { intact: false, seq, why: `entry ${seq} is missing: entry ${row.seq} comes next` };
          }
          if (!equalBytes(row.previous_hash, previous)) {
            return { intact: false, seq, why: `entry ${seq} does not follow from the entry before it` };
          }
          if (!equalBytes(row.hash, await hashOf(row))) return { intact: false, seq, why: `entry ${seq} was changed` };
          previous = row.hash;
        }
        if (rows.length < PAGE_ROWS) return { intact: true, entries: seq, lastHash: previous };
      }
    },
  };
}

function checkDetails(action: string, details: AuditDetails): void {
  const values = Object.values(details);
  const isUnfit = (value: string | number | boolean): boolean =>
    typeof value === 'string' && (value.length > DETAIL_CHARACTERS_MAX || SECRET.test(value));
  if (values.length <= DETAILS_MAX && !values.some(isUnfit)) return;
  throw new IdlewildError(
    'invalid_request',
    `the details of ${action} do not belong into an audit log: ` +
      `at most ${DETAILS_MAX} of at most ${DETAIL_CHARACTERS_MAX} characters, and none of them a key or an invite`,
  );
}
