/**
 * The `BlobStore` port in memory. Every distinct block is held once, however many files and puts share it.
 *
 * A block is served (`get`, `has`) while it was put or belongs to a finished file; leaves of an unfinished file are
 * held but not served. An assembly reserves the bytes that it still misses, so a quota is refused before anything is
 * fetched.
 */
import type { CID } from 'multiformats/cid';
import { concat } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { BlobStore, Crypto, FileAssembly, FileLayout } from '../ports.ts';
import { createBlockPool, type BlockPool } from './block-pool.ts';
import { refuseIncomplete, verifyBlock, verifyLeaf, type Block } from './block.ts';
import { createLeafOffsets } from './leaf-offsets.ts';
import { proveLayout } from './unixfs.ts';

/** A finished file, or one in assembly: `held` says which distinct leaves are there. */
interface StoredFile {
  readonly layout: FileLayout;
  readonly nodes: readonly string[];
  readonly held: Set<string>;
  reservedBytes: number;
  state: 'assembling' | 'finished' | 'removed';
}

interface Memory {
  readonly crypto: Crypto;
  readonly pool: BlockPool;
  readonly loose: Set<string>;
  readonly files: Map<string, StoredFile>;
}

export function createMemoryBlobStore(options: { crypto: Crypto; quotaBytes: number }): BlobStore {
  const { crypto, quotaBytes } = options;
  const memory: Memory = { crypto, pool: createBlockPool(quotaBytes), loose: new Set(), files: new Map() };
  const { pool, files } = memory;
  return {
    get: async (cid) => pool.served(cid.toString())?.slice(),
    has: async (cid) => pool.served(cid.toString()) !== undefined,
    async put(cid, bytes) {
      await verifyBlock(cid, bytes, crypto);
      keepLoose(memory, cid, bytes);
    },
    async assemble(layout) {
      const key = layout.root.toString();
      const nodes = files.has(key) ? [] : await proveLayout(layout, (cid) => pool.served(cid.toString()), crypto);
      let file = files.get(key);
      if (file === undefined) {
        file = openFile(memory, layout, nodes);
        files.set(key, file);
        for (const { cid, bytes } of nodes) keepLoose(memory, cid, bytes);
      }
      return assemblyOf(memory, file);
    },
    async read(root, offset, length) {
      const file = files.get(root.toString());
      if (file?.state !== 'finished') throw new IdlewildError('blob_not_found', `file ${root} is not stored`);
      return concat(
        createLeafOffsets(file.layout)
          .spansOf(offset, length)
          .map(({ leaf, from, to }) => {
            const { cid } = file.layout.leaves[leaf] as FileLayout['leaves'][number];
            return (pool.bytesOf(cid.toString()) as Uint8Array).subarray(from, to);
          }),
      );
    },
    hasFile: async (root) => files.get(root.toString())?.state === 'finished',
    async takenBy(root) {
      const file = files.get(root.toString());
      if (file === undefined) return 0;
      return [...file.held].reduce((sum, key) => sum + (pool.bytesOf(key)?.length ?? 0), file.reservedBytes);
    },
    async remove(cid) {
      const file = files.get(cid.toString());
      if (file !== undefined) removeFile(memory, file);
      dropLoose(memory, cid.toString());
    },
    usage: async () => ({ bytes: pool.usedBytes(), quotaBytes }),
  };
}

function keepLoose({ pool, loose }: Memory, cid: CID, bytes: Uint8Array): void {
  const key = cid.toString();
  if (loose.has(key)) return;
  if (!pool.holds(key)) {
    pool.reserve(bytes.length, `block ${key}`);
    pool.reserve(-bytes.length, `block ${key}`);
  }
  loose.add(key);
  pool.hold(key, bytes, true);
}

function dropLoose({ pool, loose }: Memory, key: string): void {
  if (loose.delete(key)) pool.release(key, true);
}

/** Starts a file with the leaves that are here already. Its nodes must fit beside the missing leaves. */
function openFile({ pool }: Memory, layout: FileLayout, nodes: readonly Block[]): StoredFile {
  const what = `file ${layout.root}`;
  const missing = new Map<string, number>();
  const held = new Set<string>();
  for (const { cid, bytes } of layout.leaves) {
    const key = cid.toString();
    if (pool.bytesOf(key)?.length === bytes) held.add(key);
    else missing.set(key, bytes);
  }
  const missingBytes = [...missing.values()].reduce((sum, bytes) => sum + bytes, 0);
  const nodeBytes = nodes.reduce((sum, { bytes }) => sum + bytes.length, 0);
  pool.reserve(missingBytes + nodeBytes, what);
  pool.reserve(-nodeBytes, what);
  for (const key of held) pool.hold(key, pool.bytesOf(key) as Uint8Array, false);
  const nodeKeys = nodes.map(({ cid }) => cid.toString());
  return { layout, nodes: nodeKeys, held, reservedBytes: missingBytes, state: 'assembling' };
}

function assemblyOf({ pool, crypto }: Memory, file: StoredFile): FileAssembly {
  const { layout, held } = file;
  const missing = (): number[] =>
    layout.leaves.flatMap((leaf, index) => (held.has(leaf.cid.toString()) ? [] : [index]));
  const refuseRemoved = (): void => {
    if (file.state === 'removed') {
      throw new IdlewildError('blob_not_found', `file ${layout.root} was removed while it was assembled`);
    }
  };
  return {
    missing,
    async read(index) {
      const key = layout.leaves[index]?.cid.toString();
      return key !== undefined && held.has(key) ? pool.bytesOf(key)?.slice() : undefined;
    },
    async write(index, bytes) {
      const leaf = await verifyLeaf(layout, index, bytes, crypto);
      refuseRemoved();
      const key = leaf.cid.toString();
      if (held.has(key)) return;
      held.add(key);
      file.reservedBytes -= leaf.bytes;
      pool.reserve(-leaf.bytes, key);
      pool.hold(key, bytes, false);
    },
    async finish() {
      if (file.state === 'finished') return;
      refuseRemoved();
      refuseIncomplete(layout, missing().length);
      file.state = 'finished';
      for (const key of held) pool.serve(key);
    },
  };
}

function removeFile(memory: Memory, file: StoredFile): void {
  const { pool, files } = memory;
  const key = file.layout.root.toString();
  files.delete(key);
  pool.reserve(-file.reservedBytes, key);
  for (const leaf of file.held) pool.release(leaf, file.state === 'finished');
  file.state = 'removed';
  const needed = new Set([...files.values()].flatMap((other) => other.nodes));
  for (const node of file.nodes) if (!needed.has(node)) dropLoose(memory, node);
}
