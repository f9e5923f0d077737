/**
 * Blobs in a folder that another process may own: read only, block by block, each hashed. It opens what
 * `createDiskBlobStore` writes, and changes nothing there, as that store would when it finds damage.
 */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { matches, type BlobStore, type Crypto, type FileLayout } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';

export interface BlobReader {
  /** A dag-pb node. */
  node(cid: CID): Promise<Uint8Array | undefined>;
  /** The leaves of a finished file in their order, `undefined` for one that is missing or damaged. */
  leaves(layout: FileLayout): AsyncIterable<Uint8Array | undefined>;
}

export const readerOfStore = (store: BlobStore): BlobReader => ({
  node: (cid) => store.get(cid),
  async *leaves(layout) {
    for (const { cid } of layout.leaves) yield await store.get(cid);
  },
});

export function readerOfFolder(folder: string, crypto: Crypto): BlobReader {
  const checked = async (cid: CID, bytes: Uint8Array | undefined): Promise<Uint8Array | undefined> =>
    bytes !== undefined && (await matches(cid, bytes, crypto)) ? bytes : undefined;
  return {
    async node(cid) {
      const path = join(folder, 'blocks', cid.toString().slice(-2), cid.toString());
      return checked(cid, await readFile(path).catch(() => undefined /* gone, or no longer to be read */));
    },
    async *leaves({ root, leaves }) {
      const handle = await open(join(folder, 'files', root.toString()), 'r').catch(() => undefined);
      try {
        let start = 0;
        for (const { cid, bytes: length } of leaves) {
          const bytes = new Uint8Array(length);
          const read = await handle?.read(bytes, 0, length, start).catch(() => undefined);
          start += length;
          yield await checked(cid, read?.bytesRead === length ? bytes : undefined);
        }
      } finally {
        await handle?.close();
      }
    },
  };
}
