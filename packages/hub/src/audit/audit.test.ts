import { SECRET_PREFIXES } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { OpenDatabase } from '../db/open.ts';
import { testDatabases } from '../testing/databases.ts';
import { createAudit } from './audit.ts';
import { measureAppends } from './testing/append-pace.ts';

const clock = createFakeClock(async () => {});
const TERRITORIES = ['ter_a', 'ter_b'];

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  async function setUp() {
    const database = { ...(await open(clock)), clock: systemClock };
    const { db } = database;
    const rows = TERRITORIES.map((id) => ({ id, name: id, public_key: new Uint8Array(32), created_at_ms: 0 }));
    await db.insertInto('territories').values(rows).execute();
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    const append = (territory: string, subject: string, details = {}) =>
      db
        .transaction()
        .execute((transaction) =>
          audit.append(transaction, { territory, actor: 'key_s', action: 'revokeKey', subject, details }),
        );
    return { database, db, audit, append };
  }

  test('entries are numbered without gaps in each territory, and both chains verify', async () => {
    const { audit, append } = await setUp();
    for (let i = 0; i < 3; i++) {
      for (const territory of TERRITORIES) await append(territory, `key_${i}`, { role: 'caller', i });
    }
    for (const territory of TERRITORIES) {
      expect(await audit.verify(territory)).toMatchObject({ intact: true, entries: 3 });
      const entries = await audit.list({ territory });
      expect(entries.map(({ seq, subject }) => [seq, subject])).toEqual([
        [3, 'key_2'],
        [2, 'key_1'],
        [1, 'key_0'],
      ]);
      expect(entries[0]?.details).toEqual({ role: 'caller', i: 2 });
      expect((await audit.list({ territory, beforeSeq: 3, limit: 1 })).map(({ seq }) => seq)).toEqual([2]);
    }
  });

  test('an empty log verifies', async () => {
    const { audit } = await setUp();
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 0 });
  });

  test('an act that is rolled back leaves no entry, and the chain goes on', async () => {
    const { db, audit, append } = await setUp();
    await append('ter_a', 'key_0');
    await expect(
      db.transaction().execute(async (transaction) => {
        await audit.append(transaction, { territory: 'ter_a', actor: 'key_s', action: 'revokeKey', subject: 'key_1' });
        throw new Error('on purpose');
      }),
    ).rejects.toThrow('on purpose');
    await append('ter_a', 'key_2');
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 2 });
  });

  test('a changed, a missing, a swapped and a foreign entry are each found where they are', async () => {
    const { db, audit, append } = await setUp();
    for (let i = 0; i < 5; i++) await append('ter_a', `key_${i}`);
    await append('ter_b', 'key_0');
    const at = (seq: number) => db.updateTable('audit').where('territory_id', '=', 'ter_a').where('seq', '=', seq);
    const broken = async () => {
      const verdict = await audit.verify('ter_a');
      return verdict.intact ? undefined : verdict;
    };

    await at(3).set({ subject: 'key_x' }).execute();
    expect(await broken()).toEqual({ intact: false, seq: 3, why: 'entry 3 was changed' });
    await at(3).set({ subject: 'key_2' }).execute();
    expect(await broken()).toBeUndefined();

    await at(4).set({ seq: 40 }).execute();
    expect(await broken()).toMatchObject({ seq: 4, why: expect.stringContaining('missing') });
    await at(40).set({ seq: 4 }).execute();

    await at(1).set({ seq: 100 }).execute();
    await at(2).set({ seq: 1 }).execute();
    await at(100).set({ seq: 2 }).execute();
    expect(await broken()).toMatchObject({ seq: 1 });

    const foreign = await db
      .selectFrom('audit')
      .selectAll()
      .where('territory_id', '=', 'ter_b')
      .executeTakeFirstOrThrow();
    await db.deleteFrom('audit').where('territory_id', '=', 'ter_a').execute();
    await db
      .insertInto('audit')
      .values({ ...foreign, territory_id: 'ter_a' })
      .execute();
    expect(await broken()).toMatchObject({ seq: 1, why: expect.stringContaining('does not follow') });
  });

  test('a log of several pages verifies to its end', async () => {
    const { db, audit } = await setUp();
    await db.transaction().execute(async (transaction) => {
      for (let i = 0; i < 2_001; i++) {
        await audit.append(transaction, { territory: 'ter_a', actor: 'hub', action: 'touch', subject: `s${i}` });
      }
    });
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 2_001 });
    await db.updateTable('audit').set({ actor: 'key_x' }).where('seq', '=', 2_001).execute();
    expect(await audit.verify('ter_a')).toMatchObject({ intact: false, seq: 2_001 });
  });

  test('many entries of several territories go in together, in their order, and after what is there', async () => {
    const { db, audit, append } = await setUp();
    await append('ter_a', 'key_first');
    const events = Array.from({ length: 700 }, (_, at) => ({
      territory: TERRITORIES[at % 2] as string,
      actor: 'key_s',
      action: 'used',
      subject: `s${at}`,
    }));
    await db.transaction().execute((transaction) => audit.appendAll(transaction, events));
    await db.transaction().execute((transaction) => audit.appendAll(transaction, []));
    const subjects = async (territory: string): Promise<string[]> =>
      (await audit.list({ territory, limit: 1_000 })).map(({ subject }) => subject).toReversed();
    expect(await subjects('ter_a')).toEqual([
      'key_first',
      ...events.filter(({ territory }) => territory === 'ter_a').map(({ subject }) => subject),
    ]);
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 351 });
    expect(await audit.verify('ter_b')).toMatchObject({ intact: true, entries: 350 });
  });

  test('replicas that write at once make one chain, with acts and batches among each other', async () => {
    const replicas = await openShared(2);
    const rows = TERRITORIES.map((id) => ({ id, name: id, public_key: new Uint8Array(32), created_at_ms: 0 }));
    await (replicas[0] as OpenDatabase).db.insertInto('territories').values(rows).execute();
    const write = async ({ db }: OpenDatabase, replica: number): Promise<void> => {
      const audit = createAudit({ db, crypto: nodeCrypto, clock });
      for (let round = 0; round < 10; round++) {
        const batch = Array.from({ length: 40 }, (_, at) => ({
          // One that takes its turns in another order than the other replica would wait for ever.
          territory: TERRITORIES[(at + replica) % 2] as string,
          actor: `rep_${replica}`,
          action: 'used',
          subject: `${round} ${at}`,
        }));
        await db.transaction().execute((transaction) => audit.appendAll(transaction, batch));
        const act = { territory: 'ter_a', actor: `rep_${replica}`, action: 'revokeKey', subject: `key_${round}` };
        await db.transaction().execute((transaction) => audit.append(transaction, act));
      }
    };
    await Promise.all(replicas.map(write));
    const { db } = replicas[0] as OpenDatabase;
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 2 * 10 * 21 });
    expect(await audit.verify('ter_b')).toMatchObject({ intact: true, entries: 2 * 10 * 20 });
  });

  test('a batch that fails in its middle leaves none of it', async () => {
    const { db, audit, append } = await setUp();
    await append('ter_a', 'key_0');
    const good = { territory: 'ter_a', actor: 'key_s', action: 'used', subject: 's' };
    const many = Array.from({ length: 600 }, () => good);
    const unknown = { ...good, territory: 'ter_unknown' };
    for (const events of [
      [...many, { ...good, subject: 'x'.repeat(500) }],
      [...many, unknown],
    ]) {
      await expect(
        db.transaction().execute((transaction) => audit.appendAll(transaction, events)),
      ).rejects.toBeDefined();
    }
    expect(await audit.verify('ter_a')).toMatchObject({ intact: true, entries: 1 });
  });

  test('the pace of appends is measured on entries that are there and chained', async () => {
    const { database } = await setUp();
    const pace = await measureAppends(database, nodeCrypto, { territory: 'ter_a', entries: 300, batch: 128 });
    expect(pace).toMatchObject({ entries: 300, batch: 128 });
    expect(pace.perSecond).toBeGreaterThan(0);
  });

  test.each<[string, object]>([
    ...Object.entries(SECRET_PREFIXES).map(([kind, prefix]): [string, object] => [
      `a secret (${kind})`,
      { note: `for ada: ${prefix}${'a'.repeat(52)}` },
    ]),
    ['a long text', { prompt: 'x'.repeat(300) }],
    ['many fields', Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`f${index}`, index]))],
  ])('details that hold %s are refused', async (_, details) => {
    const { append } = await setUp();
    await expect(append('ter_a', 'key_1', details)).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test.each(Object.entries(SECRET_PREFIXES))(
    'an entry on what is named like a secret (%s) is refused',
    async (_, prefix) => {
      const { append } = await setUp();
      const subject = prefix + 'a'.repeat(52);
      await expect(append('ter_a', subject)).rejects.toMatchObject({ code: 'invalid_request' });
    },
  );
});
