/** A file of an archive, leaf by leaf into a store; every leaf is held against its CID as it enters. */
import {
  IdlewildError,
  RAW,
  matches,
  readLayout,
  type BlobStore,
  type Crypto,
  type FileLayout,
} from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import type { ArchivePart } from './read-archive.ts';

/** A file with damaged leaves stays unfinished: publishing its model again sends what is missing. */
export async function loadFile(store: BlobStore, root: CID, part: ArchivePart, crypto: Crypto): Promise<void> {
  const layout: FileLayout =
    root.code === RAW
      ? { root, bytes: part.bytes, leaves: [{ cid: root, bytes: part.bytes }] }
      : await readLayout(root, async (cid) => {
          const node = await store.get(cid);
          if (node !== undefined) return node;
          throw new IdlewildError('data_corrupt', `node ${cid.toString()} comes after the file that needs it`);
        });
  const assembly = await store.assemble(layout);
  const missing = new Set(assembly.missing());
  let index = 0;
  for await (const bytes of inLeaves(layout, part.chunks())) {
    const leaf = layout.leaves[index] as FileLayout['leaves'][number];
    if (missing.has(index) && (await matches(leaf.cid, bytes, crypto))) {
      await assembly.write(index, bytes);
      missing.delete(index);
    }
    index++;
  }
  if (missing.size === 0) await assembly.finish();
}

/** Cuts a stream at the ends of a file's leaves. */
async function* inLeaves({ leaves }: FileLayout, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let index = 0;
  let buffer = new Uint8Array(leaves[0]?.bytes ?? 0);
  let filled = 0;
  if (buffer.length === 0) yield buffer;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(buffer.length - filled, chunk.length - at);
      buffer.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < buffer.length) continue;
      yield buffer;
      buffer = new Uint8Array(leaves[++index]?.bytes ?? 0);
      filled = 0;
    }
  }
}
