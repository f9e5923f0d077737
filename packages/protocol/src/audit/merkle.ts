/**
 * The Merkle tree of RFC 9162, section 2.1, over leaves that only grow in number: its root, the proof that a leaf is in
 * it, and the proof that a tree is the beginning of a larger one.
 *
 * A hash of the tree is always that of a range of leaves, and a range is a row of perfect subtrees, largest first. So
 * whoever makes proofs is asked for perfect subtrees only, which never change once they are full, and may keep as many
 * of them as they like. Leaves and inner nodes are hashed under different prefixes: neither passes for the other.
 */
import { concat, equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, MaybePromise } from '../ports.ts';

type Hasher = Pick<Crypto, 'sha256'>;

/** The `2 ** level` leaves from `index * 2 ** level` on, all of them there. */
export interface Subtree {
  readonly level: number;
  readonly index: number;
}
export type ReadSubtree = (subtree: Subtree) => MaybePromise<Uint8Array>;

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
/** A path through more leaves than there are whole numbers has no use. */
export const PATH_HASHES_MAX = 64;

/** Leaves from `start` on, before `end`. */
type Range = readonly [start: number, end: number];

export const leafHash = (leaf: Uint8Array, crypto: Hasher): MaybePromise<Uint8Array> =>
  crypto.sha256(concat([LEAF, leaf]));

export const nodeHash = (left: Uint8Array, right: Uint8Array, crypto: Hasher): MaybePromise<Uint8Array> =>
  crypto.sha256(concat([NODE, left, right]));

/** Of the tree's first `size` leaves; of none it is the hash of nothing. */
export const treeRoot = (size: number, read: ReadSubtree, crypto: Hasher): Promise<Uint8Array> =>
  rangeHash([0, size], read, crypto);

/** PATH(index, D_size), from the leaf's neighbour to the root's child. Throws `usage` for a leaf that is not in it. */
export async function proveInclusion(
  index: number,
  size: number,
  read: ReadSubtree,
  crypto: Hasher,
): Promise<Uint8Array[]> {
  if (!isCount(index) || !isCount(size) || index >= size) {
    throw new IdlewildError('usage', `a tree of ${size} leaves has none at ${index}`);
  }
  return hashesOf(besides(index, [0, size]), read, crypto);
}

/** PROOF(first, D_second); empty for equal trees. Throws `usage` unless 0 < first <= second. */
export async function proveConsistency(
  first: number,
  second: number,
  read: ReadSubtree,
  crypto: Hasher,
): Promise<Uint8Array[]> {
  if (!isCount(first) || !isCount(second) || first === 0 || first > second) {
    throw new IdlewildError('usage', `a tree of ${first} leaves is not the beginning of one of ${second}`);
  }
  return hashesOf(between(first, [0, second], true), read, crypto);
}

export interface Inclusion {
  readonly index: number;
  readonly size: number;
  /** Hash of the leaf, not the leaf. */
  readonly leaf: Uint8Array;
  readonly path: readonly Uint8Array[];
  readonly root: Uint8Array;
}

/** RFC 9162, section 2.1.3.2. */
export async function verifyInclusion(claim: Inclusion, crypto: Hasher): Promise<boolean> {
  const { index, size, leaf, path, root } = claim;
  if (!isCount(index) || !isCount(size) || index >= size || path.length > PATH_HASHES_MAX) return false;
  let at = index;
  let last = size - 1;
  let hash = leaf;
  for (const beside of path) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      hash = await nodeHash(beside, hash, crypto);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      hash = await nodeHash(hash, beside, crypto);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && equalBytes(hash, root);
}

export interface Consistency {
  readonly first: number;
  readonly firstRoot: Uint8Array;
  readonly second: number;
  readonly secondRoot: Uint8Array;
  readonly path: readonly Uint8Array[];
}

/** RFC 9162, section 2.1.4.2; every tree goes on from the empty one. */
export async function verifyConsistency(claim: Consistency, crypto: Hasher): Promise<boolean> {
  const { first, firstRoot, second, secondRoot, path } = claim;
  if (!isCount(first) || !isCount(second) || first > second || path.length > PATH_HASHES_MAX) return false;
  if (first === 0) return path.length === 0 && equalBytes(firstRoot, await crypto.sha256(new Uint8Array(0)));
  if (first === second) return path.length === 0 && equalBytes(firstRoot, secondRoot);
  const [start, ...rest] = isPowerOfTwo(first) ? [firstRoot, ...path] : path;
  if (start === undefined) return false;
  let at = first - 1;
  let last = second - 1;
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  let older = start;
  let newer = start;
  for (const beside of rest) {
    if (last === 0) return false;
    if (at % 2 === 1 || at === last) {
      older = await nodeHash(beside, older, crypto);
      newer = await nodeHash(beside, newer, crypto);
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else {
      newer = await nodeHash(newer, beside, crypto);
    }
    [at, last] = [half(at), half(last)];
  }
  return last === 0 && equalBytes(older, firstRoot) && equalBytes(newer, secondRoot);
}

/** The roots of a tree while it grows, in memory that grows with the logarithm of its size. */
export interface Frontier {
  readonly size: number;
  /** `leaf` is a leaf's hash. */
  push(leaf: Uint8Array): Promise<void>;
  root(): Promise<Uint8Array>;
}

export function createFrontier(crypto: Hasher): Frontier {
  /** Perfect subtrees, largest first. */
  const row: { readonly level: number; readonly hash: Uint8Array }[] = [];
  let size = 0;
  return {
    get size() {
      return size;
    },
    async push(leaf) {
      let grown = { level: 0, hash: leaf };
      for (let left = row.at(-1); left?.level === grown.level; left = row.at(-1)) {
        row.pop();
        grown = { level: grown.level + 1, hash: await nodeHash(left.hash, grown.hash, crypto) };
      }
      row.push(grown);
      size++;
    },
    root: () =>
      joined(
        row.map(({ hash }) => hash),
        crypto,
      ),
  };
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;
/** Whole numbers beyond 2^31 are halved, too, which shifting does not do. */
const half = (value: number): number => Math.floor(value / 2);
const isPowerOfTwo = (value: number): boolean => largestPower(value) === value;

function largestPower(max: number): number {
  let power = 1;
  while (power * 2 <= max) power *= 2;
  return power;
}

/** The largest power of two smaller than `count`: where the RFC cuts a tree in two. */
const cut = (count: number): number => largestPower(count - 1);

/** What stands beside the way from the root to leaf `index` of `range`, from below. */
function besides(index: number, [start, end]: Range): Range[] {
  if (end - start === 1) return [];
  const middle = start + cut(end - start);
  return index < middle
    ? [...besides(index, [start, middle]), [middle, end]]
    : [...besides(index, [middle, end]), [start, middle]];
}

/** SUBPROOF of the RFC: the first `first` leaves of `range`; `isWhole`: they are a tree that is known already. */
function between(first: number, [start, end]: Range, isWhole: boolean): Range[] {
  if (first === end - start) return isWhole ? [] : [[start, end]];
  const left = cut(end - start);
  const middle = start + left;
  return first <= left
    ? [...between(first, [start, middle], isWhole), [middle, end]]
    : [...between(first - left, [middle, end], false), [start, middle]];
}

async function hashesOf(ranges: readonly Range[], read: ReadSubtree, crypto: Hasher): Promise<Uint8Array[]> {
  const hashes: Uint8Array[] = [];
  for (const range of ranges) hashes.push(await rangeHash(range, read, crypto));
  return hashes;
}

/** Ranges of proofs begin where a perfect subtree of at least their length would. */
async function rangeHash([start, end]: Range, read: ReadSubtree, crypto: Hasher): Promise<Uint8Array> {
  const row: Uint8Array[] = [];
  for (let at = start; at < end;) {
    const leaves = largestPower(end - at);
    row.push(await read({ level: Math.log2(leaves), index: at / leaves }));
    at += leaves;
  }
  return joined(row, crypto);
}

async function joined(row: readonly Uint8Array[], crypto: Hasher): Promise<Uint8Array> {
  let hash = row.at(-1);
  if (hash === undefined) return crypto.sha256(new Uint8Array(0));
  for (const left of row.slice(0, -1).toReversed()) hash = await nodeHash(left, hash, crypto);
  return hash;
}
