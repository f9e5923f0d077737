import { Kysely, sql } from 'kysely';
import { Pool } from 'pg';
import { afterAll, describe, expect, test } from 'vitest';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { POSTGRES_COLUMNS } from './column-types.ts';
import { POSTGRES_TYPES, createPostgresDialect } from './postgres-dialect.ts';
import { dialectConformance, type DialectUnderTest } from './testing/dialect-conformance.ts';

const postgres = await sharedPostgres();
afterAll(() => postgres?.stop());

async function open(): Promise<DialectUnderTest> {
  const pool = new Pool({ connectionString: await postgres?.createDatabase(), types: POSTGRES_TYPES });
  const db = new Kysely<never>({ dialect: createPostgresDialect(pool, 'test').dialect });
  return { db: db as unknown as DialectUnderTest['db'], columns: POSTGRES_COLUMNS, close: () => db.destroy() };
}

describe.skipIf(postgres === undefined)('with a server', () => {
  dialectConformance('postgres', open);

  test('a text with the character NUL is refused as the fault of who sent it', async () => {
    const { db, close } = await open();
    await expect(sql`select ${'a\0b'} as text`.execute(db)).rejects.toMatchObject({ code: 'invalid_request' });
    await close();
  });

  test('an integer beyond 2^53 throws instead of losing its last digits', async () => {
    const { db, close } = await open();
    await expect(sql`select 9007199254740993 as big`.execute(db)).rejects.toThrow(/too large/);
    await expect(sql`select 9007199254740993::numeric as big`.execute(db)).rejects.toThrow(/too large/);
    expect((await sql`select sum(n) as sum, true as yes from (values (1), (2)) t(n)`.execute(db)).rows).toEqual([
      { sum: 3, yes: 1 },
    ]);
    await close();
  });
});
