/**
 * Kysely's PostgreSQL dialect over a pool of `pg`, made to give what SQLite gives: integers as numbers (one beyond 2^53
 * throws instead of losing its last digits), booleans as 0 and 1, bytes as `Uint8Array`, rows of a stream a few at a
 * time, and errors in our own words. It knows no table.
 */
import { codeOf } from '@idlewild/protocol';
import { PostgresDialect, type Dialect, type PostgresCursor, type PostgresPoolClient } from 'kysely';
import { types, type CustomTypesConfig, type Pool, type PoolClient } from 'pg';
import { HUB_LIMITS } from '../limits.ts';
import { explainPostgres, type UnderWay } from './postgres-errors.ts';

/** https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat */
const TYPE = { bool: 16, bytea: 17, int8: 20, numeric: 1700 } as const;

function integer(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new RangeError(`the value ${text} is too large for a number`);
  }
  return value;
}

/** For `Pool`: how values come out. */
export const POSTGRES_TYPES: CustomTypesConfig = {
  getTypeParser(type: number, format?: 'text' | 'binary') {
    if (format === 'binary') return types.getTypeParser(type, 'binary');
    switch (type) {
      case TYPE.int8:
      case TYPE.numeric:
        return integer;
      case TYPE.bool:
        return (text: string) => (text === 't' ? 1 : 0);
      case TYPE.bytea:
        // Hexadecimal after \x. A copy: small Buffers share their memory with others.
        return (text: string) => new Uint8Array(Buffer.from(text.slice(2), 'hex'));
      default:
        return types.getTypeParser(type, 'text');
    }
  },
};

/** The schema says 0 and 1 where PostgreSQL would say true. */
const bindable = (value: unknown): unknown => (typeof value === 'boolean' ? Number(value) : value);

/** Statements that change nothing when they are lost on the way. */
const HARMLESS = /^\s*(select|begin|start transaction|rollback|savepoint|release|declare|fetch|close)\b/i;

/**
 * Turns at the connections of a pool, first come first served, however long it takes: `pg` would give up on whoever
 * waits for as long as connecting may take, and a wave of thousands is no fault of the database. Where one cannot
 * connect, nobody who waits could.
 */
function createQueue(connectionsMax: number): { enter(): Promise<void>; leave(): void; fail(error: unknown): void } {
  let inside = 0;
  let waiting: PromiseWithResolvers<void>[] = [];
  let first = 0;
  return {
    async enter() {
      if (inside < connectionsMax) {
        inside++;
        return;
      }
      const mine = Promise.withResolvers<void>();
      waiting.push(mine);
      await mine.promise;
    },
    leave() {
      const next = waiting[first];
      if (next === undefined) {
        inside--;
        return;
      }
      next.resolve();
      first++;
      if (first === waiting.length) [waiting, first] = [[], 0];
    },
    fail(error) {
      for (const { reject } of waiting.slice(first)) reject(error);
      [waiting, first] = [[], 0];
    },
  };
}

export interface PostgresDialectParts {
  readonly dialect: Dialect;
  /** Resolves once nobody holds a connection or waits for one. */
  idle(): Promise<void>;
}

/** The dialect ends the pool with `Kysely.destroy`. `place` is said in errors, so it holds no password. */
export function createPostgresDialect(pool: Pool, place: string): PostgresDialectParts {
  const known = new WeakMap<PoolClient, PostgresPoolClient>();
  const queue = createQueue(pool.options.max ?? HUB_LIMITS.databaseConnectionsMax);
  let inUse = 0;
  let waiting: (() => void)[] = [];
  const leave = (): void => {
    queue.leave();
    gone();
  };
  const gone = (): void => {
    if (--inUse > 0) return;
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  const facade = {
    options: pool.options,
    end: () => pool.end(),
    async connect(): Promise<PostgresPoolClient> {
      inUse++;
      try {
        await queue.enter();
      } catch (error) {
        gone();
        throw error;
      }
      try {
        const client = await pool.connect();
        const made = known.get(client) ?? createClient(client, place, leave);
        known.set(client, made);
        return made;
      } catch (error) {
        const explained = explainPostgres(error, place);
        queue.fail(explained);
        leave();
        throw explained;
      }
    },
  };
  return {
    dialect: new PostgresDialect({ pool: facade, cursor: SqlCursor }),
    async idle() {
      if (inUse > 0) await new Promise<void>((resolve) => waiting.push(resolve));
    },
  };
}

function createClient(client: PoolClient, place: string, done: () => void): PostgresPoolClient {
  let isBroken = false;
  const run: Run = async (sql, parameters) => {
    const isInside = client.getTransactionStatus() === 'T';
    try {
      return (await client.query(sql, parameters.map(bindable))) as never;
    } catch (error) {
      const underWay: UnderWay = sql === 'commit' || !(isInside || HARMLESS.test(sql)) ? 'write' : 'nothing';
      const explained = explainPostgres(error, place, underWay);
      // Its answer may come later, to somebody else's question.
      if (codeOf(explained) === 'database_unavailable') isBroken = true;
      // The server rolls back what has lost its session; saying so again would hide what was lost.
      if (sql === 'rollback' && isBroken) return { command: 'ROLLBACK', rows: [] } as never;
      throw explained;
    }
  };
  const query = (asked: string | SqlCursor<unknown>, parameters: readonly unknown[] = []): unknown => {
    if (typeof asked === 'string') return run(asked, parameters);
    asked.attach(run, client.getTransactionStatus() === 'T');
    return asked;
  };
  return {
    query: query as PostgresPoolClient['query'],
    get processID() {
      return (client as { processID?: number }).processID as number;
    },
    release(destroy) {
      client.release(destroy === true || isBroken);
      done();
    },
  };
}

type Run = <Row>(sql: string, parameters: readonly unknown[]) => Promise<{ rows: Row[] }>;

/** A cursor in SQL, which needs a transaction: the one that is open, or one of its own. */
class SqlCursor<Row> implements PostgresCursor<Row> {
  readonly #sql: string;
  readonly #parameters: readonly unknown[];
  #run: Run | undefined;
  #ownsTransaction = false;
  #state: 'new' | 'open' | 'failed' = 'new';

  constructor(sql: string, parameters: unknown[]) {
    this.#sql = sql;
    this.#parameters = parameters;
  }

  attach(run: Run, isInside: boolean): void {
    this.#run = run;
    this.#ownsTransaction = !isInside;
  }

  async read(rowsCount: number): Promise<Row[]> {
    try {
      if (this.#state === 'new') {
        if (this.#ownsTransaction) await this.#execute('begin');
        await this.#execute(`declare idlewild_rows no scroll cursor for ${this.#sql}`, this.#parameters);
        this.#state = 'open';
      }
      return await this.#execute(`fetch ${rowsCount} from idlewild_rows`);
    } catch (error) {
      this.#state = 'failed';
      throw error;
    }
  }

  async close(): Promise<void> {
    // Whoever owns the transaction that failed rolls it back.
    if (this.#ownsTransaction) await this.#execute('rollback');
    else if (this.#state === 'open') await this.#execute('close idlewild_rows');
  }

  async #execute(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    return (await (this.#run as Run)<Row>(sql, parameters)).rows;
  }
}
