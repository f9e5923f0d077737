/**
 * Opens a PostgreSQL database: waited for while it starts, checked to keep what it acknowledges, brought to this
 * version under a lock that replicas starting at once take in turns.
 *
 * Acknowledged means committed, so a server that runs with `fsync` or `synchronous_commit` off is refused. Sessions end
 * by themselves when their replica stands still inside a transaction or is cut off, so that it keeps nobody waiting.
 * A connection that breaks is replaced at its next use; the process does not notice but for the error of what was under
 * way. A password is in no message and no log line.
 */
import { IdlewildError, codeOf, type Clock } from '@idlewild/protocol';
import { Kysely, sql } from 'kysely';
import { Pool, type PoolClient, type PoolConfig } from 'pg';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog, type Log } from '../log.ts';
import { POSTGRES_COLUMNS } from './column-types.ts';
import { followDatabase } from './database-clock.ts';
import { migrate } from './migrate.ts';
import type { BringTables, OpenDatabase } from './open.ts';
import { POSTGRES_TYPES, createPostgresDialect } from './postgres-dialect.ts';
import { explainOpening, explainPostgres } from './postgres-errors.ts';
import type { Schema } from './schema.ts';

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database?sslmode=…`, as libpq understands it. */
  readonly url: string;
  readonly clock: Clock;
  /** How long to wait for a server that does not answer yet. */
  readonly waitMs?: number;
  readonly log?: Log;
  readonly bring?: BringTables | undefined;
}

const NOW_MS = '(extract(epoch from clock_timestamp()) * 1000)::bigint';

/**
 * Throws `database_unavailable` when it does not answer; `usage` for an address, a user, a certificate or settings that
 * waiting does not cure; `conflict` for a database of a newer version.
 */
export async function openPostgres(options: PostgresOptions): Promise<OpenDatabase> {
  const { clock, log = silentLog } = options;
  const place = placeOf(options.url);
  const { pool, abandon } = createPool(options.url, place, log, 'serving');
  const { dialect, idle } = createPostgresDialect(pool, place);
  const db = new Kysely<Schema>({ dialect });
  try {
    await firstAnswer(pool, place, options);
    await checkServer(pool, place);
    const ask = async (): Promise<number> => {
      try {
        return ((await pool.query(`select ${NOW_MS} as now`)).rows as { now: number }[])[0]?.now as number;
      } catch (error) {
        throw explainPostgres(error, place);
      }
    };
    const time = await followDatabase(clock, ask);
    // A connection that is made later may lead to another machine, whose clock took over.
    pool.on('connect', () => void time.sync().catch(() => {}));
    const migrated = await migrateAlone(options, place, time.clock, log);
    return {
      kind: 'postgres',
      db,
      nowMs: () => sql<number>`${sql.raw(NOW_MS)}`,
      clock: time.clock,
      migrated,
      // Its own log is its own matter.
      checkpoint: () => true,
      async close() {
        time.stop();
        // Taking a turn is coming after everybody who has asked for one; a database that is gone has none.
        await db
          .connection()
          .execute(async () => {})
          .catch(() => {});
        await idle();
        await db.destroy();
      },
      abandon() {
        time.stop();
        abandon();
      },
    };
  } catch (error) {
    abandon();
    throw explainOpening(error, place);
  }
}

/** Where a database is, for people: without user and password. Throws `usage` for what is no address. */
export function placeOf(url: string): string {
  const refuse = (why: string): IdlewildError =>
    new IdlewildError('usage', `the address of the database ${why}; write postgres://user:password@host:5432/database`);
  let parsed: URL;
  try {
    // A socket has no host, which URL does not allow.
    parsed = new URL(url.replace('@/', '@localhost/'));
  } catch {
    throw refuse('cannot be read');
  }
  if (parsed.protocol !== 'postgres:' && parsed.protocol !== 'postgresql:') throw refuse('is not of PostgreSQL');
  if (['prefer', 'allow'].includes(parsed.searchParams.get('sslmode') ?? '')) {
    throw refuse('says sslmode=prefer or allow, which protect nothing: say disable, require or verify-full');
  }
  const host = parsed.searchParams.get('host') ?? parsed.hostname;
  const port = parsed.searchParams.get('port') ?? parsed.port;
  return `postgres://${host}${port === '' ? '' : `:${port}`}${parsed.pathname}`;
}

/**
 * In a session of its own, which takes the time that it needs while the others wait for it. It holds the lock as long
 * as it lives, so one that stands still between two statements is ended.
 */
async function migrateAlone(
  { url, bring = migrate }: PostgresOptions,
  place: string,
  clock: Clock,
  log: Log,
): Promise<string[]> {
  const { pool, abandon } = createPool(url, place, log, 'migrating');
  const db = new Kysely<never>({ dialect: createPostgresDialect(pool, place).dialect });
  try {
    const migrated = await db.connection().execute(async (session) => {
      await sql`select pg_advisory_lock(hashtextextended('migrate', 0))`.execute(session);
      return bring(session, { clock, columns: POSTGRES_COLUMNS });
    });
    await db.destroy();
    return migrated;
  } catch (error) {
    abandon();
    throw error;
  }
}

type Use = 'serving' | 'migrating';

/** Settings of a session; what the address says itself comes after them. */
function settingsOf(use: Use): string {
  const settings = {
    idle_in_transaction_session_timeout: HUB_LIMITS.databaseIdleTransactionMs,
    ...(use === 'serving'
      ? { statement_timeout: HUB_LIMITS.databaseStatementMs }
      : { statement_timeout: 0, idle_session_timeout: HUB_LIMITS.databaseIdleTransactionMs }),
    // A machine that vanished keeps its locks for no longer than this: 10 s until it is asked, then three times 5 s.
    tcp_keepalives_idle: 10,
    tcp_keepalives_interval: 5,
    tcp_keepalives_count: 3,
  };
  return Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');
}

function createPool(url: string, place: string, log: Log, use: Use): { pool: Pool; abandon: () => void } {
  const address = new URL(url.replace('@/', '@%2F/'));
  const given = address.searchParams.get('options');
  address.searchParams.delete('options');
  // What `sslmode` says is what it says to psql.
  if (address.searchParams.has('sslmode')) address.searchParams.set('uselibpqcompat', 'true');
  const config: PoolConfig = {
    connectionString: address.href.replace('@%2F/', '@/'),
    options: `${settingsOf(use)} ${given ?? ''}`,
    application_name: 'idlewild',
    max: use === 'serving' ? HUB_LIMITS.databaseConnectionsMax : 1,
    connectionTimeoutMillis: HUB_LIMITS.databaseConnectMs,
    ...(use === 'serving' ? { query_timeout: HUB_LIMITS.databaseSilenceMs } : {}),
    keepAlive: true,
    types: POSTGRES_TYPES,
  };
  let pool: Pool;
  try {
    pool = new Pool(config);
  } catch (error) {
    throw explainOpening(error, place);
  }
  const clients = new Set<PoolClient>();
  const seen = (error: Error): void => log.warn({ why: error.message, database: place }, 'a database connection broke');
  pool.on('connect', (client) => {
    clients.add(client);
    // Whoever uses it gets the error of his statement; without a listener it would end the process.
    client.on('error', seen);
  });
  pool.on('remove', (client) => clients.delete(client));
  pool.on('error', () => {});
  return {
    pool,
    abandon() {
      for (const client of clients) socketOf(client)?.destroy();
      if (!pool.ending) void pool.end().catch(() => {});
    },
  };
}

const socketOf = (client: PoolClient): { destroy(): void } | undefined =>
  (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream;

async function firstAnswer(pool: Pool, place: string, options: PostgresOptions): Promise<void> {
  const { clock, log = silentLog, waitMs = HUB_LIMITS.databaseOpenMs } = options;
  const untilMs = clock.monotonic() + waitMs;
  for (let tries = 1; ; tries++) {
    try {
      await pool.query('select 1');
      return;
    } catch (error) {
      const explained = explainOpening(error, place);
      if (codeOf(explained) !== 'database_unavailable' || clock.monotonic() >= untilMs) throw explained;
      if (tries === 1) log.warn({ why: (error as Error).message }, `waiting for the database ${place}`);
      await new Promise<void>((resolve) => clock.after(HUB_LIMITS.databaseOpenGapMs, resolve));
    }
  }
}

/** Refuses a server that would acknowledge what it has not kept. */
async function checkServer(pool: Pool, place: string): Promise<void> {
  const { rows } = await pool.query(`select current_setting('fsync') as fsync,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('server_encoding') as encoding,
    current_setting('server_version_num')::int as version,
    pg_is_in_recovery() as standby`);
  const server = rows[0] as Record<string, unknown>;
  const refuse = (why: string): never => {
    throw new IdlewildError('usage', `the database ${place} cannot be used: ${why}`);
  };
  for (const setting of ['fsync', 'full_page_writes', 'synchronous_commit']) {
    if (server[setting] !== 'off') continue;
    refuse(
      `${setting} is off there, so what it acknowledges may be lost. Turn it on: alter system set ${setting} = on`,
    );
  }
  if (server.encoding !== 'UTF8') {
    refuse(`its encoding is ${String(server.encoding)}. Make it anew: createdb --encoding=UTF8 --template=template0`);
  }
  if ((server.version as number) < VERSION_MIN) refuse('PostgreSQL 14 or newer is needed');
  if (server.standby === 1) refuse('it is a standby that takes no writes. Give the address of the primary');
}

/** The oldest that its makers still mend. */
const VERSION_MIN = 140_000;
