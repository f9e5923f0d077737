/** The same claims on a real PostgreSQL: duties, the register of replicas, and buckets that replicas share. */
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import { createDatabaseBuckets } from '../callers/database-buckets.ts';
import { testBuckets } from '../callers/testing/buckets-conformance.ts';
import type { OpenDatabase } from '../db/open.ts';
import { testDatabases } from '../testing/databases.ts';
import { testDuties } from './testing/duties-conformance.ts';
import { testRegister } from './testing/register-conformance.ts';
import { yieldToNode } from '@idlewild/protocol/testing';

const postgres = (await testDatabases()).filter(({ kind }) => kind === 'PostgreSQL');

describe.each(postgres)('with $kind', ({ open, openShared }) => {
  /** Connections are made first: one on its way could not be seen to be busy (`quiet`). */
  async function warm(): Promise<OpenDatabase> {
    const database = await open();
    await Promise.all(Array.from({ length: 4 }, () => sql`select pg_sleep(0.01)`.execute(database.db)));
    return database;
  }
  testDuties('on PostgreSQL', warm, yieldToNode);
  testRegister('on PostgreSQL', warm, yieldToNode);
  testBuckets('on PostgreSQL', async () => createDatabaseBuckets(await open()));

  test('steps of replicas at one key come one after the other', async () => {
    const replicas = await openShared(3);
    const counts = await Promise.all(
      replicas.flatMap((database) =>
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
