/**
 * Which blocks this device gives to others: leaves of models that it was told to hold, whole or as far as they have
 * come. Whatever else lies in the store is nobody's business.
 */
import { CID } from 'multiformats/cid';
import { IdlewildError, RAW, readLayout, type Manifest } from '@idlewild/protocol';
import type { Entry, ShelfState } from './entry.ts';

/** The bytes; `soon` for a leaf that is on its way here; `undefined` for anything else. */
export async function leafOf(shelf: ShelfState, cid: string): Promise<Uint8Array | 'soon' | undefined> {
  if (!shelf.told) return undefined;
  let isComing = false;
  for (const entry of shelf.entries) {
    const partial = entry.partial.get(cid);
    if (partial !== undefined) {
      const bytes = await partial.assembly.read(partial.index);
      if (bytes !== undefined) return bytes;
      isComing = true;
    } else if (entry.manifest !== undefined && (await leavesOf(shelf, entry, entry.manifest)).has(cid)) {
      return shelf.ports.store.get(CID.parse(cid));
    }
  }
  return isComing ? 'soon' : undefined;
}

async function leavesOf({ ports }: ShelfState, entry: Entry, manifest: Manifest): Promise<ReadonlySet<string>> {
  if (entry.leaves !== undefined) return entry.leaves;
  const leaves = new Set<string>();
  for (const { file } of manifest.files) {
    const all =
      file.code === RAW
        ? [file]
        : (
            await readLayout(file, async (node) => {
              const block = await ports.store.get(node);
              if (block !== undefined) return block;
              throw new IdlewildError('blob_not_found', `the node ${node.toString()} of ${entry.cid} is gone`);
            })
          ).leaves.map((leaf) => leaf.cid);
    for (const leaf of all) leaves.add(leaf.toString());
  }
  entry.leaves = leaves;
  return leaves;
}
