/**
 * Which finished files there are and where a copy of each of their leaves lies. In memory; rebuilt at start from the
 * folder `files/` and the stored dag-pb nodes, so it can never disagree with them for longer than a process lives.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CID } from 'multiformats/cid';
import { RAW } from '../blobs/block.ts';
import { createLeafOffsets, type LeafOffsets } from '../blobs/leaf-offsets.ts';
import { readLayout } from '../blobs/unixfs.ts';
import { IdlewildError, codeOf } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { FileLayout } from '../ports.ts';
import { parseCid } from './disk-loose-blocks.ts';

export interface StoredFile {
  readonly layout: FileLayout;
  /** The dag-pb nodes above its leaves. */
  readonly nodes: readonly CID[];
  readonly offsets: LeafOffsets;
  readonly path: string;
  /** 1 for each leaf that this process has hashed since it started. */
  readonly verified: Uint8Array;
}

export interface DiskIndex {
  add(layout: FileLayout, nodes: readonly CID[], path: string): void;
  /** Does nothing for a file that is not, or no longer, the one under its root. */
  forget(file: StoredFile): boolean;
  file(root: CID): StoredFile | undefined;
  files(): Iterable<StoredFile>;
  /** One place where a leaf lies. */
  placeOf(leaf: CID): { readonly file: StoredFile; readonly leaf: number } | undefined;
}

export function createDiskIndex(): DiskIndex {
  const files = new Map<string, StoredFile>();
  const places = new Map<string, { readonly file: StoredFile; readonly leaf: number }>();
  const addPlaces = (file: StoredFile): void => {
    file.layout.leaves.forEach(({ cid }, leaf) => {
      const key = cid.toString();
      if (!places.has(key)) places.set(key, { file, leaf });
    });
  };
  return {
    add(layout, nodes, path) {
      const verified = new Uint8Array(layout.leaves.length);
      const file: StoredFile = { layout, nodes, offsets: createLeafOffsets(layout), path, verified };
      files.set(layout.root.toString(), file);
      addPlaces(file);
    },
    forget(file) {
      const key = file.layout.root.toString();
      if (files.get(key) !== file) return false;
      files.delete(key);
      for (const [leaf, place] of places) if (place.file === file) places.delete(leaf);
      // Another file may hold the same leaves; removals are rare enough to look through them all.
      for (const other of files.values()) addPlaces(other);
      return true;
    },
    file: (root) => files.get(root.toString()),
    files: () => files.values(),
    placeOf: (leaf) => places.get(leaf.toString()),
  };
}

export interface FoundFile {
  readonly root: CID;
  readonly bytes: number;
  readonly finished: boolean;
}

/** The files of `folder`, finished ones first. */
export async function findFiles(folder: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  for (const name of await readdir(folder)) {
    const finished = !name.endsWith('.part');
    const root = parseCid(finished ? name : name.slice(0, -'.part'.length));
    if (root !== undefined) found.push({ root, bytes: (await stat(join(folder, name))).size, finished });
  }
  return found.sort((left, right) => Number(right.finished) - Number(left.finished));
}

/** What a found file must consist of; `undefined` when its nodes are gone or its size is not theirs. */
export async function layoutOfFound(
  { root, bytes }: FoundFile,
  getNode: (cid: CID) => Promise<Uint8Array | undefined>,
): Promise<{ layout: FileLayout; nodes: CID[] } | undefined> {
  if (root.code === RAW) {
    if (bytes > LIMITS.leafBytes) return undefined;
    return { layout: { root, bytes, leaves: [{ cid: root, bytes }] }, nodes: [] };
  }
  const nodes: CID[] = [];
  try {
    const layout = await readLayout(root, async (cid) => {
      const block = await getNode(cid);
      if (block === undefined) throw new IdlewildError('blob_not_found', `node ${cid} of ${root} is gone`);
      nodes.push(cid);
      return block;
    });
    return layout.bytes === bytes ? { layout, nodes } : undefined;
  } catch (error) {
    // Missing or wrong nodes make the file unfinished, which its next assembly repairs; a failing disk does not.
    if (codeOf(error) === 'blob_not_found' || codeOf(error) === 'blob_invalid') return undefined;
    throw error;
  }
}
