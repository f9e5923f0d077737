/** Claims about what is kept of an open answer, for how long, and in what form. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IdlewildError, type AnswerWork } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { CompiledQuery, type KyselyPlugin } from 'kysely';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import type { DatabaseTransaction } from '../../db/schema.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { createJournal, type CloseRecord, type Journal, type OpenRecord, type TokenRecord } from './journal.ts';
import { PLAIN_TEXT } from '../../testing/texts.ts';

const SECRET_PROMPT = 'the king is dead and nobody may know';
const work: Omit<AnswerWork, 'tokens'> = {
  prompt: { kind: 'text', text: SECRET_PROMPT },
  sampling: { seed: 1 },
  choice: 0,
  stop: [],
};
const opening = (request: string): OpenRecord => ({
  request,
  territory: 'ter_a',
  key: 'key_a',
  model: 'cid',
  work,
  text: PLAIN_TEXT,
});
const closing = (request: string, over: Partial<CloseRecord> = {}): CloseRecord => ({
  request,
  state: 'done',
  reason: undefined,
  promptTokens: 3,
  answerTokens: 2,
  failovers: 0,
  exact: true,
  ...over,
});
const token = (id: number): TokenRecord => ({ id, s: `t${id} `, calls: undefined, lp: undefined });

interface Setting {
  clock: FakeClock;
  database: OpenDatabase;
  journal: Journal;
  folder: string;
  reopen(on?: OpenDatabase): Journal;
}

async function setUp(): Promise<Setting> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-journal-'));
  const clock = createFakeClock(yieldToNode);
  const database = await openDatabase({ file: join(folder, 'hub.db'), clock });
  onTestFinished(async () => {
    await database.close();
    rmSync(folder, { recursive: true });
  });
  await database.db
    .insertInto('territories')
    .values({ id: 'ter_a', name: 'home', public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  await database.db
    .insertInto('keys')
    .values({
      id: 'key_a',
      territory_id: 'ter_a',
      role: 'caller',
      name: '',
      hash: 'x',
      created_at_ms: 0,
      expires_at_ms: null,
      revoked_at_ms: null,
    })
    .execute();
  const random = createSeededRandom(1);
  let replicas = 0;
  const reopen = (on: OpenDatabase = database): Journal =>
    createJournal({
      territory: 'ter_a',
      database: on,
      crypto: nodeCrypto,
      random,
      clock,
      key: new Uint8Array(32).fill(7),
      owner: `rep_${++replicas}`,
      log: silentLog,
    });
  return { clock, database, journal: reopen(), folder, reopen };
}
const rows = async (database: OpenDatabase): Promise<{ journal: number; requests: Record<string, string> }> => ({
  journal: (await database.db.selectFrom('journal').select('seq').execute()).length,
  requests: Object.fromEntries(
    (await database.db.selectFrom('requests').select(['id', 'state', 'reason']).execute()).map((row) => [
      row.id,
      row.reason ?? row.state,
    ]),
  ),
});

test('an answer is open once its record is committed, and nothing of it is left when it is done', async () => {
  const { clock, database, journal } = await setUp();
  await journal.open(opening('req_1'));
  expect(await rows(database)).toEqual({ journal: 1, requests: { req_1: 'open' } });
  for (const id of [11, 12]) journal.token('req_1', token(id));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  expect((await rows(database)).journal).toBe(2);
  const close = journal.close(closing('req_1'));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await close;
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'done' } });
});

test('neither prompt nor tokens are in any file of the database, before or after', async () => {
  const { clock, database, journal, folder } = await setUp();
  void journal.open(opening('req_1'));
  await clock.advance(5);
  const everything = (): string =>
    readdirSync(folder)
      .map((file) => readFileSync(join(folder, file), 'latin1'))
      .join('');
  expect(everything()).toContain('req_1');
  expect(everything()).not.toContain('nobody may know');
  const [row] = await database.db.selectFrom('journal').select('sealed').execute();
  const sealed = Buffer.from(row?.sealed ?? []).toString('latin1');
  expect(everything()).toContain(sealed);
  void journal.close(closing('req_1'));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  database.checkpoint();
  expect(everything()).not.toContain(sealed);
});

test('a hundred answers at once share few transactions, and none waits longer than the bound', async () => {
  const { clock, journal } = await setUp();
  const startMs = clock.monotonic();
  const waits: number[] = [];
  const opens = Array.from({ length: 100 }, async (_, i) => {
    await journal.open(opening(`req_${i}`));
    waits.push(clock.monotonic() - startMs);
  });
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await Promise.all(opens);
  expect(Math.max(...waits)).toBeLessThanOrEqual(HUB_LIMITS.groupCommitMsMax);
  expect(new Set(waits).size).toBeLessThanOrEqual(2);
});

test('an answer that opens and ends within one batch leaves its line and no sealed row', async () => {
  const { clock, database, journal } = await setUp();
  void journal.open(opening('req_1'));
  void journal.close(closing('req_1'));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'done' } });
});

test('what a crash left open is closed as failed, with its count of tokens, and erased', async () => {
  const { clock, database, journal, reopen } = await setUp();
  void journal.open(opening('req_1'));
  void journal.open(opening('req_2'));
  await clock.advance(5);
  for (const id of [5, 6, 7]) journal.token('req_1', token(id));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  journal.token('req_1', token(8));
  expect(await reopen().closeOrphans(0)).toEqual([
    { request: 'req_1', answerTokens: 3 },
    { request: 'req_2', answerTokens: 0 },
  ]);
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'hub_restarted', req_2: 'hub_restarted' } });
  expect(await reopen().closeOrphans(0)).toEqual([]);
});

test('when the disk refuses, new answers are refused, and the ends of old ones are written later', async () => {
  const { clock, database, journal } = await setUp();
  void journal.open(opening('req_1'));
  await clock.advance(5);
  // A trigger that raises is a disk that refuses: the transaction fails as a whole.
  await database.db.schema.createTable('full').addColumn('x', 'integer').execute();
  const { sql } = await import('kysely');
  await sql`create trigger refuse before update on requests begin select raise(abort, 'disk full'); end`.execute(
    database.db,
  );
  await sql`create trigger refuse_too before insert on requests begin select raise(abort, 'disk full'); end`.execute(
    database.db,
  );
  const end = journal.close(closing('req_1'));
  const open = journal.open(opening('req_2'));
  await Promise.all([expect(open).rejects.toThrow(/disk full/), clock.advance(HUB_LIMITS.groupCommitMsMax)]);
  await sql`drop trigger refuse`.execute(database.db);
  await sql`drop trigger refuse_too`.execute(database.db);
  await clock.advance(HUB_LIMITS.journalRetryMs + HUB_LIMITS.groupCommitMsMax);
  await end;
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'done' } });
});

test('tokens that the disk refused are not lost: they go with a later batch, in their order', async () => {
  const { clock, database, journal, reopen } = await setUp();
  void journal.open(opening('req_1'));
  await clock.advance(5);
  const { sql } = await import('kysely');
  await sql`create trigger refuse before insert on journal begin select raise(abort, 'disk full'); end`.execute(
    database.db,
  );
  for (const id of [5, 6]) journal.token('req_1', token(id));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  journal.token('req_1', token(7));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await sql`drop trigger refuse`.execute(database.db);
  await clock.advance(HUB_LIMITS.journalRetryMs + HUB_LIMITS.groupCommitMsMax);
  expect((await rows(database)).journal).toBe(2);
  expect(await reopen().closeOrphans(0)).toEqual([{ request: 'req_1', answerTokens: 3 }]);
});

test('a hub that stops tries once more to write the ends that the disk refused', async () => {
  const { clock, database, journal } = await setUp();
  void journal.open(opening('req_1'));
  await clock.advance(5);
  const { sql } = await import('kysely');
  await sql`create trigger refuse before update on requests begin select raise(abort, 'disk full'); end`.execute(
    database.db,
  );
  void journal.close(closing('req_1'));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await sql`drop trigger refuse`.execute(database.db);
  await journal.flush();
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'done' } });
});

test('an owner who was kept from the database for a while keeps its answers, one that is gone does not', async () => {
  const { clock, database, journal, reopen } = await setUp();
  const patienceMs = HUB_LIMITS.replicaLiveMs;
  void journal.open(opening('req_1'));
  await clock.advance(5);
  const other = reopen();
  expect(await other.closeOrphans(patienceMs)).toEqual([]);
  await clock.advance(patienceMs);
  await seen(database, 'rep_1', clock.now());
  expect(await other.closeOrphans(patienceMs)).toEqual([]);
  await clock.advance(patienceMs);
  expect(await other.closeOrphans(patienceMs)).toEqual([]);
  await clock.advance(patienceMs);
  expect(await other.closeOrphans(patienceMs)).toEqual([{ request: 'req_1', answerTokens: 0 }]);
});

test('the end of what a run may tell again is not written before its last tokens are', async () => {
  const { clock, database, journal, reopen } = await setUp();
  const run = { id: 'run_1', epoch: 1, choice: 0, isResumed: false, heard: 0 };
  await database.db
    .insertInto('runs')
    .values({ territory_id: 'ter_a', id: 'run_1', key_id: 'key_a', ...newRun })
    .execute();
  void journal.open({ ...opening('req_1'), run });
  await clock.advance(5);
  const { sql } = await import('kysely');
  await sql`create trigger refuse before insert on journal begin select raise(abort, 'disk full'); end`.execute(
    database.db,
  );
  for (const id of [5, 6]) journal.token('req_1', token(id));
  const end = journal.close(closing('req_1'));
  await clock.advance(3 * HUB_LIMITS.journalRetryMs);
  expect(await rows(database)).toMatchObject({ requests: { req_1: 'open' } });
  await sql`drop trigger refuse`.execute(database.db);
  await clock.advance(3 * HUB_LIMITS.journalRetryMs);
  await end;
  await database.db.updateTable('runs').set({ owner: 'rep_2', epoch: 2 }).execute();
  const told = await reopen().adopt('ter_a', { ...run, epoch: 2, isResumed: true, heard: 0 });
  expect(told).toMatchObject({ isDone: true, tokens: [token(5), token(6)] });
});

test('an end that waits to be written does not end what the same replica has taken over since', async () => {
  const { clock, database, journal } = await setUp();
  const run = { id: 'run_1', epoch: 1, choice: 0, isResumed: false, heard: 0 };
  await database.db
    .insertInto('runs')
    .values({ territory_id: 'ter_a', id: 'run_1', key_id: 'key_a', ...newRun })
    .execute();
  void journal.open({ ...opening('req_1'), run });
  journal.token('req_1', token(5));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  const { sql } = await import('kysely');
  const full = sql`create trigger refuse before update of state on requests begin select raise(abort, 'full'); end`;
  await full.execute(database.db);
  const end = journal.close(closing('req_1', { state: 'cancelled' }));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  const told = await journal.adopt('ter_a', { ...run, isResumed: true });
  expect(told).toMatchObject({ isDone: false, tokens: [token(5)] });
  await sql`drop trigger refuse`.execute(database.db);
  await clock.advance(2 * HUB_LIMITS.journalRetryMs);
  expect(await end).toBe(false);
  expect(await rows(database)).toMatchObject({ requests: { req_1: 'open' } });
  const own = journal.close(closing('req_1'));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  expect(await own).toBe(true);
  expect(await rows(database)).toMatchObject({ requests: { req_1: 'done' } });
});

test('an opening that was refused because nobody knew whether it was committed leaves nothing open', async () => {
  const { clock, database, reopen } = await setUp();
  let isCutOff = true;
  const db = new Proxy(database.db, {
    get(target, name) {
      if (name === 'transaction')
        return () => ({
          async execute<Result>(act: (transaction: DatabaseTransaction) => Promise<Result>) {
            const result = await target.transaction().execute(act);
            if (isCutOff) throw new IdlewildError('database_unavailable', 'the line was cut after the commit');
            return result;
          },
        });
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const journal = reopen({ ...database, db });
  const open = journal.open(opening('req_1'));
  await Promise.all([
    expect(open).rejects.toThrow(/the line was cut/),
    clock.advance(HUB_LIMITS.journalOpenMsMax + 2 * HUB_LIMITS.journalRetryMs),
  ]);
  isCutOff = false;
  await clock.advance(2 * HUB_LIMITS.journalRetryMs);
  expect(await rows(database)).toEqual({ journal: 0, requests: { req_1: 'database_unavailable' } });
});

const newRun = { fingerprint: new Uint8Array(), request_id: 'req_r', owner: 'rep_1', epoch: 1, created_at_ms: 0 };

async function seen({ db }: OpenDatabase, id: string, seen_at_ms: number): Promise<void> {
  const row = { id, address: '', version: '', bus: 1 as const, state: 'live' as const, devices: 0, answers: 0 };
  await db
    .insertInto('replicas')
    .values({ ...row, started_at_ms: 0, seen_at_ms })
    .execute();
}

test('answers that end together are looked up by their ids, and not among all that a territory had', async () => {
  const { clock, database, reopen } = await setUp();
  const asked = new Map<string, CompiledQuery>();
  const listen: KyselyPlugin = {
    transformQuery({ node, queryId }) {
      const query = database.db.getExecutor().compileQuery(node, queryId);
      asked.set(query.sql, query);
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  const journal = reopen({ ...database, db: database.db.withPlugin(listen) });
  const requests = Array.from({ length: 40 }, (_, number) => `req_${number}`);
  const opened = Promise.all(requests.map((request) => journal.open(opening(request))));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await opened;
  const closed = Promise.all(requests.map((request) => journal.close(closing(request))));
  await clock.advance(HUB_LIMITS.groupCommitMsMax);
  await closed;
  const plans: string[] = [];
  for (const { sql, parameters } of asked.values()) {
    const explained = CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]);
    const { rows: steps } = await database.db.executeQuery<{ detail: string }>(explained);
    plans.push(...steps.map(({ detail }) => detail).filter((detail) => /^(SEARCH|SCAN) requests\b/.test(detail)));
  }
  // The lock and the sums of many, and the end of each.
  expect(plans.length).toBeGreaterThan(2);
  for (const plan of plans) expect(plan).toMatch(/\bid=\?/);
});
