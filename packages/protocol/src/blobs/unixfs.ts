/**
 * UnixFS files in the profile `unixfs-v1-2025` (IPIP-499): CIDv1, 1 MiB fixed chunks, raw leaves, balanced, 1,024 links
 * per node. A file of up to 1 MiB is its single raw leaf, the empty file the empty raw block. Kubo gives the same CIDs.
 *
 * Building streams: one leaf is held at a time. Reading trusts no node: depth, nodes, leaves and every declared size
 * are checked first. Trees that other importers cut are read too, if their leaves are raw.
 * Knows nothing of where blocks are kept; `getBlock` hands over bytes that were verified against their CID.
 */
import * as dagPb from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import type { CID } from 'multiformats/cid';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { cidOf } from '../manifest.ts';
import type { Crypto, FileLayout, MaybePromise } from '../ports.ts';
import { DAG_PB, RAW, isStorable, type Block } from './block.ts';

type Leaf = FileLayout['leaves'][number];
type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** A child in a tree under construction; `treeBytes` (dag-pb's Tsize) counts its block and all blocks below. */
interface Child {
  readonly cid: CID;
  readonly bytes: number;
  readonly treeBytes: number;
}

export interface LaidOutFile {
  readonly layout: FileLayout;
  /** The dag-pb nodes above the leaves, children first, the root last; none for a file of one leaf. */
  readonly nodes: readonly Block[];
}

export interface LayoutLimits {
  readonly depthMax: number;
  readonly leavesMax: number;
  readonly nodesMax: number;
}

const DEFAULT_LIMITS: LayoutLimits = {
  depthMax: LIMITS.fileDepthMax,
  leavesMax: LIMITS.fileLeavesMax,
  nodesMax: LIMITS.fileNodesMax,
};

/** Hashes a file as it streams by. Chunks may be of any size. */
export async function layoutFile(chunks: Chunks, crypto: Crypto): Promise<LaidOutFile> {
  const leaves: Leaf[] = [];
  let bytes = 0;
  for await (const leaf of cutLeaves(chunks)) {
    leaves.push({ cid: await cidOf(RAW, leaf, crypto), bytes: leaf.length });
    bytes += leaf.length;
  }
  const { root, nodes } = await buildTree(leaves, crypto);
  return { layout: { root, bytes, leaves }, nodes };
}

/**
 * Cuts a stream into leaves of 1 MiB and a shorter last one; an empty stream gives one empty leaf.
 * A leaf is only valid until the next one is asked for.
 */
export async function* cutLeaves(chunks: Chunks): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(LIMITS.leafBytes);
  let filled = 0;
  let cut = false;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(LIMITS.leafBytes - filled, chunk.length - at);
      if (taken === LIMITS.leafBytes) {
        yield chunk.subarray(at, at + taken);
        cut = true;
      } else {
        buffer.set(chunk.subarray(at, at + taken), filled);
        filled += taken;
        if (filled === LIMITS.leafBytes) {
          yield buffer;
          filled = 0;
          cut = true;
        }
      }
      at += taken;
    }
  }
  if (filled > 0 || !cut) yield buffer.subarray(0, filled);
}

/** The balanced tree over `leaves`, built level by level. */
async function buildTree(leaves: readonly Leaf[], crypto: Crypto): Promise<{ root: CID; nodes: Block[] }> {
  const nodes: Block[] = [];
  let level: Child[] = leaves.map(({ cid, bytes }) => ({ cid, bytes, treeBytes: bytes }));
  while (level.length > 1) {
    const above: Child[] = [];
    for (let at = 0; at < level.length; at += LIMITS.nodeLinksMax) {
      const children = level.slice(at, at + LIMITS.nodeLinksMax);
      const file = new UnixFS({ type: 'file', blockSizes: children.map((child) => BigInt(child.bytes)) });
      const links = children.map((child) => ({ Name: '', Hash: child.cid, Tsize: child.treeBytes }));
      const bytes = dagPb.encode({ Data: file.marshal(), Links: links });
      const cid = await cidOf(DAG_PB, bytes, crypto);
      nodes.push({ cid, bytes });
      const sum = (part: (child: Child) => number): number => children.reduce((total, child) => total + part(child), 0);
      const treeBytes = bytes.length + sum((child) => child.treeBytes);
      above.push({ cid, bytes: sum((child) => child.bytes), treeBytes });
    }
    level = above;
  }
  return { root: (level[0] as Child).cid, nodes };
}

/**
 * Reads the tree under `root`. Throws `blob_invalid` for a tree that breaks a limit or its own declared sizes,
 * and whatever `getBlock` throws.
 */
export async function readLayout(
  root: CID,
  getBlock: (cid: CID) => MaybePromise<Uint8Array>,
  limits: LayoutLimits = DEFAULT_LIMITS,
): Promise<FileLayout> {
  if (!isStorable(root)) throw invalid(root, 'its root is not a CIDv1 with sha2-256');
  if (root.code === RAW) {
    const { length } = await getBlock(root);
    if (length > LIMITS.leafBytes) {
      throw invalid(root, `its single leaf has ${length} bytes; the limit is ${LIMITS.leafBytes}`);
    }
    return { root, bytes: length, leaves: [{ cid: root, bytes: length }] };
  }
  const leaves: Leaf[] = [];
  let nodes = 0;
  const walk = async (cid: CID, depth: number, declared: number | undefined): Promise<number> => {
    if (depth >= limits.depthMax) throw invalid(root, `it is deeper than ${limits.depthMax} nodes`);
    if (++nodes > limits.nodesMax) throw invalid(root, `it has more than ${limits.nodesMax} nodes`);
    const children = childrenOf(root, cid, await getBlock(cid));
    const bytes = children.reduce((total, child) => total + child.bytes, 0);
    if (declared !== undefined && declared !== bytes) {
      throw invalid(root, `node ${cid} holds ${bytes} bytes; its parent says ${declared}`);
    }
    for (const child of children) {
      if (child.cid.code === RAW) leaves.push(child);
      else await walk(child.cid, depth + 1, child.bytes);
      if (leaves.length > limits.leavesMax) throw invalid(root, `it has more than ${limits.leavesMax} leaves`);
    }
    return bytes;
  };
  const bytes = await walk(root, 0, undefined);
  return { root, bytes, leaves };
}

const invalid = (root: CID, why: string): IdlewildError =>
  new IdlewildError('blob_invalid', `the file tree of ${root} is refused: ${why}`);

/** The links of one node with the bytes each declares, checked as far as one node can be. */
function childrenOf(root: CID, cid: CID, block: Uint8Array): Leaf[] {
  if (cid.code !== DAG_PB) throw invalid(root, `${cid} is neither a raw leaf nor a dag-pb node`);
  let links: dagPb.PBLink[];
  let file: UnixFS;
  try {
    const node = dagPb.decode(block);
    links = node.Links;
    file = UnixFS.unmarshal(node.Data ?? new Uint8Array());
  } catch (error) {
    throw new IdlewildError('blob_invalid', `node ${cid} of ${root} is no UnixFS node: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (file.type !== 'file') throw invalid(root, `node ${cid} is a ${file.type}, not a file`);
  if (file.data !== undefined && file.data.length > 0) {
    throw invalid(root, `node ${cid} carries file bytes itself; leaves must be raw`);
  }
  if (links.length === 0 || links.length > LIMITS.nodeLinksMax) {
    throw invalid(root, `node ${cid} has ${links.length} links`);
  }
  if (file.blockSizes.length !== links.length) {
    throw invalid(root, `node ${cid} declares ${file.blockSizes.length} sizes for ${links.length} links`);
  }
  return links.map(({ Hash }, index) => {
    const bytes = Number(file.blockSizes[index]);
    if (!isStorable(Hash)) throw invalid(root, `node ${cid} links to ${Hash}, which is not a CIDv1 with sha2-256`);
    const bytesMax = Hash.code === RAW ? LIMITS.leafBytes : LIMITS.leafBytes * LIMITS.fileLeavesMax;
    if (bytes < 1 || bytes > bytesMax) throw invalid(root, `node ${cid} declares ${bytes} bytes for ${Hash}`);
    return { cid: Hash, bytes };
  });
}

/**
 * Proves that `layout` is the tree of its root, by rebuilding it in the profile or, for trees cut otherwise, by reading
 * the stored nodes. Returns the nodes. Throws `blob_invalid`, or `blob_not_found` when a node needed for it is missing.
 * The size of a single raw leaf is only known when its bytes come.
 */
export async function proveLayout(
  layout: FileLayout,
  getBlock: (cid: CID) => MaybePromise<Uint8Array | undefined>,
  crypto: Crypto,
): Promise<readonly Block[]> {
  checkShape(layout);
  const built = await buildTree(layout.leaves, crypto);
  if (built.root.toString() === layout.root.toString()) return built.nodes;
  if (layout.root.code === RAW) throw invalid(layout.root, 'its layout lists other leaves');
  const nodes: Block[] = [];
  const read = await readLayout(layout.root, async (cid) => {
    const bytes = await getBlock(cid);
    if (bytes === undefined) {
      throw new IdlewildError('blob_not_found', `node ${cid} of ${layout.root} is not stored; put it first`);
    }
    nodes.push({ cid, bytes });
    return bytes;
  });
  const same =
    read.leaves.length === layout.leaves.length &&
    read.leaves.every((leaf, index) => {
      const claimed = layout.leaves[index] as Leaf;
      return leaf.cid.equals(claimed.cid) && leaf.bytes === claimed.bytes;
    });
  if (!same) throw invalid(layout.root, 'its layout lists other leaves than its nodes do');
  return nodes;
}

function checkShape({ root, bytes, leaves }: FileLayout): void {
  if (!isStorable(root)) throw invalid(root, 'its root is not a CIDv1 with sha2-256');
  if (leaves.length === 0 || leaves.length > LIMITS.fileLeavesMax) {
    throw invalid(root, `its layout has ${leaves.length} leaves`);
  }
  let sum = 0;
  for (const leaf of leaves) {
    const bytesMin = leaves.length === 1 ? 0 : 1;
    if (leaf.cid.code !== RAW || !isStorable(leaf.cid)) {
      throw invalid(root, `leaf ${leaf.cid} is not a raw CIDv1 with sha2-256`);
    }
    if (!Number.isInteger(leaf.bytes) || leaf.bytes < bytesMin || leaf.bytes > LIMITS.leafBytes) {
      throw invalid(root, `leaf ${leaf.cid} claims ${leaf.bytes} bytes`);
    }
    sum += leaf.bytes;
  }
  if (sum !== bytes) throw invalid(root, `its leaves add up to ${sum} bytes, not ${bytes}`);
}
