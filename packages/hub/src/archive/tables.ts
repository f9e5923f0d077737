/**
 * Which rows go into an archive, how they are read in pages and written back. Rows are those of a table as it is in the
 * database, whatever its version: an archive of an older one is brought to this version after it was loaded.
 */
import { IdlewildError, decodeCbor, encodeCbor } from '@idlewild/protocol';
import { sql, type RawBuilder, type SqlBool } from 'kysely';
import type { Database, DatabaseTransaction, Schema } from '../db/schema.ts';
import type { ArchiveKind } from './manifest.ts';

type TableName = keyof Schema;

interface ArchivedTable {
  readonly name: TableName;
  /** The primary key: pages go along it. */
  readonly key: readonly string[];
  /** Rows of one page, so that the largest fit into memory. */
  readonly rows: number;
  /** In an archive of a territory: all of it, what is over, or nothing. */
  readonly moves: 'all' | 'finished' | 'none';
}

/** Parents before their children. */
export const ARCHIVED_TABLES: readonly ArchivedTable[] = [
  { name: 'territories', key: ['id'], rows: 500, moves: 'all' },
  { name: 'people', key: ['id'], rows: 500, moves: 'all' },
  { name: 'members', key: ['territory_id', 'person_id'], rows: 500, moves: 'all' },
  { name: 'groups', key: ['id'], rows: 500, moves: 'all' },
  { name: 'group_members', key: ['territory_id', 'group_id', 'person_id'], rows: 1_000, moves: 'all' },
  { name: 'roles', key: ['territory_id', 'name'], rows: 500, moves: 'all' },
  { name: 'bindings', key: ['id'], rows: 1_000, moves: 'all' },
  { name: 'versions', key: ['territory_id'], rows: 500, moves: 'all' },
  { name: 'passkeys', key: ['id'], rows: 500, moves: 'all' },
  { name: 'oidc_providers', key: ['id'], rows: 500, moves: 'all' },
  { name: 'oidc_identities', key: ['territory_id', 'provider_id', 'subject'], rows: 1_000, moves: 'all' },
  { name: 'use_rules', key: ['territory_id', 'version'], rows: 50, moves: 'all' },
  { name: 'refusals', key: ['territory_id', 'day', 'reason'], rows: 1_000, moves: 'all' },
  { name: 'refused', key: ['id'], rows: 1_000, moves: 'all' },
  { name: 'appeals', key: ['id'], rows: 200, moves: 'all' },
  { name: 'use_exemptions', key: ['territory_id', 'subject', 'reason'], rows: 1_000, moves: 'all' },
  { name: 'keys', key: ['id'], rows: 500, moves: 'all' },
  { name: 'invites', key: ['id'], rows: 500, moves: 'all' },
  { name: 'devices', key: ['territory_id', 'id'], rows: 500, moves: 'all' },
  { name: 'device_pools', key: ['territory_id', 'pool', 'device_id'], rows: 1_000, moves: 'all' },
  { name: 'steward_keys', key: ['territory_id', 'id'], rows: 500, moves: 'all' },
  { name: 'device_vouches', key: ['territory_id', 'device_id'], rows: 500, moves: 'all' },
  { name: 'policies', key: ['territory_id', 'name'], rows: 64, moves: 'all' },
  { name: 'policy_history', key: ['territory_id', 'name', 'version'], rows: 64, moves: 'all' },
  { name: 'model_stops', key: ['territory_id', 'cid'], rows: 1_000, moves: 'all' },
  // A manifest has up to 2 MiB.
  { name: 'models', key: ['territory_id', 'cid'], rows: 8, moves: 'all' },
  { name: 'projects', key: ['id'], rows: 500, moves: 'all' },
  { name: 'allocations', key: ['id'], rows: 500, moves: 'all' },
  { name: 'allocation_history', key: ['territory_id', 'allocation_id', 'seq'], rows: 500, moves: 'all' },
  { name: 'spend_caps', key: ['territory_id', 'kind', 'subject_id'], rows: 1_000, moves: 'all' },
  { name: 'spend_settings', key: ['territory_id'], rows: 500, moves: 'all' },
  { name: 'spend_days', key: ['territory_id', 'day', 'kind', 'subject_id'], rows: 1_000, moves: 'all' },
  { name: 'spend_holds', key: ['id'], rows: 1_000, moves: 'all' },
  { name: 'requests', key: ['id'], rows: 1_000, moves: 'finished' },
  { name: 'journal', key: ['request_id', 'seq'], rows: 32, moves: 'none' },
  { name: 'receipts', key: ['lease'], rows: 1_000, moves: 'all' },
  { name: 'audit', key: ['territory_id', 'seq'], rows: 1_000, moves: 'all' },
  { name: 'audit_heads', key: ['territory_id', 'size'], rows: 1_000, moves: 'all' },
  { name: 'audit_nodes', key: ['territory_id', 'level', 'place'], rows: 1_000, moves: 'all' },
  { name: 'usage', key: ['territory_id', 'key_id', 'model_cid', 'day'], rows: 1_000, moves: 'all' },
  // Up to 8 MiB each.
  { name: 'kept_answers', key: ['territory_id', 'id'], rows: 4, moves: 'none' },
];

/**
 * Secrets and blobs have parts of their own; the others say what processes do at this moment, and none of them goes on
 * in another database.
 */
export const TABLES_NOT_ARCHIVED: readonly TableName[] = [
  'secrets',
  'blobs',
  'blob_files',
  'blob_parts',
  'blob_usage',
  'held_blobs',
  'replicas',
  'duties',
  'runs',
  'buckets',
  // What was ended or used after the archive was written would be open again.
  'person_sessions',
  'sign_in_links',
  'sign_in_approvals',
  'sign_in_steps',
];

interface Page {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly unknown[])[];
}

/** Variables of one statement; SQLite takes 32,766. */
const VARIABLES_MAX = 16_384;

/**
 * All pages of all tables, in their order, as `transaction` sees them: everything for a backup, and of a territory
 * alone what is its own.
 */
export async function* dumpTables(
  transaction: DatabaseTransaction,
  kind: ArchiveKind,
  territory: string,
): AsyncGenerator<{ readonly table: string; readonly rows: number; readonly page: Uint8Array }> {
  const there = await existing(transaction);
  for (const table of ARCHIVED_TABLES) {
    if (!there.has(table.name) || (kind === 'territory' && table.moves === 'none')) continue;
    let after: readonly unknown[] | undefined;
    for (;;) {
      const rows = await pageOf(transaction, table, kind === 'territory' ? territory : undefined, after);
      const [first] = rows;
      if (first === undefined) break;
      const columns = Object.keys(first);
      const page: Page = { columns, rows: rows.map((row) => columns.map((column) => row[column])) };
      yield { table: table.name, rows: rows.length, page: encodeCbor(page) };
      if (rows.length < table.rows) break;
      const last = rows.at(-1) as Record<string, unknown>;
      after = table.key.map((column) => last[column]);
    }
  }
}

async function existing(db: Database): Promise<Set<string>> {
  return new Set((await db.introspection.getTables()).map(({ name }) => name));
}

async function pageOf(
  transaction: DatabaseTransaction,
  { name, key, rows, moves }: ArchivedTable,
  territory: string | undefined,
  after: readonly unknown[] | undefined,
): Promise<Record<string, unknown>[]> {
  const tuple = sql.join(key.map((column) => sql.ref(column)));
  let query = transaction.selectFrom(sql<Record<string, unknown>>`${sql.table(name)}`.as('page')).selectAll();
  if (territory !== undefined) query = query.where(isOf(name, territory));
  if (territory !== undefined && moves === 'finished') query = query.where(sql<SqlBool>`finished_at_ms is not null`);
  if (after !== undefined) query = query.where(sql<SqlBool>`(${tuple}) > (${sql.join(after)})`);
  for (const column of key) query = query.orderBy(sql.ref(column));
  return query.limit(rows).execute();
}

/** What says of a row that it goes along with a territory. */
function isOf(table: TableName, territory: string): RawBuilder<SqlBool> {
  if (table === 'territories') return sql<SqlBool>`id = ${territory}`;
  // People are of the whole hub, and go along with every territory that they are members of.
  if (table === 'people')
    return sql<SqlBool>`id in (select person_id from members where members.territory_id = ${territory})`;
  return sql<SqlBool>`territory_id = ${territory}`;
}

/** Writes one page back; how many rows that were. Throws `data_corrupt` for what is no page. */
export async function loadPage(transaction: DatabaseTransaction, table: string, bytes: Uint8Array): Promise<number> {
  const page = readPage(table, bytes);
  const columns = sql.join(page.columns.map((column) => sql.ref(column)));
  const perStatement = Math.max(1, Math.floor(VARIABLES_MAX / page.columns.length));
  for (let from = 0; from < page.rows.length; from += perStatement) {
    const rows = page.rows.slice(from, from + perStatement).map((row) => sql`(${sql.join(row)})`);
    await sql`insert into ${sql.table(table)} (${columns}) values ${sql.join(rows)}`.execute(transaction);
  }
  return page.rows.length;
}

/** Throws `data_corrupt` for what is no page. */
export function readPage(table: string, bytes: Uint8Array): Page {
  const page = decodeCbor(bytes, `a page of ${table}`) as Page;
  const isKnown = ARCHIVED_TABLES.some(({ name }) => name === table);
  if (isKnown && Array.isArray(page.columns) && Array.isArray(page.rows)) return page;
  throw new IdlewildError('data_corrupt', `it holds rows of a table "${table}" that this version does not know`);
}
