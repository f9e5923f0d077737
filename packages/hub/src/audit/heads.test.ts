/** Claims about heads of the audit log, with one signer and with several, and over a log that somebody has changed. */
import {
  IdlewildError,
  copyLines,
  openAuditHead,
  signStatement,
  verifyConsistency,
  verifyCopy,
  verifyEntryProof,
  entryProofJson,
  idOfKey,
  type AuditRecord,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { silentLog } from '../log.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import type { Duty } from '../replicas/port.ts';
import { testDatabases } from '../testing/databases.ts';
import { createAudit } from './audit.ts';
import { createAuditHeads } from './heads.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { createAuditProofs } from './proofs.ts';

const HOUR_MS = 3_600_000;
const random = createSeededRandom(3);
const territoryKey = await nodeCrypto.signingKey(random.bytes(32));
const hubKey = await nodeCrypto.signingKey(random.bytes(32));
const territory = { id: await idOfKey('ter', territoryKey.publicKey, nodeCrypto), publicKey: territoryKey.publicKey };
const certificate = await signStatement(
  'hub-certificate',
  { v: 1, territory: territory.publicKey, hub: hubKey.publicKey, issuedAtMs: 0, expiresAtMs: 4_000_000_000_000 },
  territoryKey,
  nodeCrypto,
);
const owner = { id: territory.id, key: territory.publicKey };

/** A duty that a test gives and takes; `fenced` is as strict as the real one, whose own tests are elsewhere. */
function createTestDuty(database: OpenDatabase): Duty & { give(epoch: number): void; take(): void } {
  let epoch = 0;
  let isMine = false;
  let isLost = false;
  return {
    isMine: () => isMine,
    epoch: () => epoch,
    fenced: (act) =>
      database.db.transaction().execute(async (transaction) => {
        if (isLost) throw new IdlewildError('duty_lost', 'the duty is another’s');
        return act(transaction);
      }),
    onChange: () => {},
    give(next) {
      epoch = next;
      isMine = true;
      isLost = false;
    },
    /** It believes that it is its own still, as a process does that was stopped. */
    take() {
      isLost = true;
    },
  };
}

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const database = await open(clock);
    const { db } = database;
    const row = { id: territory.id, name: 'home', public_key: territory.publicKey, created_at_ms: 0 };
    await db
      .insertInto('territories')
      .values([row, { ...row, id: 'ter_other' }])
      .execute();
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    const append = (count: number, from = 0, of = territory.id): Promise<void> =>
      db.transaction().execute((transaction) =>
        audit.appendAll(
          transaction,
          Array.from({ length: count }, (_, at) => ({
            territory: of,
            actor: 'key_s',
            action: 'revokeKey',
            subject: `key_${from + at}`,
          })),
        ),
      );
    const signer = (epoch: number, key = hubKey) => {
      const duty = createTestDuty(database);
      duty.give(epoch);
      const common = { db, clock, crypto: nodeCrypto, log: silentLog, territory, certificate: () => certificate };
      const heads = createAuditHeads({ ...common, hubKey: key, duty });
      return { duty, heads, proofs: createAuditProofs({ db, crypto: nodeCrypto, heads, territory }) };
    };
    const copy = async (): Promise<string[]> => {
      const lines: string[] = [];
      const entries = (async function* (): AsyncGenerator<AuditRecord> {
        for (let afterSeq = 0; ;) {
          const page = await audit.records({ territory: territory.id, afterSeq });
          yield* page;
          if (page.length === 0) return;
          afterSeq += page.length;
        }
      })();
      const { heads } = signer(0);
      for await (const line of copyLines({ owner, heads: await heads.list(), entries })) lines.push(line);
      return lines;
    };
    return { clock, db, audit, append, signer, copy };
  }

  test('a head is signed when something was added, on time and at the end, and the copy verifies', async () => {
    const { clock, append, signer, copy } = await setUp();
    await append(3);
    const { heads } = signer(1);
    expect(await heads.newest()).toBeUndefined();
    expect(await heads.write()).toBe(3);
    expect(await heads.write()).toBeUndefined();
    await append(2, 3);
    await clock.advance(AUDIT_LIMITS.headMs);
    await expect.poll(async () => (await heads.newest())?.size).toBe(5);
    await append(1, 5);
    await heads.stop();
    expect((await heads.list()).map(({ size }) => size)).toEqual([3, 5, 6]);
    const head = await openAuditHead((await heads.newest()) as never, territory.publicKey, nodeCrypto);
    expect(head).toMatchObject({ size: 6, epoch: 1, hub: hubKey.publicKey });
    expect(await verifyCopy(await copy(), nodeCrypto)).toMatchObject({ intact: true, entries: 6, heads: 3 });
  });

  test('roots over the nodes that are kept are those of the whole log, and proofs from them verify', async () => {
    const { append, signer, copy, db } = await setUp();
    const { heads, proofs } = signer(1);
    for (const [count, from] of [
      [255, 0],
      [1, 255],
      [300, 256],
      [100, 556],
    ] as const) {
      await append(count, from);
      await append(7, from, 'ter_other');
      await heads.write();
    }
    expect(await verifyCopy(await copy(), nodeCrypto)).toMatchObject({ intact: true, entries: 656, heads: 4 });
    const nodes = await db.selectFrom('audit_nodes').select(['territory_id', 'level', 'place']).execute();
    expect(nodes).toEqual([
      { territory_id: territory.id, level: 8, place: 0 },
      { territory_id: territory.id, level: 8, place: 1 },
    ]);
    for (const seq of [1, 2, 255, 256, 257, 512, 600, 656]) {
      const json: unknown = JSON.parse(JSON.stringify(entryProofJson(await proofs.entry(seq))));
      expect(await verifyEntryProof(json, nodeCrypto, territory.id)).toMatchObject({ entry: { seq } });
    }
    const all = await heads.list();
    for (const older of all) {
      const first = await openAuditHead(older, territory.publicKey, nodeCrypto);
      const { head, path } = await proofs.growth(first.size);
      const claim = { first: first.size, firstRoot: first.root, second: head.size, secondRoot: head.root, path };
      expect(await verifyConsistency(claim, nodeCrypto)).toBe(true);
    }
    await expect(proofs.entry(657)).rejects.toMatchObject({ code: 'not_found' });
    await expect(proofs.growth(657)).rejects.toMatchObject({ code: 'not_found' });
  });

  test('a log that is long before its first head is signed piece by piece, soon after each other', async () => {
    const { clock, append, signer, copy } = await setUp();
    const { heads } = signer(1);
    const pieces = 2 * AUDIT_LIMITS.headEntriesMax + 5;
    await append(pieces);
    await clock.advance(AUDIT_LIMITS.headMs);
    for (let piece = 1; piece <= 3; piece++) {
      const size = Math.min(piece * AUDIT_LIMITS.headEntriesMax, pieces);
      await expect.poll(async () => (await heads.newest())?.size).toBe(size);
      // What follows from a head is due only when its promise has been heard of.
      await yieldToNode();
      await clock.advance(AUDIT_LIMITS.headNextMs);
    }
    expect(await verifyCopy(await copy(), nodeCrypto)).toMatchObject({ intact: true, entries: pieces, heads: 3 });
  });

  test('who lost the duty writes nothing, and who has it next signs under a later epoch', async () => {
    const { append, signer } = await setUp();
    const [first, second] = [signer(1), signer(2)];
    await append(1);
    await first.heads.write();
    first.duty.take();
    await append(1, 1);
    expect(await first.heads.write()).toBeUndefined();
    expect(first.heads.fault()).toBeUndefined();
    expect(await second.heads.write()).toBe(2);
    await append(1, 2);
    await first.heads.stop();
    const epochs = async (): Promise<unknown> =>
      Promise.all(
        (await second.heads.list()).map(async (head) => {
          const { size, epoch } = await openAuditHead(head, territory.publicKey, nodeCrypto);
          return [size, epoch];
        }),
      );
    expect(await epochs()).toEqual([
      [1, 1],
      [2, 2],
    ]);
    // Where the territory was moved to, duties begin at one again; the log's epochs do not.
    const moved = signer(1);
    await moved.heads.write();
    expect(await epochs()).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  test.each([
    ['changed', { subject: 'key_x' }],
    ['put another in its place', { hash: new Uint8Array(32) }],
  ])('a hub signs nothing over a log in which somebody %s', async (_, change) => {
    const { append, signer, db } = await setUp();
    const { heads } = signer(1);
    await append(4);
    await heads.write();
    const at = (seq: number) => db.updateTable('audit').where('territory_id', '=', territory.id).where('seq', '=', seq);
    await append(2, 4);
    const was = await db
      .selectFrom('audit')
      .selectAll()
      .where('territory_id', '=', territory.id)
      .where('seq', '=', 5)
      .executeTakeFirstOrThrow();
    await at(5).set(change).execute();
    expect(await heads.write()).toBeUndefined();
    expect(heads.fault()).toContain('entry 5 was changed');
    await at(5).set(was).execute();
    expect(await heads.write()).toBe(6);
    expect(heads.fault()).toBeUndefined();
  });

  test('nor over one whose beginning was written anew, or whose end is gone', async () => {
    const { append, signer, db, audit } = await setUp();
    const { heads, proofs } = signer(1);
    await append(4);
    await heads.write();
    await db.deleteFrom('audit').where('territory_id', '=', territory.id).execute();
    await append(6, 100);
    expect(await audit.verify(territory.id)).toMatchObject({ intact: true });
    expect(await heads.write()).toBeUndefined();
    expect(heads.fault()).toContain('its first 4 entries');
    await db.deleteFrom('audit').where('territory_id', '=', territory.id).where('seq', '>', 2).execute();
    expect(await heads.write()).toBeUndefined();
    expect(heads.fault()).toContain('its first 4 entries');
    await expect(proofs.growth(1)).rejects.toMatchObject({ code: 'data_corrupt' });
  });

  test('a head that cannot be written leaves nothing behind', async () => {
    const { append, signer, db } = await setUp();
    const wrong = signer(1, { publicKey: hubKey.publicKey, privateKey: new Uint8Array(3) });
    await append(300);
    expect(await wrong.heads.write()).toBeUndefined();
    expect(wrong.heads.fault()).toBeUndefined();
    expect(await db.selectFrom('audit_nodes').selectAll().execute()).toEqual([]);
    expect(await db.selectFrom('audit_heads').selectAll().execute()).toEqual([]);
    expect(await signer(1).heads.write()).toBe(300);
  });
});

test('of old heads the last of each hour stays, and after a week the last of each day', async () => {
  const fake = createFakeClock(async () => {});
  // Signs when it is told to, not every few seconds of nine days.
  const clock = { ...fake, after: () => ({ cancel: () => {} }) };
  const { db, close } = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  await db
    .insertInto('territories')
    .values({ id: territory.id, name: 'home', public_key: territory.publicKey, created_at_ms: 0 })
    .execute();
  const audit = createAudit({ db, crypto: nodeCrypto, clock });
  const duty = createTestDuty({ db } as OpenDatabase);
  duty.give(1);
  const common = { db, clock, crypto: nodeCrypto, log: silentLog, territory, certificate: () => certificate, hubKey };
  const heads = createAuditHeads({ ...common, duty });
  const startMs = clock.now();
  for (let at = 0; at < 4 * 24 * 9; at++) {
    const event = { territory: territory.id, actor: 'hub', action: 'touch', subject: `s${at}` };
    await db.transaction().execute((transaction) => audit.append(transaction, event));
    await heads.write();
    await fake.advance(HOUR_MS / 4);
  }
  const kept = (await db.selectFrom('audit_heads').select('at_ms').orderBy('size').execute()).map(({ at_ms }) => at_ms);
  const ageHours = (ms: number): number => (clock.now() - ms) / HOUR_MS;
  expect(kept.filter((ms) => ageHours(ms) > 8 * 24).length).toBeLessThanOrEqual(2);
  expect(kept.filter((ms) => ageHours(ms) > 2 && ageHours(ms) < 7 * 24)).toHaveLength(7 * 24 - 2);
  expect(kept.filter((ms) => ageHours(ms) <= 1).length).toBeGreaterThanOrEqual(4);
  expect(kept[0]).toBeLessThan(startMs + 24 * HOUR_MS);
  await close();
});
