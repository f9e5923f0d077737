import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Kysely, sql } from 'kysely';
import { expect, test } from 'vitest';
import { SQLITE_COLUMNS } from './column-types.ts';
import { createSqliteDialect } from './sqlite-dialect.ts';
import { dialectConformance, type DialectUnderTest } from './testing/dialect-conformance.ts';

async function open(file: string, after: () => void = () => {}): Promise<DialectUnderTest> {
  const db = new Kysely<never>({ dialect: createSqliteDialect(new DatabaseSync(file)) });
  return {
    db: db as unknown as DialectUnderTest['db'],
    columns: SQLITE_COLUMNS,
    async close() {
      await db.destroy();
      after();
    },
  };
}

dialectConformance('sqlite in memory', () => open(':memory:'));
dialectConformance('sqlite in a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-dialect-'));
  return open(join(folder, 'hub.db'), () => rmSync(folder, { recursive: true }));
});

test('an integer beyond 2^53 throws instead of losing its last digits', async () => {
  const { db, close } = await open(':memory:');
  await expect(sql`select 9007199254740993 as big`.execute(db)).rejects.toThrow(/too large/);
  await close();
});

test('a full database is disk_full, and the error of the rollback does not hide it', async () => {
  const { db, close } = await open(':memory:');
  await sql`create table heap (body blob)`.execute(db);
  await sql`pragma max_page_count = 20`.execute(db);
  const fill = db.transaction().execute(async (transaction) => {
    for (let i = 0; i < 100; i++) await sql`insert into heap values (zeroblob(4096))`.execute(transaction);
  });
  await expect(fill).rejects.toMatchObject({ code: 'disk_full' });
  expect((await sql`select count(*) as rows from heap`.execute(db)).rows).toEqual([{ rows: 0 }]);
  await close();
});
