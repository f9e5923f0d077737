/**
 * Opens the embedded database: checked before it is trusted, brought to this version, and set so that a commit which
 * was acknowledged survives a power cut and an erased row leaves no bytes.
 *
 * Erasure has two halves: `secure_delete` overwrites a deleted row with zeros, and `checkpoint` empties the write-ahead
 * log, which holds older copies of a page until then. Whoever erases calls `checkpoint` from time to time.
 */
import { chmodSync, existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { Kysely, sql, type RawBuilder } from 'kysely';
import { SQLITE_COLUMNS } from './column-types.ts';
import { migrate, type MigrateOptions } from './migrate.ts';
import type { Database, Schema } from './schema.ts';
import { createSqliteDialect, damaged, explainSqlite } from './sqlite-dialect.ts';

/** SQLite waits in its call, and the event loop with it: long enough for another process's commit, no longer. */
const BUSY_MS = 2_000;
/** Pages of 4 KiB after which a commit also moves the log into the database. */
const CHECKPOINT_PAGES = 1_000;

export interface DatabaseOptions {
  /** A path, or `:memory:`. */
  readonly file: string;
  readonly clock: Clock;
  /** `off` for the simulator and tests: a crash of the process loses nothing, a power cut may. */
  readonly sync?: 'full' | 'off';
  readonly bring?: BringTables | undefined;
}

/** What brings the tables to a version: `migrate`, but where an archive is written or read. */
export type BringTables = (db: Kysely<never>, options: MigrateOptions) => Promise<string[]>;

export interface OpenDatabase {
  readonly kind: 'sqlite' | 'postgres';
  readonly db: Database;
  /**
   * The database's own time, milliseconds since 1970, as an expression within a statement: what leases and expiries are
   * judged by, so that no two machines' clocks are ever compared.
   */
  readonly nowMs: () => RawBuilder<number>;
  /** A clock whose `now` follows the database's time, within a round trip to it; for records and long expiries. */
  readonly clock: Clock;
  /** Names of the migrations that opening applied. */
  readonly migrated: readonly string[];
  /** Moves the write-ahead log into the database and empties it; false while another process still reads from it. */
  readonly checkpoint: () => boolean;
  /** Waits for the transaction that is open, then closes. */
  readonly close: () => Promise<void>;
  /** Closes at once and rolls back what is open: what a crash of the process leaves. */
  readonly abandon: () => void;
}

/**
 * Throws `data_corrupt`, `data_locked`, `disk_full`; `conflict` for a database of a newer version, `usage` for a place
 * that cannot be used. Checking reads the whole file: about a second per gigabyte.
 */
export async function openDatabase({
  file,
  clock,
  sync = 'full',
  bring = migrate,
}: DatabaseOptions): Promise<OpenDatabase> {
  const inMemory = file === ':memory:';
  if (!inMemory && existsSync(file)) checkIntegrity(file);
  const sqlite = connect(file, sync);
  const db = new Kysely<Schema>({ dialect: createSqliteDialect(sqlite) });
  try {
    const migrated = await bring(db as unknown as Kysely<never>, { clock, columns: SQLITE_COLUMNS });
    return {
      kind: 'sqlite',
      db,
      // This process is the database.
      nowMs: () => sql<number>`${clock.now()}`,
      clock,
      migrated,
      checkpoint() {
        if (inMemory) return true;
        return (sqlite.prepare('pragma wal_checkpoint(truncate)').get() as { busy: number }).busy === 0;
      },
      async close() {
        // Taking a turn on the only connection is waiting for whoever has it.
        await db.connection().execute(async () => {});
        await db.destroy();
      },
      abandon() {
        if (sqlite.isOpen) sqlite.close();
      },
    };
  } catch (error) {
    sqlite.close();
    throw error;
  }
}

function connect(file: string, sync: 'full' | 'off'): DatabaseSync {
  let sqlite: DatabaseSync;
  try {
    sqlite = new DatabaseSync(file, { timeout: BUSY_MS, enableForeignKeyConstraints: true });
  } catch (cause) {
    throw new IdlewildError(
      'usage',
      `the database ${file} cannot be opened: ${(cause as Error).message}. ` +
        'Is its folder there, and may this user write to it?',
      { cause },
    );
  }
  keepToOwner(file);
  sqlite.exec(`pragma journal_mode = wal; pragma synchronous = ${sync}; pragma secure_delete = on;
    pragma wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
  return sqlite;
}

/**
 * Members, appeals and what was said for them are for no other user of this machine. Whoever may write to the file
 * without owning it was given it so by somebody, and leaves it. SQLite makes its side files like the file.
 */
function keepToOwner(file: string): void {
  for (const part of [file, `${file}-wal`, `${file}-shm`].filter((each) => existsSync(each))) {
    try {
      chmodSync(part, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
    }
  }
}

/** On a connection that cannot write, so that a damaged file is left as it was found. */
function checkIntegrity(file: string): void {
  let reader: DatabaseSync | undefined;
  try {
    reader = new DatabaseSync(file, { readOnly: true, timeout: BUSY_MS });
    const row = reader.prepare('pragma quick_check(1)').get() as { quick_check: string };
    if (row.quick_check !== 'ok') throw damaged(file, row.quick_check);
  } catch (error) {
    throw explainSqlite(error, file);
  } finally {
    reader?.close();
  }
}
