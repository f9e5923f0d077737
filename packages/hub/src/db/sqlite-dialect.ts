/**
 * A Kysely dialect over `node:sqlite`: one connection, shared in turns.
 *
 * Kysely hands the connection to one query or one transaction at a time (its adapter says that there is only one), so
 * a query on the outer `Kysely` waits while a transaction is open; inside a transaction only its own handle may be
 * used. Everything beneath is synchronous: a call finishes without the event loop, which keeps the simulator
 * deterministic. Integers stay numbers: one beyond 2^53 throws instead of losing its last digits. Bytes are
 * `Uint8Array`. It knows no table.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite';
import { IdlewildError } from '@idlewild/protocol';
import {
  CompiledQuery,
  SqliteAdapter,
  SqliteIntrospector,
  SqliteQueryCompiler,
  type DatabaseConnection,
  type Dialect,
  type Driver,
  type QueryResult,
} from 'kysely';

/** Statements kept prepared; the hub has about a hundred, lists of varying length make more. */
const STATEMENTS_MAX = 256;

/** SQLite's primary result codes, https://www.sqlite.org/rescode.html */
const RESULT = { busy: 5, locked: 6, corrupt: 11, full: 13, notADatabase: 26 } as const;

interface Prepared {
  readonly statement: StatementSync;
  /** Whether it gives rows: `select`, `returning`, some pragmas. */
  readonly gives: boolean;
}

/** The dialect takes the connection over and closes it with `Kysely.destroy`. */
export function createSqliteDialect(connection: DatabaseSync): Dialect {
  return {
    createDriver: () => createDriver(connection),
    createQueryCompiler: () => new SqliteQueryCompiler(),
    createAdapter: () => new SqliteAdapter(),
    createIntrospector: (db) => new SqliteIntrospector(db),
  };
}

function createDriver(sqlite: DatabaseSync): Driver {
  const connection = createConnection(sqlite);
  const run = async (command: string): Promise<void> => {
    await connection.executeQuery(CompiledQuery.raw(command));
  };
  return {
    init: async () => {},
    acquireConnection: async () => connection,
    releaseConnection: async () => {},
    // A writer asks for the write lock at once: a reader that turns writer later cannot wait for another process.
    beginTransaction: (_, { accessMode }) => run(accessMode === 'read only' ? 'begin' : 'begin immediate'),
    commitTransaction: () => run('commit'),
    async rollbackTransaction() {
      // A full disk makes SQLite roll back by itself; a second rollback would hide the first error.
      if (sqlite.isTransaction) await run('rollback');
    },
    savepoint: (_, name) => run(`savepoint ${quoted(name)}`),
    rollbackToSavepoint: (_, name) => run(`rollback to ${quoted(name)}`),
    releaseSavepoint: (_, name) => run(`release ${quoted(name)}`),
    async destroy() {
      if (sqlite.isOpen) sqlite.close();
    },
  };
}

const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

function createConnection(sqlite: DatabaseSync): DatabaseConnection {
  const cache = new Map<string, Prepared>();

  const prepare = (sql: string): Prepared => {
    const known = cache.get(sql);
    if (known !== undefined) {
      cache.delete(sql);
      cache.set(sql, known);
      return known;
    }
    const statement = sqlite.prepare(sql);
    const prepared = { statement, gives: statement.columns().length > 0 };
    cache.set(sql, prepared);
    if (cache.size > STATEMENTS_MAX) cache.delete(cache.keys().next().value as string);
    return prepared;
  };

  return {
    async executeQuery<Row>({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
      try {
        const { statement, gives } = prepare(sql);
        const values = parameters.map(bindable);
        if (gives) return { rows: statement.all(...values) as Row[] };
        const { changes, lastInsertRowid } = statement.run(...values);
        return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) };
      } catch (error) {
        throw explainSqlite(error, fileOf(sqlite));
      }
    },
    async *streamQuery<Row>({ sql, parameters }: CompiledQuery): AsyncIterableIterator<QueryResult<Row>> {
      try {
        // Not from the cache: a statement that is being stepped through must not be reset by another use of it.
        for (const row of sqlite.prepare(sql).iterate(...parameters.map(bindable))) yield { rows: [row as Row] };
      } catch (error) {
        throw explainSqlite(error, fileOf(sqlite));
      }
    },
  };
}

/** SQLite has no booleans; the schema says 0 and 1. */
const bindable = (value: unknown): SQLInputValue =>
  typeof value === 'boolean' ? Number(value) : (value as SQLInputValue);

const fileOf = (sqlite: DatabaseSync): string => (sqlite.isOpen ? sqlite.location() : null) ?? 'in memory';

/** What the machine did to `file` gets its own code; a broken constraint or a wrong statement stays as it is. */
export function explainSqlite(error: unknown, file: string): unknown {
  const code = (error as { errcode?: number }).errcode;
  if (code === undefined) return error;
  const primary = code & 0xff;
  if (primary === RESULT.full) {
    const message = `the disk that holds the database ${file} is full; nothing was changed`;
    return new IdlewildError('disk_full', message, { cause: error });
  }
  if (primary === RESULT.busy || primary === RESULT.locked) {
    const message = `another process kept the database ${file} locked for too long`;
    return new IdlewildError('data_locked', message, { cause: error });
  }
  const isDamaged = primary === RESULT.corrupt || primary === RESULT.notADatabase;
  return isDamaged ? damaged(file, (error as Error).message, error) : error;
}

/** `data_corrupt` with the way out. */
export function damaged(file: string, seen: string, cause?: unknown): IdlewildError {
  return new IdlewildError(
    'data_corrupt',
    `the database ${file} is damaged (${seen}). It was left as it is. Put a backup of it in its place, ` +
      'or start with another data directory (--data DIR)',
    { details: { file }, cause },
  );
}
