/** The same claims on a real PostgreSQL: duties, the register of replicas, and buckets that replicas share. */
import { systemClock } from '@idlewild/protocol/node';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { createDatabaseBuckets } from '../callers/database-buckets.ts';
import { testBuckets } from '../callers/testing/buckets-conformance.ts';
import type { OpenDatabase } from '../db/open.ts';
import { openPostgres } from '../db/open-postgres.ts';
import { startPostgres, type Postgres } from '../testing/postgres.ts';
import { testDuties } from './testing/duties-conformance.ts';
import { testRegister } from './testing/register-conformance.ts';

const server: Postgres | undefined = await startPostgres();
afterAll(() => server?.stop());

async function open(url?: string): Promise<OpenDatabase> {
  const address = url ?? (await (server as Postgres).createDatabase());
  const database = await openPostgres({ url: address, clock: systemClock });
  onTestFinished(() => database.close());
  return database;
}

describe.skipIf(server === undefined)('with PostgreSQL', () => {
  testDuties('on PostgreSQL', () => open());
  testRegister('on PostgreSQL', () => open());
  testBuckets('on PostgreSQL', async () => createDatabaseBuckets(await open()));

  test('steps of replicas at one key come one after the other, and leave nothing to flush', async () => {
    const url = await (server as Postgres).createDatabase();
    const members = await Promise.all([open(url), open(url), open(url)]);
    const counts = await Promise.all(
      members.flatMap((database) =>
        Array.from({ length: 20 }, async () =>
          createDatabaseBuckets(database).update('key_a', ({ tokens }, nowMs) => {
            const level = (tokens?.level ?? 0) + 1;
            return { buckets: { tokens: { perMinute: 1, level, atMs: nowMs } }, result: level };
          }),
        ),
      ),
    );
    expect(counts.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
  });
});
