import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { nodeCrypto } from '@idlewild/protocol/node';
import { Kysely, sql } from 'kysely';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createJournal, type CloseRecord, type Journal } from '../answers/journal/journal.ts';
import { SQLITE_COLUMNS } from '../db/column-types.ts';
import { MIGRATIONS, migrate } from '../db/migrate.ts';
import type { Database, RequestState, Schema } from '../db/schema.ts';
import { createSqliteDialect } from '../db/sqlite-dialect.ts';
import { silentLog } from '../log.ts';
import { databaseAt } from '../replicas/testing/database-at.ts';
import { testDatabases } from '../testing/databases.ts';
import { addTerritories } from '../testing/territories.ts';
import { readShowback } from '../projects/showback.ts';
import { readUsage } from './usage.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

const territory = 'ter_a';
const DAY_MS = 86_400_000;
/** 2027-01-15T08:00:00Z: where the fake clock starts. */
const TODAY = '2027-01-15';

const opened = (request: string, over: { key?: string; model?: string; choice?: number } = {}) => ({
  request,
  territory,
  key: over.key ?? 'key_a',
  model: over.model ?? 'cid_a',
  work: { prompt: { kind: 'text' as const, text: 'x' }, sampling: { seed: 1 }, choice: over.choice ?? 0, stop: [] },
  text: PLAIN_TEXT,
});
const closed = (request: string, over: Partial<CloseRecord> = {}): CloseRecord => ({
  request,
  state: 'done',
  reason: undefined,
  promptTokens: 10,
  answerTokens: 5,
  failovers: 0,
  exact: true,
  ...over,
});
async function ask(journal: Journal, open: ReturnType<typeof opened>, end: Partial<CloseRecord> = {}): Promise<void> {
  const opening = journal.open(open);
  await journal.flush();
  await opening;
  const closing = journal.close(closed(open.request, end));
  await journal.flush();
  await closing;
}
const all = (db: Database, more: { key?: string; model?: string } = {}) =>
  readUsage(db, { territory, from: '2000-01-01', to: '2100-01-01', ...more }, 1_000);

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp(): Promise<{
    db: Database;
    journal: Journal;
    /** Of the replica that comes after. */
    next: Journal;
    clock: ReturnType<typeof createFakeClock>;
  }> {
    const clock = createFakeClock(yieldToNode);
    const database = databaseAt(await open(clock), clock);
    const { db } = database;
    await db
      .insertInto('territories')
      .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
      .execute();
    const key = new Uint8Array(32).fill(1);
    const random = createSeededRandom(1);
    const openAs = (owner: string): Journal =>
      createJournal({ database, territory, crypto: nodeCrypto, random, clock, key, owner, log: silentLog });
    return { db, clock, journal: openAs('rep_a'), next: openAs('rep_b') };
  }

  test('who asked without a key is named as the community names them', async () => {
    const { db, journal } = await setUp();
    await db.insertInto('people').values({ id: 'per_a', name: 'Ada', created_at_ms: 0 }).execute();
    for (const [id, name] of [
      [territory, 'Ada L.'],
      ['ter_b', 'Countess'],
    ] as const) {
      const row = { id, name, public_key: new Uint8Array(32), created_at_ms: 0 };
      if (id !== territory) await db.insertInto('territories').values(row).execute();
      await db
        .insertInto('members')
        .values({ territory_id: id, person_id: 'per_a', name, state: 'active', joined_at_ms: 0 })
        .execute();
    }
    await ask(journal, opened('r1', { key: 'per_a' }));
    expect(await all(db)).toMatchObject([{ key: 'per_a', keyName: 'Ada L.' }]);
  });

  test('requests are summed by key, model and day, whatever became of them', async () => {
    const { db, journal, clock } = await setUp();
    await ask(journal, opened('r1'), { cachedTokens: 4, deviceMs: 20.4 });
    await ask(journal, opened('r2'), { state: 'failed', reason: 'no_device', answerTokens: 2 });
    await ask(journal, opened('r3'), { state: 'cancelled', reason: 'cancelled', answerTokens: 1 });
    await ask(journal, opened('r4', { key: 'key_b' }));
    await ask(journal, opened('r5', { model: 'cid_b' }));
    await clock.advance(DAY_MS);
    await ask(journal, opened('r6'));
    const mine = await all(db, { key: 'key_a', model: 'cid_a' });
    expect(mine).toMatchObject([
      { day: '2027-01-16', requests: 1, promptTokens: 10, answerTokens: 5 },
      {
        day: TODAY,
        requests: 3,
        failed: 1,
        cancelled: 1,
        promptTokens: 30,
        answerTokens: 8,
        cachedTokens: 4,
        deviceMs: 20,
      },
    ]);
    expect(await all(db)).toHaveLength(4);
    expect(await readUsage(db, { territory, from: TODAY, to: TODAY }, 1_000)).toHaveLength(3);
    expect(await readUsage(db, { territory: 'ter_b', from: TODAY, to: TODAY }, 1_000)).toEqual([]);
  });

  test('energy is summed to millionths of a watt-hour, beside how many answers tell nothing of it', async () => {
    const { db, journal } = await setUp();
    const worked = { device: 'dev_a' };
    await ask(journal, opened('r1'), { ...worked, energyWh: 0.000_042 });
    await ask(journal, opened('r2'), { ...worked, energyWh: 0 });
    await ask(journal, opened('r3'), worked);
    await ask(journal, opened('r4'), { ...worked, state: 'cancelled', reason: 'cancelled' });
    await ask(journal, opened('r5'), { state: 'failed', reason: 'no_device' });
    const [row] = await readShowback(db, { territory, by: 'key', from: TODAY, to: TODAY });
    expect(row).toMatchObject({ requests: 5, energyWh: 0.000_042, energyUntold: 2 });
  });

  test('several choices are one request and one prompt', async () => {
    const { db, journal } = await setUp();
    for (const choice of [0, 1, 2]) await ask(journal, opened(`r${choice}`, { choice }));
    expect(await all(db)).toMatchObject([{ requests: 1, promptTokens: 10, answerTokens: 15 }]);
  });

  test('what ends in one batch is counted once, and an end that comes twice changes nothing', async () => {
    const { db, journal } = await setUp();
    const ids = Array.from({ length: 40 }, (_, index) => `r${index}`);
    const openings = ids.map((id) => journal.open(opened(id)));
    const closings = ids.map((id) => journal.close(closed(id)));
    await journal.flush();
    await Promise.all([...openings, ...closings]);
    const again = journal.close(closed('r0'));
    await journal.flush();
    await again;
    expect(await all(db)).toMatchObject([{ requests: 40, promptTokens: 400, answerTokens: 200 }]);
  });

  test('what a crash left open counts with its prompt, if that was read, and its tokens', async () => {
    const { db, journal, next } = await setUp();
    const opening = journal.open(opened('r1'));
    await journal.flush();
    await opening;
    journal.fact('r1', { t: 'started', promptTokens: 12, cachedTokens: 4 });
    for (const id of [5, 6, 7]) journal.token('r1', { id, s: '', calls: undefined, lp: undefined });
    await journal.flush();
    expect(await next.closeOrphans(0)).toEqual([{ request: 'r1', answerTokens: 3 }]);
    expect(await all(db)).toMatchObject([
      { requests: 1, failed: 1, promptTokens: 12, cachedTokens: 4, answerTokens: 3 },
    ]);
  });
});

test('a database of before there were sums gets those of what was answered', async () => {
  const clock = createFakeClock(async () => {});
  const db = new Kysely<Schema>({ dialect: createSqliteDialect(new DatabaseSync(':memory:')) });
  onTestFinished(() => db.destroy());
  const upTo = (count: number) =>
    migrate(db as never, { clock, columns: SQLITE_COLUMNS, migrations: MIGRATIONS.slice(0, count) });
  await upTo(1);
  const ofRequest = (id: string, state: RequestState) => ({
    id,
    territory_id: territory,
    key_id: 'key_a',
    model_cid: 'cid_a',
    state,
    reason: null,
    created_at_ms: clock.now(),
    finished_at_ms: state === 'open' ? null : clock.now(),
    prompt_tokens: 7,
    answer_tokens: 3,
    failovers: 0,
    exact: 1 as const,
  });
  await db
    .insertInto('territories')
    .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  await db
    .insertInto('requests')
    .values([ofRequest('r1', 'done'), ofRequest('r2', 'cancelled'), ofRequest('r3', 'open')])
    .execute();
  await upTo(2);
  // Read with the tables of today, which it brought along.
  await upTo(MIGRATIONS.length);
  expect(await all(db)).toMatchObject([
    { day: TODAY, requests: 2, cancelled: 1, failed: 0, promptTokens: 14, answerTokens: 6 },
  ]);
});

test('energy in thousandths of a watt-hour stays what it was, and nothing counts as not told', async () => {
  const clock = createFakeClock(async () => {});
  const db = new Kysely<Schema>({ dialect: createSqliteDialect(new DatabaseSync(':memory:')) });
  onTestFinished(() => db.destroy());
  const until = MIGRATIONS.findIndex(({ name }) => name === '0019-energy');
  const upTo = (count: number) =>
    migrate(db as never, { clock, columns: SQLITE_COLUMNS, migrations: MIGRATIONS.slice(0, count) });
  await upTo(until);
  await addTerritories(db, territory);
  const atMs = clock.now();
  for (const [id, device, mwh] of [
    ['r1', 'dev_a', 1_500],
    ['r2', 'dev_a', 0],
    ['r3', null, 0],
  ] as const)
    await sql`
      insert into requests (id, territory_id, key_id, model_cid, state, created_at_ms, finished_at_ms, prompt_tokens,
        answer_tokens, failovers, exact, device_id, energy_mwh)
      values (${id}, ${territory}, 'key_a', 'cid_a', 'done', ${atMs}, ${atMs}, 7, 3, 0, 1, ${device}, ${mwh})
    `.execute(db);
  await sql`
    insert into usage (territory_id, key_id, model_cid, day, requests, failed, cancelled, prompt_tokens, cached_tokens,
      answer_tokens, device_ms, energy_mwh)
    values (${territory}, 'key_a', 'cid_a', ${Math.floor(atMs / DAY_MS)}, 3, 0, 0, 21, 0, 9, 5, 1500)
  `.execute(db);
  await upTo(MIGRATIONS.length);
  const [row] = await readShowback(db, { territory, by: 'key', from: TODAY, to: TODAY });
  expect(row).toMatchObject({ requests: 3, energyWh: 1.5, energyUntold: 2 });
  expect(await db.selectFrom('requests').select(['id', 'energy_uwh']).orderBy('id').execute()).toEqual([
    { id: 'r1', energy_uwh: 1_500_000 },
    { id: 'r2', energy_uwh: null },
    { id: 'r3', energy_uwh: null },
  ]);
});
