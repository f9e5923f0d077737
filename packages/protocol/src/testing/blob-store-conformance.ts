/**
 * What every `BlobStore` must do, as claims that any test runner can run:
 *
 *   test.for(blobStoreConformance(harness))('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());
 *
 * It binds to no runner, so that a browser's store can be held to it too.
 */
import * as dagPb from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import type { CID } from 'multiformats/cid';
import { DAG_PB, RAW } from '../blobs/block.ts';
import { layoutFile } from '../blobs/unixfs.ts';
import { concat, equalBytes, utf8 } from '../bytes.ts';
import { codeOf, type ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { cidOf } from '../manifest.ts';
import type { BlobStore, Crypto, FileLayout } from '../ports.ts';
import { createSeededRandom } from './seeded-random.ts';

export interface BlobStoreHarness {
  readonly crypto: Crypto;
  /** A new, empty store. */
  open(quotaBytes: number): Promise<BlobStore>;
  /** The same store as after a restart of its process; a store that forgets everything gives itself back. */
  reopen(store: BlobStore): Promise<BlobStore>;
}

export interface Claim {
  readonly claim: string;
  check(): Promise<void>;
}

const MIB = LIMITS.leafBytes;
const ROOMY = 64 * MIB;

function same(seen: unknown, expected: unknown, what: string): void {
  const [left, right] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (left !== right) throw new Error(`${what}: expected ${right}, saw ${left}`);
}

function sameBytes(seen: Uint8Array | undefined, expected: Uint8Array, what: string): void {
  if (seen === undefined || !equalBytes(seen, expected)) {
    throw new Error(`${what}: the bytes differ (${seen?.length} for ${expected.length})`);
  }
}

async function refuses(act: () => Promise<unknown>, code: ErrorCode, what: string): Promise<void> {
  let seen: unknown = 'nothing thrown';
  try {
    await act();
  } catch (error) {
    seen = codeOf(error) ?? String(error);
  }
  same(seen, code, what);
}

interface TestFile {
  readonly bytes: Uint8Array;
  readonly layout: FileLayout;
  leaf(index: number): Uint8Array;
}

async function asFile(bytes: Uint8Array, crypto: Crypto): Promise<TestFile> {
  const { layout } = await layoutFile([bytes], crypto);
  return { bytes, layout, leaf: (index) => bytes.subarray(index * MIB, (index + 1) * MIB) };
}

const makeFile = (seed: number, length: number, crypto: Crypto): Promise<TestFile> =>
  asFile(createSeededRandom(seed).bytes(length), crypto);

async function writeAll(store: BlobStore, file: TestFile): Promise<void> {
  const assembly = await store.assemble(file.layout);
  for (const index of assembly.missing()) await assembly.write(index, file.leaf(index));
  await assembly.finish();
}

const leafCid = (file: TestFile, index: number): CID => (file.layout.leaves[index] as FileLayout['leaves'][number]).cid;

/** All claims. Each opens stores of its own. */
export const blobStoreConformance = (harness: BlobStoreHarness): Claim[] => [
  ...blockClaims(harness),
  ...fileClaims(harness),
  ...sharingClaims(harness),
  ...quotaClaims(harness),
  ...hostileClaims(harness),
];

const blockClaims = ({ crypto, open, reopen }: BlobStoreHarness): Claim[] => [
  {
    claim: 'a block comes back as it was put, also after a restart, until it is removed',
    async check() {
      const store = await open(ROOMY);
      const bytes = utf8('a block');
      const cid = await cidOf(0x71, bytes, crypto);
      same(await store.get(cid), undefined, 'before');
      await store.put(cid, bytes);
      await store.put(cid, bytes);
      same((await store.usage()).bytes, bytes.length, 'a block put twice is counted once');
      const again = await reopen(store);
      sameBytes(await again.get(cid), bytes, 'after a restart');
      same(await again.has(cid), true, 'has');
      await again.remove(cid);
      same([await again.has(cid), (await again.usage()).bytes], [false, 0], 'after removal');
    },
  },
  {
    claim: 'bytes that do not match their CID, oversized blocks and foreign CIDs are refused',
    async check() {
      const store = await open(ROOMY);
      const cid = await cidOf(RAW, utf8('truth'), crypto);
      await refuses(() => store.put(cid, utf8('lie')), 'blob_mismatch', 'wrong bytes');
      const large = new Uint8Array(LIMITS.blockBytesMax + 1);
      await refuses(async () => store.put(await cidOf(RAW, large, crypto), large), 'blob_too_large', 'a large block');
      const v0 = (await cidOf(DAG_PB, utf8('old'), crypto)).toV0();
      await refuses(() => store.put(v0, utf8('old')), 'blob_invalid', 'a CIDv0');
      same([await store.has(cid), (await store.usage()).bytes], [false, 0], 'nothing was kept');
    },
  },
  {
    claim: 'what a caller does to bytes it gave or got changes nothing in the store',
    async check() {
      const store = await open(ROOMY);
      const bytes = utf8('do not touch');
      const cid = await cidOf(RAW, bytes, crypto);
      const given = bytes.slice();
      await store.put(cid, given);
      given.fill(0);
      (await store.get(cid))?.fill(0);
      sameBytes(await store.get(cid), bytes, 'the block');
    },
  },
];

const fileClaims = ({ crypto, open, reopen }: BlobStoreHarness): Claim[] => [
  {
    claim: 'a file is there once it is finished, its leaves and nodes as blocks and any range of it',
    async check() {
      const store = await open(ROOMY);
      const file = await makeFile(1, 3 * MIB + 5, crypto);
      await writeAll(store, file);
      for (const opened of [store, await reopen(store)]) {
        same(await opened.hasFile(file.layout.root), true, 'hasFile');
        sameBytes(await opened.get(leafCid(file, 3)), file.leaf(3), 'the last leaf');
        same((await opened.get(file.layout.root)) !== undefined, true, 'the root node');
        const { root, bytes: end } = file.layout;
        for (const [from, to] of [
          [0, 0],
          [0, 9],
          [MIB - 3, MIB + 3],
          [MIB, 2 * MIB],
          [5, end],
          [end, end],
        ] as const) {
          sameBytes(await opened.read(root, from, to - from), file.bytes.slice(from, to), `bytes ${from} to ${to}`);
        }
        for (const [offset, length] of [
          [-1, 2],
          [0, -1],
          [0, end + 1],
          [end + 1, 0],
          [0.5, 1],
        ] as const) {
          await refuses(() => opened.read(root, offset, length), 'invalid_request', `${length} bytes at ${offset}`);
        }
      }
    },
  },
  {
    claim: 'empty files and files of one leaf are files like any other',
    async check() {
      for (const length of [0, 1, MIB]) {
        const store = await open(ROOMY);
        const file = await makeFile(2, length, crypto);
        await writeAll(store, file);
        const again = await reopen(store);
        sameBytes(await again.read(file.layout.root, 0, length), file.bytes, `a file of ${length} bytes`);
        sameBytes(await again.get(file.layout.root), file.bytes, 'its only leaf');
        same((await again.usage()).bytes, length, 'usage');
      }
    },
  },
  {
    claim: 'an interrupted file goes on where it stopped and serves nothing before it is finished',
    async check() {
      const store = await open(ROOMY);
      const file = await makeFile(3, 4 * MIB + 1, crypto);
      const assembly = await store.assemble(file.layout);
      same(assembly.missing(), [0, 1, 2, 3, 4], 'all missing at first');
      for (const index of [4, 1]) await assembly.write(index, file.leaf(index));
      const again = await reopen(store);
      same([await again.hasFile(file.layout.root), await again.has(leafCid(file, 1))], [false, false], 'unfinished');
      same(await again.takenBy(file.layout.root), file.bytes.length, 'bytes of the quota, finished or not');
      await refuses(() => again.read(file.layout.root, 0, 1), 'blob_not_found', 'reading an unfinished file');
      const resumed = await again.assemble(file.layout);
      same(resumed.missing(), [0, 2, 3], 'what is missing after the restart');
      sameBytes(await resumed.read(4), file.leaf(4), 'a leaf that is there, read from the assembly');
      same([await resumed.read(0), await resumed.read(5)], [undefined, undefined], 'leaves that are not there');
      await refuses(() => resumed.finish(), 'blob_not_found', 'finishing with leaves missing');
      await writeAll(again, file);
      sameBytes(await again.read(file.layout.root, 0, file.bytes.length), file.bytes, 'the file');
      const done = await again.assemble(file.layout);
      same(done.missing(), [], 'a finished file misses nothing');
      sameBytes(await done.read(1), file.leaf(1), 'a leaf of a finished file, read from its assembly');
      await done.finish();
    },
  },
  {
    claim: 'a leaf that does not match is refused and stays missing',
    async check() {
      const store = await open(ROOMY);
      const file = await makeFile(4, 2 * MIB, crypto);
      const assembly = await store.assemble(file.layout);
      await refuses(() => assembly.write(0, file.leaf(1)), 'blob_mismatch', 'another leaf');
      await refuses(() => assembly.write(0, file.leaf(0).subarray(1)), 'blob_mismatch', 'a short leaf');
      await refuses(() => assembly.write(2, file.leaf(0)), 'invalid_request', 'a leaf past the end');
      same(assembly.missing(), [0, 1], 'missing');
    },
  },
  {
    claim: 'a removed file is gone with its nodes, and its assembly changes nothing any more',
    async check() {
      const store = await open(ROOMY);
      const file = await makeFile(5, 2 * MIB, crypto);
      await writeAll(store, file);
      await store.remove(file.layout.root);
      same(await store.hasFile(file.layout.root), false, 'the file');
      same([await store.has(leafCid(file, 0)), await store.has(file.layout.root)], [false, false], 'its blocks');
      const assembly = await store.assemble(file.layout);
      await assembly.write(0, file.leaf(0));
      await store.remove(file.layout.root);
      await refuses(() => assembly.write(1, file.leaf(1)), 'blob_not_found', 'writing to a removed file');
      await refuses(() => assembly.finish(), 'blob_not_found', 'finishing a removed file');
      same((await store.usage()).bytes, 0, 'usage');
    },
  },
];

const sharingClaims = ({ crypto, open }: BlobStoreHarness): Claim[] => [
  {
    claim: 'leaves that a finished file holds are taken from there, and outlive it in the other file',
    async check() {
      const store = await open(ROOMY);
      const first = await makeFile(6, 3 * MIB, crypto);
      const bytes = concat([first.leaf(2), createSeededRandom(7).bytes(MIB), first.leaf(0)]);
      const second = await asFile(bytes, crypto);
      await writeAll(store, first);
      const assembly = await store.assemble(second.layout);
      same(assembly.missing(), [1], 'only the new leaf is missing');
      await assembly.write(1, second.leaf(1));
      await assembly.finish();
      await store.remove(first.layout.root);
      sameBytes(await store.get(leafCid(first, 0)), first.leaf(0), 'a leaf that both files held');
      same(await store.has(leafCid(first, 1)), false, 'a leaf that only the removed file held');
      sameBytes(await store.read(second.layout.root, 0, bytes.length), bytes, 'the second file');
    },
  },
  {
    claim: 'two assemblies of one file at once share it',
    async check() {
      const store = await open(ROOMY);
      const file = await makeFile(8, 3 * MIB, crypto);
      const [left, right] = await Promise.all([store.assemble(file.layout), store.assemble(file.layout)]);
      await Promise.all([left.write(0, file.leaf(0)), right.write(0, file.leaf(0)), right.write(1, file.leaf(1))]);
      same([left.missing(), right.missing()], [[2], [2]], 'missing');
      await left.write(2, file.leaf(2));
      await Promise.all([left.finish(), right.finish()]);
      await right.finish();
      sameBytes(await store.read(file.layout.root, 0, file.bytes.length), file.bytes, 'the file');
    },
  },
  {
    claim: 'a leaf that repeats in a file is read at each of its places',
    async check() {
      const store = await open(ROOMY);
      const bytes = new Uint8Array(3 * MIB + 7);
      const file = await asFile(bytes, crypto);
      await writeAll(store, file);
      sameBytes(await store.read(file.layout.root, 0, bytes.length), bytes, 'the file');
      await store.remove(file.layout.root);
      same((await store.usage()).bytes, 0, 'usage');
    },
  },
];

const quotaClaims = ({ crypto, open }: BlobStoreHarness): Claim[] => [
  {
    claim: 'what does not fit the quota is refused before a byte of it is written',
    async check() {
      const store = await open(2 * MIB);
      const file = await makeFile(9, 3 * MIB, crypto);
      await refuses(() => store.assemble(file.layout), 'quota_exceeded', 'a file of 3 MiB');
      same((await store.usage()).bytes, 0, 'usage after the refusal');
      const fits = await makeFile(10, MIB + 1, crypto);
      await writeAll(store, fits);
      const block = createSeededRandom(11).bytes(MIB);
      const cid = await cidOf(RAW, block, crypto);
      await refuses(() => store.put(cid, block), 'quota_exceeded', 'a block beside it');
      await store.remove(fits.layout.root);
      await store.put(cid, block);
      same((await store.usage()).bytes, MIB, 'usage');
    },
  },
  {
    claim: 'an open assembly holds its share of the quota until it is removed',
    async check() {
      const store = await open(3 * MIB);
      const file = await makeFile(12, 2 * MIB, crypto);
      await store.assemble(file.layout);
      const other = await makeFile(13, 2 * MIB, crypto);
      await refuses(() => store.assemble(other.layout), 'quota_exceeded', 'a second file');
      await store.remove(file.layout.root);
      await writeAll(store, other);
    },
  },
];

const hostileClaims = ({ crypto, open }: BlobStoreHarness): Claim[] => [
  {
    claim: 'a layout that is not the tree of its root is refused',
    async check() {
      const store = await open(ROOMY);
      const { layout } = await makeFile(14, 2 * MIB, crypto);
      const [first, second] = layout.leaves as [FileLayout['leaves'][number], FileLayout['leaves'][number]];
      const hostile: [string, FileLayout, ErrorCode][] = [
        ['no leaves', { ...layout, bytes: 0, leaves: [] }, 'blob_invalid'],
        ['a wrong sum', { ...layout, bytes: layout.bytes + 1 }, 'blob_invalid'],
        ['a negative leaf', { ...layout, bytes: 1, leaves: [{ ...first, bytes: -1 }, second] }, 'blob_invalid'],
        ['a huge leaf', { ...layout, bytes: 2 * MIB, leaves: [{ ...first, bytes: 2 * MIB }] }, 'blob_invalid'],
        ['a node as leaf', { ...layout, leaves: [first, { cid: layout.root, bytes: MIB }] }, 'blob_invalid'],
        ['a raw root of two leaves', { ...layout, root: first.cid }, 'blob_invalid'],
        // Cut otherwise than the profile, and its nodes, which alone could tell, are not here.
        ['leaves swapped', { ...layout, leaves: [second, first] }, 'blob_not_found'],
      ];
      for (const [name, wrong, code] of hostile) await refuses(() => store.assemble(wrong), code, name);
      same((await store.usage()).bytes, 0, 'usage');
    },
  },
  {
    claim: 'a tree that lies about the size of a leaf cannot be filled, and its leaf is not blamed on anybody',
    async check() {
      const store = await open(ROOMY);
      const bytes = utf8('four');
      const leaf = { cid: await cidOf(RAW, bytes, crypto), bytes: 3 };
      const node = dagPb.encode({
        Data: new UnixFS({ type: 'file', blockSizes: [3n] }).marshal(),
        Links: [{ Name: '', Hash: leaf.cid, Tsize: 3 }],
      });
      const root = await cidOf(DAG_PB, node, crypto);
      await store.put(root, node);
      const assembly = await store.assemble({ root, bytes: 3, leaves: [leaf] });
      await refuses(() => assembly.write(0, bytes), 'blob_invalid', 'the true leaf');
      await refuses(() => assembly.write(0, bytes.subarray(0, 3)), 'blob_mismatch', 'three bytes of it');
      await refuses(() => assembly.finish(), 'blob_not_found', 'finishing');
    },
  },
];
