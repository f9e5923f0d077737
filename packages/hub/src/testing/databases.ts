/**
 * Both databases for the tests of rooms: each test gets an empty one with its tables, and what it opens is closed when
 * it ends. Where there is no PostgreSQL, SQLite stands alone.
 */
import type { Clock } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { sql } from 'kysely';
import { afterAll, onTestFinished } from 'vitest';
import { openPostgres } from '../db/open-postgres.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { sharedPostgres, type SharedPostgres } from './shared-postgres.ts';
import { walled } from './territory-wall.ts';

export interface TestDatabase {
  readonly kind: 'SQLite' | 'PostgreSQL';
  /** With SQLite the handle's time is of `clock`; PostgreSQL's is its own, as in earnest. */
  open(clock?: Clock): Promise<OpenDatabase>;
  /** The same database, as `count` replicas have it: SQLite's is one handle, given several times. */
  openShared(count: number): Promise<OpenDatabase[]>;
}

/** For `describe.each`. Call it once in a file of tests, at its top. */
export async function testDatabases(): Promise<TestDatabase[]> {
  const openSqlite = async (clock: Clock = systemClock): Promise<OpenDatabase> => {
    const database = await walled(await openDatabase({ file: ':memory:', clock, sync: 'off' }));
    onTestFinished(() => database.close());
    return database;
  };
  const sqlite: TestDatabase = {
    kind: 'SQLite',
    open: openSqlite,
    async openShared(count) {
      const one = await openSqlite();
      return Array.from({ length: count }, () => one);
    },
  };
  const server = await sharedPostgres();
  return server === undefined ? [sqlite] : [sqlite, postgresOf(server)];
}

/** A database is emptied and used again: making one takes ten times as long. */
function postgresOf(server: SharedPostgres): TestDatabase {
  interface Lent {
    readonly url: string;
    readonly replicas: OpenDatabase[];
  }
  const all: Lent[] = [];
  const free: Lent[] = [];
  afterAll(async () => {
    await Promise.all(all.flatMap(({ replicas }) => replicas.map(({ close }) => close())));
    for (const { url } of free) await server.giveBack(url);
    await server.stop();
  });
  async function openShared(count: number): Promise<OpenDatabase[]> {
    let lent = free.pop();
    if (lent === undefined) all.push((lent = { url: await server.borrow(), replicas: [] }));
    const { url, replicas } = lent;
    // A fake clock would stand still while the server is waited for.
    while (replicas.length < count) replicas.push(await walled(await openPostgres({ url, clock: systemClock })));
    onTestFinished(async () => {
      await EMPTY.execute((replicas[0] as OpenDatabase).db);
      free.push({ url, replicas });
    });
    return replicas.slice(0, count);
  }
  return { kind: 'PostgreSQL', openShared, open: async () => (await openShared(1))[0] as OpenDatabase };
}

/** Deletes are ten times as fast as `truncate`, which makes files; references are looked at in no order. */
const EMPTY = sql`do $$
  declare name text;
  begin
    set local session_replication_role = replica;
    for name in select tablename from pg_tables where schemaname = 'public' and tablename not like 'migrations%' loop
      execute format('delete from %I', name);
    end loop;
  end $$`;
