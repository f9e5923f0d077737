/**
 * Brings a database's tables to this version: each migration once, in order, in a transaction of its own.
 *
 * Migrations are append-only and speak Kysely's schema builder only; where SQLite and PostgreSQL name a column type
 * differently they take it from `ColumnTypes`. There is no way down. Replicas are replaced one after the other, so each
 * migration names the oldest version whose hubs may go on working beside it (`old-and-new.test.ts` shows that they
 * can); an older one refuses the database. Whoever opens PostgreSQL takes a lock around this.
 */
import { IdlewildError, type Clock } from '@idlewild/protocol';
import type { Kysely } from 'kysely';
import type { ColumnTypes } from './column-types.ts';
import { first } from './migrations/0001-first.ts';
import { callers } from './migrations/0002-callers.ts';
import { placement } from './migrations/0003-placement.ts';
import { replicas } from './migrations/0004-replicas.ts';
import { leaving } from './migrations/0005-leaving.ts';
import { people } from './migrations/0006-people.ts';
import { signIn } from './migrations/0007-sign-in.ts';
import { projects } from './migrations/0008-projects.ts';
import { use } from './migrations/0009-use.ts';
import { audit } from './migrations/0010-audit.ts';
import { trust } from './migrations/0011-trust.ts';
import { territories } from './migrations/0013-territories.ts';
import { policies } from './migrations/0014-policies.ts';
import { signedUse } from './migrations/0015-signed-use.ts';
import { ownProof } from './migrations/0016-own-proof.ts';
import { requestsOfTerritory } from './migrations/0017-requests-of-territory.ts';
import { byDeviceAndExpiry } from './migrations/0018-by-device-and-expiry.ts';
import { energy } from './migrations/0019-energy.ts';
import { auditByWhoAndWhat } from './migrations/0020-audit-by-who-and-what.ts';
import { invitePool } from './migrations/0021-invite-pool.ts';

export interface Migration {
  readonly name: string;
  /** Hubs that know no later migration than this one may work on the database, too; absent: none but newer ones. */
  readonly worksFor?: string;
  up(db: Kysely<unknown>, columns: ColumnTypes): Promise<void>;
}

export const MIGRATIONS: readonly Migration[] = [
  { name: '0001-first', up: first },
  { name: '0002-callers', up: callers },
  { name: '0003-placement', up: placement },
  { name: '0004-replicas', worksFor: '0003-placement', up: replicas },
  { name: '0005-leaving', worksFor: '0004-replicas', up: leaving },
  { name: '0006-people', up: people },
  { name: '0007-sign-in', up: signIn },
  { name: '0008-projects', up: projects },
  { name: '0009-use', up: use },
  { name: '0010-audit', up: audit },
  { name: '0011-trust', up: trust },
  { name: '0013-territories', up: territories },
  { name: '0014-policies', up: policies },
  { name: '0015-signed-use', up: signedUse },
  { name: '0016-own-proof', up: ownProof },
  { name: '0017-requests-of-territory', worksFor: '0016-own-proof', up: requestsOfTerritory },
  { name: '0018-by-device-and-expiry', worksFor: '0016-own-proof', up: byDeviceAndExpiry },
  { name: '0019-energy', up: energy },
  { name: '0020-audit-by-who-and-what', worksFor: '0019-energy', up: auditByWhoAndWhat },
  { name: '0021-invite-pool', up: invitePool },
];

interface MigrationTables {
  migrations: { name: string; applied_at_ms: number };
  /** `worksFor` of what was applied: whoever does not know the migration knows this. */
  migrations_work_for: { name: string; oldest: string };
}

export interface MigrateOptions {
  readonly clock: Clock;
  readonly columns: ColumnTypes;
  readonly migrations?: readonly Migration[];
  /** An archive is being restored into the database by whoever calls. */
  readonly restoring?: boolean;
}

/**
 * Stands among the migrations while an archive is restored: a hub that starts on half of it would take it for whole, or
 * for an empty one.
 */
export const RESTORING = 'restoring';

/** Names of the migrations applied now. Throws `conflict` when the database is of a version that is too new. */
export async function migrate(db: Kysely<never>, options: MigrateOptions): Promise<string[]> {
  const { clock, columns, migrations = MIGRATIONS } = options;
  const tables = db as unknown as Kysely<MigrationTables>;
  await tables.schema
    .createTable('migrations')
    .ifNotExists()
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('applied_at_ms', columns.instant, (column) => column.notNull())
    .execute();
  await tables.schema
    .createTable('migrations_work_for')
    .ifNotExists()
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('oldest', 'text', (column) => column.notNull())
    .execute();
  const names = (await tables.selectFrom('migrations').select('name').execute()).map((row) => row.name).sort();
  if (names.includes(RESTORING) && options.restoring !== true) throw halfRestored();
  const done = names.filter((name) => name !== RESTORING);
  await checkKnown(tables, done, migrations);
  const pending = migrations.slice(done.length);
  for (const { name, worksFor, up } of pending) {
    await tables.transaction().execute(async (transaction) => {
      await up(transaction as unknown as Kysely<unknown>, columns);
      await transaction.insertInto('migrations').values({ name, applied_at_ms: clock.now() }).execute();
      if (worksFor !== undefined)
        await transaction.insertInto('migrations_work_for').values({ name, oldest: worksFor }).execute();
    });
  }
  return pending.map(({ name }) => name);
}

const halfRestored = (): IdlewildError =>
  new IdlewildError(
    'data_corrupt',
    'a restore into this database was interrupted, and what is there is incomplete. ' +
      'Run the same restore again with --force',
  );

/** Every migration that is unknown here must say that hubs of this version may go on. */
async function checkKnown(
  tables: Kysely<MigrationTables>,
  done: readonly string[],
  migrations: readonly Migration[],
): Promise<void> {
  const unknown = done.filter((name, index) => migrations[index]?.name !== name);
  if (unknown.length === 0) return;
  const ours = migrations.at(-1)?.name ?? '';
  const rows = await tables.selectFrom('migrations_work_for').selectAll().execute();
  const oldest = new Map(rows.map((row) => [row.name, row.oldest]));
  const isNewer = (name: string): boolean => done.indexOf(name) >= migrations.length;
  const strange = unknown.find((name) => !isNewer(name) || (oldest.get(name) ?? name) > ours);
  if (strange === undefined) return;
  throw new IdlewildError(
    'conflict',
    'the database was made by a newer Idlewild: it has the migration ' +
      `"${strange}", which this version does not know. It was left as it is. Update Idlewild, or start with ` +
      'another data directory (--data DIR) or another --database',
  );
}
