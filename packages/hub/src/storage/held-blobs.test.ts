/** Claims about what a territory may have of bytes that all territories of a hub share. */
import { createMemoryBlobStore, layoutFile, type FileLayout } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { testDatabases } from '../testing/databases.ts';
import { createHeldBlobs, type HeldBlobs } from './held-blobs.ts';
import { addTerritories } from '../testing/territories.ts';

interface File {
  readonly layout: FileLayout;
  readonly nodes: Awaited<ReturnType<typeof layoutFile>>['nodes'];
  readonly leaf: (index: number) => Uint8Array;
}

async function fileOf(bytes: Uint8Array): Promise<File> {
  const { layout, nodes } = await layoutFile([bytes], nodeCrypto);
  const starts: number[] = [];
  let at = 0;
  for (const leaf of layout.leaves) {
    starts.push(at);
    at += leaf.bytes;
  }
  const leaf = (index: number): Uint8Array =>
    bytes.subarray(starts[index], (starts[index] ?? 0) + (layout.leaves[index]?.bytes ?? 0));
  return { layout, nodes, leaf };
}

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const { db } = await open();
    const names = ['ter_a', 'ter_b'];
    await addTerritories(db, ...names);
    const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 26 });
    const ofModels: Record<string, Set<string>> = { ter_a: new Set(), ter_b: new Set() };
    const viewOf = (territory: string): HeldBlobs =>
      createHeldBlobs({
        db,
        territory,
        store,
        crypto: nodeCrypto,
        isOfModel: (cid) => ofModels[territory]?.has(cid) ?? false,
      });
    const random = createSeededRandom(4);
    return { db, store, ofModels, a: viewOf('ter_a'), again: () => viewOf('ter_a'), b: viewOf('ter_b'), random };
  }
  async function bring(view: HeldBlobs, { layout, nodes, leaf }: File): Promise<void> {
    for (const { cid, bytes } of nodes) await view.put(cid, bytes);
    const assembly = await view.assemble(layout);
    for (const index of assembly.missing()) await assembly.write(index, leaf(index));
    await assembly.finish();
  }
  const LEAF = 1_048_576;

  test('what one brought the other neither has, nor gets, nor is told to be there', async () => {
    const { a, b, random, store } = await setUp();
    const file = await fileOf(random.bytes(2 * LEAF + 10));
    await bring(a, file);
    const { root, leaves } = file.layout;
    const blocks = [root, ...leaves.map(({ cid }) => cid)];
    for (const cid of blocks) expect(await a.get(cid), cid.toString()).toEqual(await store.get(cid));
    expect([await a.hasFile(root), await b.hasFile(root)]).toEqual([true, false]);
    for (const cid of blocks) expect(await b.get(cid), cid.toString()).toBeUndefined();
    expect(await b.takenBy(root)).toBe(0);
    const assembly = await b.assemble(file.layout);
    expect(assembly.missing()).toEqual([0, 1, 2]);
    expect(await assembly.read(0)).toBeUndefined();
  });

  test('who brings every byte of what is there has it, and it takes no more room; who lacks one does not', async () => {
    const { a, b, random, store } = await setUp();
    const file = await fileOf(random.bytes(2 * LEAF));
    await bring(a, file);
    const before = await store.usage();
    const assembly = await b.assemble(file.layout);
    await assembly.write(0, file.leaf(0));
    await expect(assembly.write(1, file.leaf(0))).rejects.toMatchObject({ code: 'blob_mismatch' });
    await expect(assembly.finish()).rejects.toMatchObject({ code: 'blob_not_found' });
    expect([await b.hasFile(file.layout.root), assembly.missing()]).toEqual([false, [1]]);
    await assembly.write(1, file.leaf(1));
    await assembly.finish();
    expect(await b.hasFile(file.layout.root)).toBe(true);
    expect(await store.usage()).toEqual(before);
  });

  test('a file of leaves that another brought in other files has to be brought all the same', async () => {
    const { a, b, random } = await setUp();
    const secret = random.bytes(LEAF);
    await bring(a, await fileOf(Buffer.concat([secret, random.bytes(LEAF)])));
    const crafted = await fileOf(Buffer.concat([random.bytes(LEAF), secret]));
    expect((await b.assemble(crafted.layout)).missing()).toEqual([0, 1]);
    expect(await b.get(crafted.layout.leaves[1]?.cid as never)).toBeUndefined();
  });

  test('a block put is had by who put it; one that lies is had by nobody', async () => {
    const { a, b, random } = await setUp();
    const { layout, leaf } = await fileOf(random.bytes(100));
    await expect(b.put(layout.root, random.bytes(100))).rejects.toMatchObject({ code: 'blob_mismatch' });
    await a.put(layout.root, leaf(0));
    await expect(b.put(layout.root, random.bytes(100))).rejects.toMatchObject({ code: 'blob_mismatch' });
    expect([await a.get(layout.root), await b.get(layout.root)]).toEqual([leaf(0), undefined]);
  });

  test('an upload goes on where it stopped, after a restart and at another replica', async () => {
    const { a, again, random } = await setUp();
    const file = await fileOf(random.bytes(3 * LEAF));
    for (const { cid, bytes } of file.nodes) await a.put(cid, bytes);
    await (await a.assemble(file.layout)).write(1, file.leaf(1));
    const next = again();
    expect(await next.takenBy(file.layout.root)).toBe(3 * LEAF);
    const assembly = await next.assemble(file.layout);
    expect(assembly.missing()).toEqual([0, 2]);
    const beside = await a.assemble(file.layout);
    await beside.write(0, file.leaf(0));
    await assembly.write(2, file.leaf(2));
    await assembly.finish();
    expect(await a.hasFile(file.layout.root)).toBe(true);
  });

  test('a model says what it consists of, so what was brought for it is remembered no longer', async () => {
    const { a, db, ofModels, random } = await setUp();
    const file = await fileOf(random.bytes(LEAF + 1));
    await bring(a, file);
    const cids = [file.layout.root, ...file.layout.leaves.map(({ cid }) => cid)].map(String);
    for (const cid of cids) ofModels['ter_a']?.add(cid);
    await a.settle();
    const left = await db.selectFrom('held_blobs').select('cid').where('territory_id', '=', 'ter_a').execute();
    expect(left).toEqual([]);
    expect(await a.hasFile(file.layout.root)).toBe(true);
    ofModels['ter_a']?.clear();
    expect(await a.hasFile(file.layout.root)).toBe(false);
  });
});
