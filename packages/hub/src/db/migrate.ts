/**
 * Brings a database's tables to this version: each migration once, in order, in a transaction of its own.
 *
 * Migrations are append-only and speak Kysely's schema builder only; where SQLite and PostgreSQL name a column type
 * differently they take it from `ColumnTypes`. There is no way down: an older hub refuses a newer database.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Kysely } from 'kysely';
import type { ColumnTypes } from './column-types.ts';
import { first } from './migrations/0001-first.ts';
import { callers } from './migrations/0002-callers.ts';
import { placement } from './migrations/0003-placement.ts';
import { replicas } from './migrations/0004-replicas.ts';

export interface Migration {
  readonly name: string;
  up(db: Kysely<unknown>, columns: ColumnTypes): Promise<void>;
}

export const MIGRATIONS: readonly Migration[] = [
  { name: '0001-first', up: first },
  { name: '0002-callers', up: callers },
  { name: '0003-placement', up: placement },
  { name: '0004-replicas', up: replicas },
];

interface MigrationTable {
  migrations: { name: string; applied_at_ms: number };
}

export interface MigrateOptions {
  readonly clock: Clock;
  readonly columns: ColumnTypes;
  readonly migrations?: readonly Migration[];
}

/** Names of the migrations applied now. Throws `conflict` when the database is of a newer version. */
export async function migrate(db: Kysely<never>, options: MigrateOptions): Promise<string[]> {
  const { clock, columns, migrations = MIGRATIONS } = options;
  const tables = db as unknown as Kysely<MigrationTable>;
  await tables.schema
    .createTable('migrations')
    .ifNotExists()
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('applied_at_ms', columns.instant, (column) => column.notNull())
    .execute();
  const done = (await tables.selectFrom('migrations').select('name').orderBy('name').execute()).map((row) => row.name);
  const unknown = done.filter((name, index) => migrations[index]?.name !== name);
  if (unknown.length > 0) {
    throw new IdlewildError(
      'conflict',
      'the database was made by a newer Idlewild: it has the migration ' +
        `"${unknown[0]}", which this version does not know. It was left as it is. Update Idlewild, or start with ` +
        'another data directory (--data DIR)',
    );
  }
  const pending = migrations.slice(done.length);
  for (const { name, up } of pending) {
    await tables.transaction().execute(async (transaction) => {
      await up(transaction as unknown as Kysely<unknown>, columns);
      await transaction.insertInto('migrations').values({ name, applied_at_ms: clock.now() }).execute();
    });
  }
  return pending.map(({ name }) => name);
}
