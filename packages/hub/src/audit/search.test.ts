/** Claims about looking something up in the audit log, on every database. */
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { CompiledQuery, type KyselyPlugin } from 'kysely';
import { describe, expect, test } from 'vitest';
import { testDatabases } from '../testing/databases.ts';
import { createAudit } from './audit.ts';
import { searchAudit, type AuditSearch } from './search.ts';

const HERE = 'ter_a';
const MINUTE_MS = 60_000;
/** Entries that are looked at at once, of a log that has several times as many. */
const STRETCH = 700;
const ENTRIES = 2_600;

/** Entry n was written in minute n; of a thousand one is an act, and one of the acts is of somebody special. */
const eventAt = (seq: number) => ({
  territory: HERE,
  actor: seq === 1_000 ? 'per_ada' : `key_${seq % 3}`,
  action: seq % 1_000 === 0 ? 'createKey' : seq % 500 === 0 ? 'revokeKey' : 'used',
  subject: seq % 500 === 0 ? `key_${seq}` : HERE,
});

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const database = await open(systemClock);
    const { db } = database;
    const rows = [HERE, 'ter_b'].map((id) => ({ id, name: id, public_key: new Uint8Array(32), created_at_ms: 0 }));
    await db.insertInto('territories').values(rows).execute();
    const at = { ms: 0 };
    const audit = createAudit({ db, crypto: nodeCrypto, clock: { ...clock, now: () => at.ms } });
    await db.transaction().execute(async (transaction) => {
      await audit.append(transaction, { ...eventAt(1), territory: 'ter_b', actor: 'per_ada' });
      for (let from = 1; from <= ENTRIES; from += 500) {
        at.ms = from * MINUTE_MS;
        const count = Math.min(500, ENTRIES - from + 1);
        await audit.appendAll(
          transaction,
          Array.from({ length: count }, (_, more) => eventAt(from + more)),
        );
      }
    });
    const search = async (given: Partial<AuditSearch>) => {
      const { entries: found, ...rest } = await searchAudit(db, { territory: HERE, limit: 5, ...given }, STRETCH);
      return { seqs: found.map(({ seq }) => seq), ...rest };
    };
    return { db, audit, search };
  }

  test('of a long log each condition finds what fits, alone and together, in either order', async () => {
    const { search } = await setUp();
    const lastSeq = ENTRIES;
    expect(await search({ limit: 2 })).toEqual({ seqs: [ENTRIES, ENTRIES - 1], next: ENTRIES - 1, lastSeq });
    expect(await search({ actors: ['per_ada'] })).toEqual({ seqs: [1_000], lastSeq });
    expect(await search({ actors: ['per_ada', 'key_nobody'], actions: ['CREATE*'] })).toEqual({
      seqs: [1_000],
      lastSeq,
    });
    expect(await search({ actors: ['per_ada'], actions: ['revokeKey'] })).toEqual({ seqs: [], lastSeq });
    expect(await search({ subjects: ['key_1500', 'key_500'] })).toEqual({ seqs: [1_500, 500], lastSeq });
    expect(await search({ subjects: [HERE], actions: ['*Key'] })).toEqual({ seqs: [], lastSeq });
    const oldest = { actions: ['*key'], oldestFirst: true };
    expect(await search({ ...oldest, limit: 3 })).toEqual({ seqs: [500, 1_000, 1_500], next: 1_500, lastSeq });
    expect((await search({ ...oldest, afterSeq: 1_500, limit: 1 })).seqs).toEqual([2_000]);
    expect((await search({ actions: ['createKey'], beforeSeq: 3_000, limit: 9 })).seqs).toEqual([2_000, 1_000]);
  });

  test('pages follow each other without a gap, and the last one says that it is the last', async () => {
    const { search } = await setUp();
    for (const oldestFirst of [false, true]) {
      const seen: number[] = [];
      let from: Partial<AuditSearch> = {};
      for (let pages = 0; pages < 9; pages++) {
        const { seqs, next } = await search({ actions: ['*key'], actors: ['key_1', 'key_2'], oldestFirst, ...from });
        seen.push(...seqs);
        if (next === undefined) break;
        from = oldestFirst ? { afterSeq: next } : { beforeSeq: next };
      }
      // 1500 is of key_0, and 1000 of Ada.
      expect(seen).toEqual(oldestFirst ? [500, 2_000, 2_500] : [2_500, 2_000, 500]);
    }
  });

  test('a time holds exactly, its end not included', async () => {
    const { search } = await setUp();
    // Five hundred are written at once: 1, 501, 1001, …
    const between = { fromMs: 501 * MINUTE_MS, untilMs: 1_001 * MINUTE_MS };
    expect((await search({ ...between, limit: 1_000 })).seqs).toEqual(
      Array.from({ length: 500 }, (_, at) => 1_000 - at),
    );
    expect((await search({ ...between, actions: ['*Key'] })).seqs).toEqual([1_000]);
    expect((await search({ fromMs: 2_501 * MINUTE_MS + 1 })).seqs).toEqual([]);
    expect((await search({ untilMs: MINUTE_MS })).seqs).toEqual([]);
  });

  test('a search that finds little stops after so many stretches, and says where to go on', async () => {
    const { db } = await setUp();
    const search = { territory: HERE, actors: ['key_1'], subjects: ['key_500'], limit: 5 };
    const begun = await searchAudit(db, { ...search, beforeSeq: 1_200 }, 10);
    expect(begun).toEqual({ entries: [], next: 1_200 - 64 * 10, lastSeq: ENTRIES });
    expect(await searchAudit(db, { ...search, beforeSeq: begun.next }, 10)).toEqual({ entries: [], lastSeq: ENTRIES });
    const forth = await searchAudit(db, { ...search, oldestFirst: true, actors: ['key_2'], limit: 1 }, 10);
    expect(forth).toMatchObject({ entries: [{ seq: 500 }], next: 500 });
  });

  test('an action that no entry has is told, with those that there are', async () => {
    const { search } = await setUp();
    expect(await search({ actions: ['key.*'] })).toEqual({
      seqs: [],
      lastSeq: ENTRIES,
      actions: ['createKey', 'revokeKey', 'used'],
    });
    expect((await search({ actions: ['c*e*ey'] })).seqs).toEqual([2_000, 1_000]);
    for (const pattern of ['createKey*createKey', 'reateKey', '*createKeyy', 'use', 'c*k*k*'])
      expect([pattern, (await search({ actions: [pattern] })).actions]).toEqual([pattern, expect.any(Array)]);
  });

  test('what was found is held against the entries before it', async () => {
    const { db, audit } = await setUp();
    const search = { territory: HERE, actions: ['createKey'], limit: 5 };
    expect((await audit.search(search)).fault).toBeUndefined();
    const at = (seq: number) => db.updateTable('audit').where('territory_id', '=', HERE).where('seq', '=', seq);
    await at(2_000).set({ details_json: '{"role":"steward"}' }).execute();
    expect((await audit.search(search)).fault).toEqual({ seq: 2_000, why: 'entry 2000 was changed' });
    await at(999)
      .set({ hash: new Uint8Array(32) })
      .execute();
    const unlinked = { seq: 1_000, why: 'entry 1000 does not follow from the entry before it' };
    expect((await audit.search(search)).fault).toEqual(unlinked);
    await db.deleteFrom('audit').where('territory_id', '=', HERE).where('seq', '=', 999).execute();
    expect((await audit.search(search)).fault).toEqual({ seq: 999, why: 'entry 999 is missing' });
  });
});

test('no search reads the whole log where an index has what it looks for', async () => {
  const [sqlite] = await testDatabases();
  const { db } = await (sqlite as NonNullable<typeof sqlite>).open(systemClock);
  const asked: CompiledQuery[] = [];
  const listen: KyselyPlugin = {
    transformQuery({ node, queryId }) {
      asked.push(db.getExecutor().compileQuery(node, queryId));
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  await db
    .insertInto('territories')
    .values({ id: HERE, name: HERE, public_key: new Uint8Array(32), created_at_ms: 0 })
    .execute();
  const audit = createAudit({ db: db.withPlugin(listen), crypto: nodeCrypto, clock: systemClock });
  await db.transaction().execute((transaction) => audit.append(transaction, eventAt(1_000)));
  const others = { subjects: [HERE], actions: ['createKey', 'used'] };
  for (const search of [{ actors: ['per_ada'] }, { actors: ['per_ada'], ...others }, { subjects: ['key_1000'] }])
    await audit.search({ territory: HERE, limit: 5, ...search });
  const plans: string[] = [];
  for (const { sql, parameters } of asked.filter((query) => query.sql.includes('seq + 0'))) {
    const { rows } = await db.executeQuery<{ detail: string }>(
      CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]),
    );
    plans.push(...rows.map(({ detail }) => detail));
  }
  const range = String.raw`\(territory_id=\? AND COLUMN=\? AND <expr>>\? AND <expr><\?\)$`;
  expect(plans).toEqual(
    ['actor', 'actor', 'subject'].map((column) =>
      expect.stringMatching(
        new RegExp(`^SEARCH audit USING INDEX audit_of_${column} ${range.replace('COLUMN', column)}`),
      ),
    ),
  );
});
