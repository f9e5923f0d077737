import { LIMITS, RAW, cidOf, layoutFile, storeFile, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { blobStoreConformance, createSeededRandom } from '@idlewild/protocol/testing';
import { afterAll, describe, expect, test } from 'vitest';
import { openPostgres } from '../db/open-postgres.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { sharedPostgres } from '../testing/shared-postgres.ts';
import { createDatabaseBlobStore } from './database-blob-store.ts';

const MIB = LIMITS.leafBytes;
const ROOMY = 64 * MIB;
const storeIn = (db: Database, quotaBytes = ROOMY): BlobStore =>
  createDatabaseBlobStore({ db, quotaBytes, crypto: nodeCrypto });

const postgres = await sharedPostgres();
const opened: OpenDatabase[] = [];
afterAll(async () => {
  for (const database of opened) await database.close();
  await postgres?.stop();
});
const kept = async (opening: Promise<OpenDatabase>): Promise<Database> => {
  opened.push(await opening);
  return (await opening).db;
};
const databases: { name: string; open(): Promise<Database> }[] = [
  { name: 'SQLite', open: () => kept(openDatabase({ file: ':memory:', clock: systemClock })) },
];
if (postgres !== undefined)
  databases.push({
    name: 'PostgreSQL',
    open: async () => kept(openPostgres({ url: await postgres.createDatabase(), clock: systemClock })),
  });

describe.each(databases)('on $name', ({ open }) => {
  const known = new WeakMap<BlobStore, { db: Database; quotaBytes: number }>();
  const remembered = (db: Database, quotaBytes: number): BlobStore => {
    const store = storeIn(db, quotaBytes);
    known.set(store, { db, quotaBytes });
    return store;
  };
  const claims = blobStoreConformance({
    crypto: nodeCrypto,
    open: async (quotaBytes) => remembered(await open(), quotaBytes),
    async reopen(store) {
      const { db, quotaBytes } = known.get(store) as { db: Database; quotaBytes: number };
      return remembered(db, quotaBytes);
    },
  });
  test.for(claims)('$claim', async ({ check }) => {
    await expect(check()).resolves.toBeUndefined();
  });

  const makeFile = async (seed: number, length: number) => {
    const bytes = createSeededRandom(seed).bytes(length);
    const { layout } = await layoutFile([bytes], nodeCrypto);
    return { bytes, layout, leaf: (index: number) => bytes.subarray(index * MIB, (index + 1) * MIB) };
  };

  test('two replicas put one file together, and either finishes it', async () => {
    const db = await open();
    const [left, right] = [storeIn(db), storeIn(db)];
    const file = await makeFile(30, 4 * MIB);
    const [one, other] = await Promise.all([left.assemble(file.layout), right.assemble(file.layout)]);
    await Promise.all([0, 1, 2].map((index) => one.write(index, file.leaf(index))));
    await Promise.all([2, 1].map((index) => other.write(index, file.leaf(index))));
    await expect(other.finish()).rejects.toMatchObject({ code: 'blob_not_found' });
    expect(other.missing()).toEqual([3]);
    await other.write(3, file.leaf(3));
    await Promise.all([one.finish(), other.finish()]);
    expect(await left.read(file.layout.root, 0, file.bytes.length)).toEqual(file.bytes);
    expect((await right.assemble(file.layout)).missing()).toEqual([]);
  });

  test('the same block from two replicas at once is there once and counted once', async () => {
    const db = await open();
    const bytes = createSeededRandom(31).bytes(1_000);
    const cid = await cidOf(RAW, bytes, nodeCrypto);
    await Promise.all([1, 2, 3, 4].map(() => storeIn(db).put(cid, bytes)));
    expect((await storeIn(db).usage()).bytes).toBe(1_000);
  });

  test('the quota is one for all replicas', async () => {
    const db = await open();
    const files = await Promise.all([32, 33, 34].map((seed) => makeFile(seed, 2 * MIB)));
    const opened = await Promise.allSettled(files.map(({ layout }) => storeIn(db, 5 * MIB).assemble(layout)));
    expect(opened.map(({ status }) => status).sort()).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  });

  test('a file that another replica removed is refused to who still writes it, and leaves nothing', async () => {
    const db = await open();
    const [left, right] = [storeIn(db), storeIn(db)];
    const file = await makeFile(35, 3 * MIB);
    const assembly = await left.assemble(file.layout);
    await assembly.write(0, file.leaf(0));
    await Promise.all([right.remove(file.layout.root), assembly.write(1, file.leaf(1)).catch(() => undefined)]);
    await expect(assembly.write(2, file.leaf(2))).rejects.toMatchObject({ code: 'blob_not_found' });
    await expect(assembly.finish()).rejects.toMatchObject({ code: 'blob_not_found' });
    expect(await db.selectFrom('blobs').select('cid').execute()).toEqual([]);
    expect((await left.usage()).bytes).toBe(0);
    const again = await left.assemble(file.layout);
    expect(again.missing()).toEqual([0, 1, 2]);
  });

  test('a block that was damaged in the database is not given, and uploading its file again repairs it', async () => {
    const db = await open();
    const store = storeIn(db);
    const file = await makeFile(36, 3 * MIB);
    await storeFile(store, () => [file.bytes], nodeCrypto);
    const { root, leaves } = file.layout;
    const hit = leaves[1]?.cid as (typeof leaves)[number]['cid'];
    await db
      .updateTable('blobs')
      .set({ bytes: createSeededRandom(1).bytes(MIB) })
      .where('cid', '=', hit.toString())
      .execute();
    await expect(store.read(root, MIB, 9)).rejects.toMatchObject({ code: 'blob_not_found' });
    expect([await store.hasFile(root), await store.get(hit)]).toEqual([false, undefined]);
    const assembly = await store.assemble(file.layout);
    expect(assembly.missing()).toEqual([1]);
    await assembly.write(1, file.leaf(1));
    await assembly.finish();
    expect(await store.read(root, 0, file.bytes.length)).toEqual(file.bytes);
  });
});
