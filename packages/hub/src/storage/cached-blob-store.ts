/**
 * A shared `BlobStore` with this replica's disk in front of it: what was read or written here is read from the disk the
 * next time. The shared store decides what there is, so a block that was removed is given by no replica; the disk
 * only saves carrying its bytes over.
 */
import {
  IdlewildError,
  concat,
  readLayout,
  type BlobStore,
  type FileAssembly,
  type FileLayout,
} from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import type { BlockCache } from './block-cache.ts';

export function createCachedBlobStore(shared: BlobStore, cache: BlockCache): BlobStore {
  const get = async (cid: CID): Promise<Uint8Array | undefined> => {
    if (!(await shared.has(cid))) return undefined;
    const near = await cache.get(cid);
    if (near !== undefined) return near;
    const bytes = await shared.get(cid);
    if (bytes !== undefined) await cache.keep(cid, bytes);
    return bytes;
  };
  return {
    get,
    has: (cid) => shared.has(cid),
    async put(cid, bytes) {
      await shared.put(cid, bytes);
      await cache.keep(cid, bytes);
    },
    assemble: async (layout) => cachedAssembly(layout, await shared.assemble(layout), cache),
    async read(root, offset, length) {
      if (!(await shared.hasFile(root))) throw gone(root);
      const layout = await readLayout(root, async (cid) => (await get(cid)) ?? fail(cid));
      // Ranges that are none are refused there, in one place.
      if (!isInside(layout, offset, length)) return shared.read(root, offset, length);
      return readLeaves(layout, offset, offset + length, get);
    },
    hasFile: (root) => shared.hasFile(root),
    takenBy: (root) => shared.takenBy(root),
    async remove(cid) {
      await shared.remove(cid);
      await cache.remove(cid);
    },
    usage: () => shared.usage(),
  };
}

function cachedAssembly(layout: FileLayout, assembly: FileAssembly, cache: BlockCache): FileAssembly {
  const cidOf = (leaf: number): CID | undefined => layout.leaves[leaf]?.cid;
  return {
    missing: () => assembly.missing(),
    read: (leaf) => assembly.read(leaf),
    async write(leaf, bytes) {
      await assembly.write(leaf, bytes);
      const cid = cidOf(leaf);
      if (cid !== undefined) await cache.keep(cid, bytes);
    },
    finish: () => assembly.finish(),
  };
}

const isInside = ({ bytes }: FileLayout, offset: number, length: number): boolean =>
  Number.isInteger(offset) && Number.isInteger(length) && offset >= 0 && length >= 0 && offset + length <= bytes;

async function readLeaves(
  { root, leaves }: FileLayout,
  from: number,
  to: number,
  get: (cid: CID) => Promise<Uint8Array | undefined>,
): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let start = 0;
  for (const { cid, bytes } of leaves) {
    if (start >= to) break;
    if (start + bytes > from && from < to) {
      const leaf = await get(cid);
      if (leaf === undefined) throw gone(root);
      pieces.push(leaf.subarray(Math.max(0, from - start), Math.min(bytes, to - start)));
    }
    start += bytes;
  }
  return concat(pieces);
}

const gone = (root: CID): IdlewildError => new IdlewildError('blob_not_found', `file ${root.toString()} is not stored`);
const fail = (cid: CID): never => {
  throw new IdlewildError('blob_not_found', `block ${cid.toString()} is gone from the store; upload its file again`);
};
