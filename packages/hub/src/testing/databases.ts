/**
 * Both databases for the tests of rooms: each test gets an empty one with its tables, and what it opens is closed when
 * it ends. Where there is no PostgreSQL, SQLite stands alone.
 */
import type { Clock } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { afterAll, onTestFinished } from 'vitest';
import { openPostgres } from '../db/open-postgres.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { startPostgres } from './postgres.ts';

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
    const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
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
  const server = await startPostgres();
  if (server === undefined) return [sqlite];
  afterAll(() => server.stop());
  const openUrl = async (url: string): Promise<OpenDatabase> => {
    // A fake clock would stand still while the server is waited for.
    const database = await openPostgres({ url, clock: systemClock });
    onTestFinished(() => database.close());
    return database;
  };
  const postgres: TestDatabase = {
    kind: 'PostgreSQL',
    open: async () => openUrl(await server.createDatabase()),
    async openShared(count) {
      const url = await server.createDatabase();
      return Promise.all(Array.from({ length: count }, () => openUrl(url)));
    },
  };
  return [sqlite, postgres];
}
