/** The Merkle tree, held against the vectors of Certificate Transparency and against the RFC's own recursive words. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { equalBytes, fromHex, hex } from '../bytes.ts';
import { nodeCrypto } from '../node/index.ts';
import { createSeededRandom } from '../testing/index.ts';
import {
  createFrontier,
  leafHash,
  nodeHash,
  proveConsistency,
  proveInclusion,
  treeRoot,
  verifyConsistency,
  verifyInclusion,
  type ReadSubtree,
} from './merkle.ts';

interface Vectors {
  readonly leaves: readonly string[];
  /** Of the first 0, 1, 2 … leaves. */
  readonly roots: readonly string[];
  readonly inclusion: readonly { readonly index: number; readonly size: number; readonly path: readonly string[] }[];
  readonly consistency: readonly {
    readonly first: number;
    readonly second: number;
    readonly path: readonly string[];
  }[];
}
const VECTORS = JSON.parse(readFileSync(new URL('../../fixtures/v1/merkle.json', import.meta.url), 'utf8')) as Vectors;

/** MTH, PATH and PROOF, as RFC 9162 writes them down. */
const power = (n: number): number => {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
};
async function mth(d: readonly Uint8Array[]): Promise<Uint8Array> {
  if (d.length === 0) return nodeCrypto.sha256(new Uint8Array(0));
  if (d.length === 1) return d[0] as Uint8Array;
  const k = power(d.length);
  return nodeHash(await mth(d.slice(0, k)), await mth(d.slice(k)), nodeCrypto);
}
async function path(m: number, d: readonly Uint8Array[]): Promise<Uint8Array[]> {
  if (d.length === 1) return [];
  const k = power(d.length);
  return m < k
    ? [...(await path(m, d.slice(0, k))), await mth(d.slice(k))]
    : [...(await path(m - k, d.slice(k))), await mth(d.slice(0, k))];
}
async function subproof(m: number, d: readonly Uint8Array[], b: boolean): Promise<Uint8Array[]> {
  if (m === d.length) return b ? [] : [await mth(d)];
  const k = power(d.length);
  return m <= k
    ? [...(await subproof(m, d.slice(0, k), b)), await mth(d.slice(k))]
    : [...(await subproof(m - k, d.slice(k), false)), await mth(d.slice(0, k))];
}

/** A tree whose every subtree is computed once. */
function treeOf(leaves: readonly Uint8Array[]): ReadSubtree {
  const known = new Map<string, Promise<Uint8Array>>();
  const read = ({ level, index }: { level: number; index: number }): Promise<Uint8Array> => {
    const name = `${level} ${index}`;
    const make = async (): Promise<Uint8Array> => {
      if (level === 0) return leaves[index] as Uint8Array;
      const [left, right] = [
        { level: level - 1, index: 2 * index },
        { level: level - 1, index: 2 * index + 1 },
      ];
      return nodeHash(await read(left), await read(right), nodeCrypto);
    };
    const hash = known.get(name) ?? make();
    known.set(name, hash);
    return hash;
  };
  return read;
}
async function leavesOf(count: number): Promise<Uint8Array[]> {
  const leaves: Uint8Array[] = [];
  for (let at = 0; at < count; at++) leaves.push(await leafHash(Uint8Array.of(at, at >> 8, at >> 16), nodeCrypto));
  return leaves;
}
const hexes = (hashes: readonly Uint8Array[]): string[] => hashes.map(hex);

test('roots and proofs are those of Certificate Transparency', async () => {
  const leaves: Uint8Array[] = [];
  for (const leaf of VECTORS.leaves) leaves.push(await leafHash(fromHex(leaf), nodeCrypto));
  const read = treeOf(leaves);
  for (const [size, root] of VECTORS.roots.entries()) expect(hex(await treeRoot(size, read, nodeCrypto))).toBe(root);
  for (const { index, size, path } of VECTORS.inclusion) {
    expect(hexes(await proveInclusion(index, size, read, nodeCrypto))).toEqual(path);
    const root = fromHex(VECTORS.roots[size] as string);
    const claim = { index, size, leaf: leaves[index] as Uint8Array, path: path.map(fromHex), root };
    expect(await verifyInclusion(claim, nodeCrypto)).toBe(true);
  }
  for (const { first, second, path } of VECTORS.consistency) {
    expect(hexes(await proveConsistency(first, second, read, nodeCrypto))).toEqual(path);
    const [firstRoot, secondRoot] = [first, second].map((size) => fromHex(VECTORS.roots[size] as string));
    const claim = { first, second, firstRoot, secondRoot, path: path.map(fromHex) };
    expect(await verifyConsistency(claim as Parameters<typeof verifyConsistency>[0], nodeCrypto)).toBe(true);
  }
});

test('at every size up to 130 roots and paths are those of the recursive definition, and verify', async () => {
  const all = await leavesOf(130);
  const read = treeOf(all);
  const frontier = createFrontier(nodeCrypto);
  for (let size = 0; size <= all.length; size++) {
    const leaves = all.slice(0, size);
    const root = await mth(leaves);
    expect(equalBytes(await treeRoot(size, read, nodeCrypto), root)).toBe(true);
    expect(equalBytes(await frontier.root(), root)).toBe(true);
    // Every leaf and every older tree up to 40; then some of each.
    const step = size <= 40 ? 1 : 7;
    for (let index = 0; index < size; index += step) {
      const proof = await proveInclusion(index, size, read, nodeCrypto);
      expect(hexes(proof)).toEqual(hexes(await path(index, leaves)));
      const claim = { index, size, leaf: leaves[index] as Uint8Array, path: proof, root };
      expect(await verifyInclusion(claim, nodeCrypto)).toBe(true);
    }
    for (let first = 1; first <= size; first += step) {
      const proof = await proveConsistency(first, size, read, nodeCrypto);
      expect(hexes(proof)).toEqual(hexes(await subproof(first, leaves, true)));
      const firstRoot = await mth(leaves.slice(0, first));
      const claim = { first, firstRoot, second: size, secondRoot: root, path: proof };
      expect(await verifyConsistency(claim, nodeCrypto)).toBe(true);
    }
    if (size < all.length) await frontier.push(all[size] as Uint8Array);
  }
});

test('proofs of large trees verify, and none that was changed in anything does', async () => {
  const random = createSeededRandom(162);
  const below = (count: number): number => Math.floor(random.unit() * count);
  const leaves = await leavesOf(5_000);
  const read = treeOf(leaves);
  const flipped = (hash: Uint8Array): Uint8Array => hash.with(0, (hash[0] as number) ^ (1 + below(255)));
  for (let round = 0; round < 150; round++) {
    const size = 2 + below(4_998);
    const index = below(size);
    const root = await treeRoot(size, read, nodeCrypto);
    const path = await proveInclusion(index, size, read, nodeCrypto);
    const claim = { index, size, leaf: leaves[index] as Uint8Array, path, root };
    expect(await verifyInclusion(claim, nodeCrypto)).toBe(true);
    const at = below(path.length);
    for (const wrong of [
      { index: (index + 1 + below(size - 1)) % size },
      { index: size },
      { leaf: leaves[size] as Uint8Array },
      { path: path.slice(1) },
      { path: [...path, root] },
      { path: path.with(at, await nodeHash(path[at] as Uint8Array, root, nodeCrypto)) },
      { root: await nodeHash(root, root, nodeCrypto) },
    ]) {
      expect(await verifyInclusion({ ...claim, ...wrong }, nodeCrypto)).toBe(false);
    }

    const first = 1 + below(size - 1);
    const firstRoot = await treeRoot(first, read, nodeCrypto);
    const between = await proveConsistency(first, size, read, nodeCrypto);
    const grown = { first, firstRoot, second: size, secondRoot: root, path: between };
    expect(await verifyConsistency(grown, nodeCrypto)).toBe(true);
    for (const wrong of [
      { firstRoot: flipped(firstRoot) },
      { secondRoot: flipped(root) },
      { path: between.slice(1) },
      { path: [...between, root] },
      { path: [] },
      { first: size + 1 },
    ]) {
      expect(await verifyConsistency({ ...grown, ...wrong }, nodeCrypto)).toBe(false);
    }
  }
});

test('a tree that was rewritten has no proof of going on from the older one', async () => {
  const leaves = await leavesOf(600);
  const other = leaves.with(99, leaves[599] as Uint8Array);
  const [read, readOther] = [treeOf(leaves), treeOf(other)];
  const firstRoot = await treeRoot(300, read, nodeCrypto);
  const secondRoot = await treeRoot(600, readOther, nodeCrypto);
  for (const source of [read, readOther]) {
    const path = await proveConsistency(300, 600, source, nodeCrypto);
    expect(await verifyConsistency({ first: 300, firstRoot, second: 600, secondRoot, path }, nodeCrypto)).toBe(false);
  }
});

test('the empty tree is the beginning of every tree, equal trees need no proof, what is no tree has none', async () => {
  const read = treeOf(await leavesOf(3));
  const [none, three] = [await treeRoot(0, read, nodeCrypto), await treeRoot(3, read, nodeCrypto)];
  const claim = { first: 0, firstRoot: none, second: 3, secondRoot: three, path: [] };
  expect(await verifyConsistency(claim, nodeCrypto)).toBe(true);
  expect(await verifyConsistency({ ...claim, firstRoot: three }, nodeCrypto)).toBe(false);
  expect(await verifyConsistency({ ...claim, first: 3, firstRoot: three }, nodeCrypto)).toBe(true);
  expect(await verifyConsistency({ ...claim, first: 3 }, nodeCrypto)).toBe(false);
  await expect(proveInclusion(3, 3, read, nodeCrypto)).rejects.toMatchObject({ code: 'usage' });
  await expect(proveConsistency(0, 3, read, nodeCrypto)).rejects.toMatchObject({ code: 'usage' });
  await expect(proveConsistency(4, 3, read, nodeCrypto)).rejects.toMatchObject({ code: 'usage' });
});
