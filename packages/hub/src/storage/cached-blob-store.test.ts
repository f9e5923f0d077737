import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LIMITS, RAW, cidOf, createMemoryBlobStore, storeFile, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { blobStoreConformance, createSeededRandom } from '@idlewild/protocol/testing';
import { afterAll, expect, test } from 'vitest';
import { silentLog } from '../log.ts';
import { openBlockCache, type BlockCache } from './block-cache.ts';
import { createCachedBlobStore } from './cached-blob-store.ts';

const MIB = LIMITS.leafBytes;
const home = mkdtempSync(join(tmpdir(), 'idlewild-cache-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));
const newFolder = (): string => mkdtempSync(join(home, 'cache-'));
const cacheIn = (folder: string, quotaBytes = 64 * MIB): Promise<BlockCache> =>
  openBlockCache({ folder, quotaBytes, crypto: nodeCrypto, log: silentLog });
const memory = (quotaBytes = 64 * MIB): BlobStore => createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes });

/** Counts the blocks that were asked of it. */
function counting(store: BlobStore): { store: BlobStore; gets(): number } {
  let gets = 0;
  const get: BlobStore['get'] = (cid) => {
    gets++;
    return store.get(cid);
  };
  return { store: { ...store, get }, gets: () => gets };
}

const shared = new WeakMap<BlobStore, { store: BlobStore; folder: string }>();
const opened = async (store: BlobStore, folder: string): Promise<BlobStore> => {
  // Smaller than most files of the suite, so that it evicts all the time.
  const cached = createCachedBlobStore(store, await cacheIn(folder, 2 * MIB));
  shared.set(cached, { store, folder });
  return cached;
};
const claims = blobStoreConformance({
  crypto: nodeCrypto,
  open: (quotaBytes) => opened(memory(quotaBytes), newFolder()),
  reopen(store) {
    const { store: inner, folder } = shared.get(store) as { store: BlobStore; folder: string };
    return opened(inner, folder);
  },
});
test.for(claims)('$claim', async ({ check }) => {
  await expect(check()).resolves.toBeUndefined();
});

const block = async (seed: number, length: number = MIB) => {
  const bytes = createSeededRandom(seed).bytes(length);
  return { bytes, cid: await cidOf(RAW, bytes, nodeCrypto) };
};
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

test('a block is carried over once, and is near after a restart', async () => {
  const inner = counting(memory());
  const { bytes, cid } = await block(1);
  await inner.store.put(cid, bytes);
  const folder = newFolder();
  const store = createCachedBlobStore(inner.store, await cacheIn(folder));
  expect(await store.get(cid)).toEqual(bytes);
  expect(await store.get(cid)).toEqual(bytes);
  expect(await createCachedBlobStore(inner.store, await cacheIn(folder)).get(cid)).toEqual(bytes);
  expect(inner.gets()).toBe(1);
});

test('a block that was damaged on the disk is fetched anew', async () => {
  const inner = counting(memory());
  const { bytes, cid } = await block(2);
  const folder = newFolder();
  const store = createCachedBlobStore(inner.store, await cacheIn(folder));
  await store.put(cid, bytes);
  const [file] = filesIn(folder) as [string];
  writeFileSync(file, createSeededRandom(3).bytes(MIB));
  expect(await store.get(cid)).toEqual(bytes);
  expect(await store.get(cid)).toEqual(bytes);
  expect(inner.gets()).toBe(1);
});

test('what was removed from the shared store by another replica is not given from the disk', async () => {
  const inner = memory();
  const { bytes, cid } = await block(4);
  const store = createCachedBlobStore(inner, await cacheIn(newFolder()));
  await store.put(cid, bytes);
  await inner.remove(cid);
  expect(await store.get(cid)).toBeUndefined();
});

test('the least recently used blocks go, and the disk never holds more than its quota', async () => {
  const folder = newFolder();
  const cache = await cacheIn(folder, 3 * MIB);
  const blocks = await Promise.all([5, 6, 7, 8].map((seed) => block(seed)));
  for (const { cid, bytes } of blocks.slice(0, 3)) await cache.keep(cid, bytes);
  await cache.get(blocks[0]?.cid as (typeof blocks)[number]['cid']);
  await cache.keep(blocks[3]?.cid as (typeof blocks)[number]['cid'], blocks[3]?.bytes as Uint8Array);
  const there = await Promise.all(blocks.map(async ({ cid }) => (await cache.get(cid)) !== undefined));
  expect(there).toEqual([true, false, true, true]);
  expect([cache.bytes(), filesIn(folder).length]).toEqual([3 * MIB, 3]);
  expect((await cacheIn(folder, MIB)).bytes()).toBe(MIB);
});

test('a disk that takes nothing makes no write fail', async () => {
  const folder = newFolder();
  const warned: string[] = [];
  const log = { ...silentLog, warn: (_: object, message: string) => warned.push(message) };
  const cache = await openBlockCache({ folder, quotaBytes: MIB, crypto: nodeCrypto, log });
  // Where a folder of blocks would be, there is a file; root writes through every permission.
  const { bytes, cid } = await block(9, 100);
  writeFileSync(join(folder, cid.toString().slice(-2)), '');
  const store = createCachedBlobStore(memory(), cache);
  await store.put(cid, bytes);
  expect(await store.get(cid)).toEqual(bytes);
  expect(warned.length).toBeGreaterThan(0);
  expect(cache.bytes()).toBe(0);
});

test('a file is read from the disk once its leaves have been there', async () => {
  const inner = counting(memory());
  const bytes = createSeededRandom(10).bytes(3 * MIB + 1);
  const { root } = await storeFile(inner.store, () => [bytes], nodeCrypto);
  const store = createCachedBlobStore(inner.store, await cacheIn(newFolder()));
  expect(await store.read(root, 0, bytes.length)).toEqual(bytes);
  const gets = inner.gets();
  expect(await store.read(root, MIB - 1, MIB)).toEqual(bytes.slice(MIB - 1, 2 * MIB - 1));
  expect(inner.gets()).toBe(gets);
});
