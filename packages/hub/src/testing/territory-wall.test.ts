/** Claims about the wall that every test of a room stands behind: what it lets by, and what not. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runInThisContext } from 'node:vm';
import { systemClock } from '@idlewild/protocol/node';
import { sql, type OperationNode } from 'kysely';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { EXEMPTIONS, tablesOf, unbounded, walled } from './territory-wall.ts';

async function setUp() {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  onTestFinished(() => database.close());
  const { db } = database;
  const tables = await tablesOf(db);
  return {
    tables,
    without: (query: (db: Database) => { toOperationNode(): OperationNode }) =>
      unbounded(query(db).toOperationNode(), tables),
  };
}

test('a query that says of which territory passes: by a condition, by a join on it, by a value', async () => {
  const { without } = await setUp();
  const passing: ((db: Database) => { toOperationNode(): OperationNode })[] = [
    (db) => db.selectFrom('keys').selectAll().where('territory_id', '=', 'ter_a'),
    (db) => db.selectFrom('territories').selectAll().where('id', '=', 'ter_a'),
    (db) => db.selectFrom('keys as mine').selectAll().where('mine.territory_id', 'in', ['ter_a']),
    (db) =>
      db
        .selectFrom('receipts')
        .innerJoin('requests', (join) => join.onRef('requests.territory_id', '=', 'receipts.territory_id'))
        .select('requests.id')
        .where('receipts.territory_id', '=', 'ter_a'),
    (db) => db.updateTable('keys').set({ name: 'x' }).where('territory_id', '=', 'ter_a'),
    (db) => db.deleteFrom('keys').where((row) => row.and([row('id', '=', 'k'), row('territory_id', '=', 'ter_a')])),
    (db) =>
      db.insertInto('journal').values({ request_id: 'r', seq: 0, territory_id: 'ter_a', sealed: new Uint8Array() }),
    (db) => db.selectFrom('secrets').selectAll(),
  ];
  for (const query of passing) expect(without(query)).toEqual([]);
});

test('one that does not is named by its table, also where it is a part of another, or says it in vain', async () => {
  const { without } = await setUp();
  const failing: [string, (db: Database) => { toOperationNode(): OperationNode }][] = [
    ['keys', (db) => db.selectFrom('keys').selectAll().where('id', '=', 'key_a')],
    ['territories', (db) => db.selectFrom('territories').selectAll()],
    ['keys', (db) => db.selectFrom('keys').selectAll().where('territory_id', '!=', 'ter_a')],
    ['keys', (db) => db.updateTable('keys').set({ territory_id: 'ter_a' }).where('id', '=', 'key_a')],
    [
      'devices',
      (db) => db.deleteFrom('devices').where((row) => row.or([row('territory_id', '=', 'ter_a'), row('id', '=', 'd')])),
    ],
    [
      'requests',
      (db) =>
        db
          .selectFrom('receipts')
          .innerJoin('requests', 'requests.id', 'receipts.request_id')
          .select('requests.id')
          .where('receipts.territory_id', '=', 'ter_a'),
    ],
    [
      'requests',
      (db) =>
        db
          .deleteFrom('journal')
          .where('territory_id', '=', 'ter_a')
          .where('request_id', 'in', (from) => from.selectFrom('requests').select('id')),
    ],
    [
      'keys',
      (db) =>
        db
          .with('mine', (from) => from.selectFrom('keys').selectAll())
          .selectFrom('mine')
          .selectAll(),
    ],
  ];
  for (const [table, query] of failing) expect(without(query)).toEqual([table]);
  const { tables } = await setUp();
  const raw = sql`select id from devices where id = ${'d'}`.toOperationNode();
  expect(unbounded(raw, tables)).toEqual(['devices']);
  expect(unbounded(sql`select id from devices where territory_id = ${'t'}`.toOperationNode(), tables)).toEqual([]);
});

test('one that is written as text is read, too, whatever it is made of', async () => {
  const { tables } = await setUp();
  const named = (query: { toOperationNode(): OperationNode }): string[] => unbounded(query.toOperationNode(), tables);
  expect(named(sql`select territory_id from devices where id = ${'d'}`)).toEqual(['devices']);
  expect(named(sql`select * from ${sql.table('keys')} where id = ${'k'}`)).toEqual(['keys']);
  expect(named(sql`select * from ${sql.table('keys')} where ${sql.ref('territory_id')} = ${'t'}`)).toEqual([]);
  expect(named(sql`delete from keys where id in (select id from devices where territory_id = ${'t'})`)).toEqual([
    'devices',
    'keys',
  ]);
  expect(named(sql`update keys set name = ${'x'}`)).toEqual(['keys']);
  expect(named(sql`insert into journal (request_id) values (${'r'})`)).toEqual(['journal']);
  expect(named(sql`insert into journal (request_id, territory_id) values (${'r'}, ${'t'})`)).toEqual([]);
  expect(named(sql`select * from ${sql`${sql.raw('secrets')}, ${sql.table('keys')}`}`)).toEqual([]);
});

test('a statement that a room writes as text is refused where it runs', async () => {
  const database = await walled(await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' }));
  onTestFinished(() => database.close());
  const filename = fileURLToPath(new URL('../identity/a-room.ts', import.meta.url));
  const room = runInThisContext('(db, sql) => sql`select id from devices`.execute(db)', { filename }) as (
    db: Database,
    tag: typeof sql,
  ) => Promise<unknown>;
  await expect(room(database.db, sql)).rejects.toThrow('identity/a-room.ts on "devices" does not say');
});

test('what is exempt is there, and says why', () => {
  for (const { file, why } of EXEMPTIONS) {
    expect(existsSync(new URL(`../${file}`, import.meta.url)), file).toBe(true);
    expect(why.length, file).toBeGreaterThan(10);
  }
});
