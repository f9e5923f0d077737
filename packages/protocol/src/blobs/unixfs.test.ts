import { createCipheriv, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as dagPb from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import type { CID } from 'multiformats/cid';
import { expect, test } from 'vitest';
import { utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { cidOf } from '../manifest.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { DAG_PB, RAW } from './block.ts';
import { layoutFile, proveLayout, readLayout } from './unixfs.ts';

interface Vector {
  name: string;
  seed?: string;
  text?: string;
  bytes: number;
  cid: string;
}
const fixture = new URL('../../fixtures/v1/unixfs.json', import.meta.url);
const vectors = JSON.parse(readFileSync(fixture, 'utf8')) as { files: Vector[] };

/** The key stream of ChaCha20 (RFC 8439) under SHA-256(seed) and a zero nonce: how kubo's own test files are made. */
function* keyStream(seed: string, bytes: number): Generator<Uint8Array> {
  const cipher = createCipheriv('chacha20', createHash('sha256').update(seed).digest(), Buffer.alloc(16));
  const zeros = Buffer.alloc(LIMITS.leafBytes);
  for (let left = bytes; left > 0; left -= zeros.length) yield cipher.update(zeros.subarray(0, left));
}

const contentOf = ({ seed, text, bytes }: Vector): Iterable<Uint8Array> =>
  seed === undefined ? [utf8(text ?? '')] : keyStream(seed, bytes);

for (const vector of vectors.files) {
  test(`a file gets the CID that kubo gives it: ${vector.name}`, { timeout: 60_000 }, async () => {
    const { layout, nodes } = await layoutFile(contentOf(vector), nodeCrypto);
    expect(layout.root.toString()).toBe(vector.cid);
    expect(layout.bytes).toBe(vector.bytes);
    const blocks = new Map(nodes.map(({ cid, bytes }) => [cid.toString(), bytes]));
    const getBlock = (cid: CID): Uint8Array => blocks.get(cid.toString()) as Uint8Array;
    if (layout.leaves.length > 1) expect(await readLayout(layout.root, getBlock)).toEqual(layout);
    expect((await proveLayout(layout, () => undefined, nodeCrypto)).length).toBe(nodes.length);
  });
}

test('how a stream is chunked does not change its CID', async () => {
  const bytes = createSeededRandom(3).bytes(2 * LIMITS.leafBytes + 17);
  const cut = function* (length: number): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
  };
  const whole = await layoutFile([bytes], nodeCrypto);
  for (const length of [4_099, 700_001, LIMITS.leafBytes, LIMITS.leafBytes + 1]) {
    expect(await layoutFile(cut(length), nodeCrypto)).toEqual(whole);
  }
});

/** A dag-pb node that claims what it likes. */
async function nodeOf(
  links: { cid: CID; bytes: number | bigint }[],
  change: { type?: 'directory' | 'file'; data?: Uint8Array; sizes?: bigint[] } = {},
): Promise<{ cid: CID; bytes: Uint8Array }> {
  const file = new UnixFS({
    type: change.type ?? 'file',
    ...(change.data === undefined ? {} : { data: change.data }),
    blockSizes: change.sizes ?? links.map((link) => BigInt(link.bytes)),
  });
  const Links = links.map((link) => ({ Name: '', Hash: link.cid, Tsize: 1 }));
  const bytes = dagPb.encode({ Data: file.marshal(), Links });
  return { cid: await cidOf(DAG_PB, bytes, nodeCrypto), bytes };
}

const leaf = { cid: await cidOf(RAW, utf8('leaf'), nodeCrypto), bytes: 4 };

test('a tree that lies about itself is refused', async () => {
  const good = await nodeOf([leaf, leaf]);
  const garbage = createSeededRandom(1).bytes(64);
  const hostile: Record<string, { cid: CID; bytes: Uint8Array }> = {
    'more than its children hold': await nodeOf([{ cid: good.cid, bytes: 9 }]),
    'a leaf of 2 MiB': await nodeOf([{ cid: leaf.cid, bytes: 2 * LIMITS.leafBytes }]),
    'a leaf of nothing': await nodeOf([leaf, { cid: leaf.cid, bytes: 0 }]),
    'a size past any number': await nodeOf([{ cid: leaf.cid, bytes: 2n ** 63n }]),
    'fewer sizes than links': await nodeOf([leaf, leaf], { sizes: [4n] }),
    'no links': await nodeOf([]),
    'a directory': await nodeOf([leaf], { type: 'directory', sizes: [] }),
    'bytes in a node': await nodeOf([leaf], { data: utf8('inline') }),
    'too many links': await nodeOf(Array.from({ length: LIMITS.nodeLinksMax + 1 }, () => leaf)),
    'a link to another codec': await nodeOf([{ cid: await cidOf(0x71, utf8('x'), nodeCrypto), bytes: 1 }]),
    garbage: { cid: await cidOf(DAG_PB, garbage, nodeCrypto), bytes: garbage },
  };
  for (const [name, { cid, bytes }] of Object.entries(hostile)) {
    const blocks = new Map([
      [cid.toString(), bytes],
      [good.cid.toString(), good.bytes],
    ]);
    const reading = readLayout(cid, (asked) => blocks.get(asked.toString()) as Uint8Array);
    await expect(reading, name).rejects.toMatchObject({ code: 'blob_invalid' });
  }
});

test('a few blocks that repeat each other cannot claim an exabyte, nor a deep chain a stack', async () => {
  const blocks = new Map<string, Uint8Array>();
  const getBlock = (cid: CID): Uint8Array => blocks.get(cid.toString()) as Uint8Array;
  let child = { cid: leaf.cid, bytes: leaf.bytes };
  for (let level = 0; level < 3; level++) {
    const node = await nodeOf(Array.from({ length: LIMITS.nodeLinksMax }, () => child));
    blocks.set(node.cid.toString(), node.bytes);
    child = { cid: node.cid, bytes: child.bytes * LIMITS.nodeLinksMax };
  }
  await expect(readLayout(child.cid, getBlock)).rejects.toMatchObject({ code: 'blob_invalid' });

  let top: { cid: CID; bytes: number } = leaf;
  for (let level = 0; level < LIMITS.fileDepthMax + 1; level++) {
    const node = await nodeOf([top]);
    blocks.set(node.cid.toString(), node.bytes);
    top = { cid: node.cid, bytes: leaf.bytes };
  }
  await expect(readLayout(top.cid, getBlock)).rejects.toThrow('deeper');
});

test('a tree that another importer cut is proved by its own nodes', async () => {
  const small = await nodeOf([leaf]);
  const layout = { root: small.cid, bytes: 4, leaves: [leaf] };
  await expect(proveLayout(layout, () => undefined, nodeCrypto)).rejects.toMatchObject({ code: 'blob_not_found' });
  expect(await proveLayout(layout, () => small.bytes, nodeCrypto)).toHaveLength(1);
  const other = { cid: await cidOf(RAW, utf8('liar'), nodeCrypto), bytes: 4 };
  const lie = proveLayout({ ...layout, leaves: [other] }, () => small.bytes, nodeCrypto);
  await expect(lie).rejects.toMatchObject({ code: 'blob_invalid' });
});
