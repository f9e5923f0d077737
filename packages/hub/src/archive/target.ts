/**
 * Where an archive is restored to: a data folder or a PostgreSQL database, empty before.
 *
 * From the first change to the last a mark stands among its migrations, at which every hub refuses to start. A target
 * with the mark, and no other, may be emptied again.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IdlewildError, type BlobStore } from '@idlewild/protocol';
import { createDiskBlobStore, lockFolder } from '@idlewild/protocol/node';
import { sql, type Kysely } from 'kysely';
import { MIGRATIONS, RESTORING, migrate } from '../db/migrate.ts';
import type { BringTables, OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { SECRET_NAMES, furtherName, type KeptName } from '../identity/secrets.ts';
import { createDatabaseBlobStore } from '../storage/database-blob-store.ts';
import {
  ARCHIVED_SECRETS,
  BLOBS_FOLDER,
  DATABASE_FILE,
  FOLDER_FILES,
  openDatabaseOf,
  secretsIn,
  type FolderPlace,
  type Place,
  type PlacePorts,
} from './place.ts';
import { ARCHIVED_TABLES, TABLES_NOT_ARCHIVED } from './tables.ts';

export interface Target {
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  /** `NAME`, or `ID.NAME` of one of the further territories. */
  keepSecret(name: string, bytes: Uint8Array): Promise<void>;
  /** Into the data folder; `false` where there is none, or the file is there already and stays. */
  keepFile(name: string, bytes: Uint8Array): Promise<boolean>;
  /** Brings the tables to this version, runs `last`, and takes the mark away in its transaction. */
  finish(last: (db: Database) => Promise<void>): Promise<void>;
  /** Makes the target empty again. */
  undo(): Promise<void>;
}

export interface TargetOptions extends PlacePorts {
  readonly place: Place;
  /** What an interrupted restore left may be removed. */
  readonly force: boolean;
  /** Names of the migrations that the tables are to have at first. */
  readonly migrations: readonly string[];
  readonly quotaBytes: number;
}

type MigrationsTable = Kysely<{ migrations: { name: string; applied_at_ms: number } }>;

const OWN_TABLES: readonly string[] = [...ARCHIVED_TABLES.map(({ name }) => name), ...TABLES_NOT_ARCHIVED];
const MIGRATION_TABLES = ['migrations', 'migrations_work_for'];

/** Throws `conflict` for a target that is not empty; nothing was changed then. */
export async function openTarget(options: TargetOptions): Promise<Target> {
  const { place, clock } = options;
  const lock = place.database === undefined ? lockFolder(place.data, 'hub') : undefined;
  try {
    if (place.database === undefined) await clearFolder(place, options);
    let database = await openDatabaseOf(place, clock, beginning(options));
    const current = (): OpenDatabase => database;
    return {
      get database() {
        return current();
      },
      store: await storeOf(options, database.db),
      async keepSecret(name, bytes) {
        const known = knownSecret(name);
        if (known === undefined) return;
        const header = `Idlewild ${name}, restored from an archive. Keep it secret.`;
        await secretsIn(place, database.db, options).write(known, bytes, header);
      },
      keepFile: (name, bytes) => keepFile(place.data, name, bytes),
      async finish(last) {
        await database.close();
        const bring: BringTables = (db, how) => migrate(db, { ...how, restoring: true });
        database = await openDatabaseOf(place, clock, bring);
        await last(database.db);
        await takeMarkAway(database.db);
        await database.close();
        lock?.release();
      },
      async undo() {
        if (place.database === undefined) {
          await database.close();
          await emptyFolder(place.data);
          lock?.release();
        } else {
          await dropTables(database.db);
          await database.close();
        }
      },
    };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

function knownSecret(name: string): KeptName | undefined {
  const [, further, own = name] = /^(ter_[a-z2-7]+)\.(.+)$/.exec(name) ?? [];
  const known = ARCHIVED_SECRETS.find((each) => each === own);
  return known === undefined || further === undefined ? known : furtherName(further, known);
}

export async function storeOf(
  { place, quotaBytes, crypto }: Pick<TargetOptions, 'place' | 'quotaBytes' | 'crypto'>,
  db: Database,
): Promise<BlobStore> {
  if (place.database !== undefined) return createDatabaseBlobStore({ db, quotaBytes, crypto });
  return createDiskBlobStore({ folder: join(place.data, BLOBS_FOLDER), quotaBytes, crypto });
}

const beginning =
  ({ place, force, migrations }: TargetOptions): BringTables =>
  async (db, how) => {
    if (place.database !== undefined) await clearDatabase(db, force);
    await migrate(db, { ...how, migrations: [] });
    const mark = { name: RESTORING, applied_at_ms: how.clock.now() };
    await (db as unknown as MigrationsTable).insertInto('migrations').values(mark).execute();
    const level = MIGRATIONS.filter(({ name }) => migrations.includes(name));
    return migrate(db, { ...how, migrations: level, restoring: true });
  };

async function takeMarkAway(db: Database): Promise<void> {
  await (db as unknown as MigrationsTable).deleteFrom('migrations').where('name', '=', RESTORING).execute();
}

async function hasMark(db: Kysely<never>): Promise<boolean> {
  const rows = await (db as unknown as MigrationsTable)
    .selectFrom('migrations')
    .select('name')
    .where('name', '=', RESTORING)
    .execute();
  return rows.length > 0;
}

const notEmpty = (where: string): IdlewildError =>
  new IdlewildError('conflict', `${where} is not empty, and nothing in it is ever overwritten; name another place`);

const halfDone = (where: string): IdlewildError =>
  new IdlewildError(
    'conflict',
    `a restore into ${where} was interrupted; --force removes what it left and begins anew`,
  );

async function clearDatabase(db: Kysely<never>, force: boolean): Promise<void> {
  const there = new Set((await db.introspection.getTables()).map(({ name }) => name));
  const ours = [...MIGRATION_TABLES, ...OWN_TABLES].filter((name) => there.has(name));
  if (ours.length === 0) return;
  if (!there.has('migrations') || !(await hasMark(db))) throw notEmpty('the database');
  if (!force) throw halfDone('the database');
  await dropTables(db);
}

async function dropTables(
  db: Pick<Kysely<never>, 'schema'> & Parameters<ReturnType<typeof sql>['execute']>[0],
): Promise<void> {
  // The mark goes last: interrupted once more, the rest is still known as what it is.
  for (const name of [...OWN_TABLES, ...MIGRATION_TABLES.toReversed()])
    await sql`drop table if exists ${sql.table(name)} cascade`.execute(db);
}

const ownFiles = (): string[] => [
  ...SECRET_NAMES,
  ...SECRET_NAMES.map((name) => `${name}.next`),
  ...FOLDER_FILES,
  'territories',
  BLOBS_FOLDER,
  `${DATABASE_FILE}-wal`,
  `${DATABASE_FILE}-shm`,
  DATABASE_FILE,
];

/** Other files, as those of a device that lives below, are nobody's business here. */
async function clearFolder(place: FolderPlace, { force, clock }: TargetOptions): Promise<void> {
  if (!ownFiles().some((name) => existsSync(join(place.data, name)))) return;
  if (!existsSync(join(place.data, DATABASE_FILE))) throw notEmpty(place.data);
  let isMarked = false;
  const look: BringTables = async (db) => {
    const tables = new Set((await db.introspection.getTables()).map(({ name }) => name));
    // A file without any table was made a moment before its mark.
    isMarked = tables.size === 0 || (tables.has('migrations') && (await hasMark(db)));
    return [];
  };
  await (await openDatabaseOf(place, clock, look)).close();
  if (!isMarked) throw notEmpty(place.data);
  if (!force) throw halfDone(place.data);
  await emptyFolder(place.data);
}

async function emptyFolder(folder: string): Promise<void> {
  // The database with its mark goes last.
  for (const name of ownFiles()) await rm(join(folder, name), { recursive: true, force: true });
}

async function keepFile(folder: string | undefined, name: string, bytes: Uint8Array): Promise<boolean> {
  const known = FOLDER_FILES.find((each) => each === name);
  if (folder === undefined || known === undefined || existsSync(join(folder, known))) return false;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, known), bytes, { mode: 0o600, flush: true });
  return true;
}
