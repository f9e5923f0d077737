/**
 * One unfinished file on disk: a sparse `.part` of the final size, written leaf by leaf at its offsets.
 *
 * Nothing on disk says which leaves are there; on resume each is read and hashed, so a write torn by a crash is found.
 * A leaf counts as present only after its write returned. `finish` syncs the bytes, then the name.
 */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { matches, refuseIncomplete, verifyLeaf } from '../blobs/block.ts';
import { createLeafOffsets } from '../blobs/leaf-offsets.ts';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Crypto, FileAssembly, FileLayout } from '../ports.ts';
import { isAbsent, readAt, storageError, syncFolder, writeAt } from './disk-files.ts';

export interface DiskAssembly extends FileAssembly {
  /** The file was removed: whoever still holds this assembly changes nothing any more. */
  abandon(): void;
}

export interface DiskAssemblyParts {
  readonly layout: FileLayout;
  readonly partPath: string;
  /** In the same folder. */
  readonly finalPath: string;
  readonly crypto: Crypto;
  /** Called once, when the file has its final name. */
  onFinished(): void;
}

export async function openDiskAssembly(parts: DiskAssemblyParts): Promise<DiskAssembly> {
  const { layout, partPath, finalPath, crypto, onFinished } = parts;
  const offsets = createLeafOffsets(layout);
  let present = await findLeaves(layout, partPath, crypto);
  let finishing: Promise<void> | undefined;
  let abandoned = false;

  const missing = (): number[] => layout.leaves.flatMap((_, index) => (present[index] === 1 ? [] : [index]));
  const refuseAbandoned = (): void => {
    if (abandoned) throw new IdlewildError('blob_not_found', `file ${layout.root} was removed while it was assembled`);
  };
  const finish = async (): Promise<void> => {
    refuseAbandoned();
    refuseIncomplete(layout, missing().length);
    try {
      const handle = await open(partPath, 'r+');
      await handle.sync().finally(() => handle.close());
      await rename(partPath, finalPath);
      await syncFolder(dirname(finalPath));
    } catch (error) {
      // After a failed sync the system may have dropped what it had not written: only a fresh look tells what is there.
      present = await findLeaves(layout, partPath, crypto);
      throw storageError(error, `finishing file ${layout.root}`);
    }
    onFinished();
  };

  return {
    missing,
    abandon: () => {
      abandoned = true;
    },
    async read(index) {
      const leaf = layout.leaves[index];
      if (leaf === undefined || present[index] !== 1) return undefined;
      // Between the two names of a file that is being finished it lies under the second.
      const bytes =
        (await readAt(partPath, offsets.startOf(index), leaf.bytes)) ??
        (await readAt(finalPath, offsets.startOf(index), leaf.bytes));
      return bytes?.length === leaf.bytes && (await matches(leaf.cid, bytes, crypto)) ? bytes : undefined;
    },
    async write(index, bytes) {
      await verifyLeaf(layout, index, bytes, crypto);
      refuseAbandoned();
      if (present[index] === 1) return;
      try {
        await writeAt(partPath, bytes, offsets.startOf(index));
      } catch (error) {
        if (isAbsent(error)) refuseAbandoned();
        throw storageError(error, `writing leaf ${index} of file ${layout.root}`);
      }
      present[index] = 1;
    },
    finish() {
      finishing ??= finish().catch((error: unknown) => {
        finishing = undefined;
        throw error;
      });
      return finishing;
    },
  };
}

/** Makes sure of a `.part` of the right size, and hashes every leaf in it: 1 for each that is there. */
async function findLeaves(layout: FileLayout, partPath: string, crypto: Crypto): Promise<Uint8Array> {
  const present = new Uint8Array(layout.leaves.length);
  if (await sizePart(layout, partPath)) return present;
  const offsets = createLeafOffsets(layout);
  const zeros = new Uint8Array(LIMITS.leafBytes);
  const zeroDigests = new Map<number, Uint8Array>();
  for (const [index, { cid, bytes: length }] of layout.leaves.entries()) {
    const bytes = await readAt(partPath, offsets.startOf(index), length);
    if (bytes?.length !== length) continue;
    // Holes read as zeros; comparing is several times faster than hashing, and most of a young file is holes.
    const isHole = Buffer.compare(bytes, zeros.subarray(0, length)) === 0;
    const digest = (isHole ? zeroDigests.get(length) : undefined) ?? (await crypto.sha256(bytes));
    if (isHole) zeroDigests.set(length, digest);
    if (equalBytes(digest, cid.multihash.digest)) present[index] = 1;
  }
  return present;
}

/** Whether the part was made just now, and so holds nothing. */
async function sizePart(layout: FileLayout, partPath: string): Promise<boolean> {
  try {
    const handle = await open(partPath, 'a');
    try {
      const { size } = await handle.stat();
      if (size !== layout.bytes) await handle.truncate(layout.bytes);
      return size === 0;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw storageError(error, `opening ${partPath}`);
  }
}
