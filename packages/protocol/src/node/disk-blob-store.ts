/**
 * The `BlobStore` port in a folder that this process owns:
 *
 *   blocks/XY/CID     loose blocks: manifests, dag-pb nodes
 *   files/ROOT        finished files, contiguous, so that an engine can open them; their leaves are served from here
 *   files/ROOT.part   unfinished ones
 *   tmp/              writes that are not blocks yet; emptied at start
 *
 * A block is hashed whenever it is served, a leaf also the first time that `read` touches it; a finished file found
 * damaged becomes a `.part` again, whose good leaves survive and whose bad ones are missing. The quota counts a file in
 * full from the moment its assembly opens. Keeping a second process off the folder is the matter of whoever owns it.
 */
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CID } from 'multiformats/cid';
import { matches, verifyBlock } from '../blobs/block.ts';
import { proveLayout } from '../blobs/unixfs.ts';
import { concat } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { BlobStore, Crypto, FileAssembly, FileLayout } from '../ports.ts';
import { openDiskAssembly, type DiskAssembly } from './disk-assembly.ts';
import { isAbsent, readAt, storageError, syncFolder } from './disk-files.ts';
import {
  createDiskIndex,
  findFiles,
  layoutOfFound,
  type DiskIndex,
  type FoundFile,
  type StoredFile,
} from './disk-index.ts';
import { openLooseBlocks, type LooseBlocks } from './disk-loose-blocks.ts';
import { createQuota, type Quota } from './disk-quota.ts';

export interface DiskBlobStore extends BlobStore {
  /** Where a finished file lies. Throws `blob_not_found`. The file must not be written to. */
  pathOf(root: CID): string;
  /** Reads and hashes all of a finished file; `false` when it is damaged (it is unfinished then) or not there. */
  verify(root: CID): Promise<boolean>;
}

interface Part {
  readonly assembly: DiskAssembly;
  readonly nodes: readonly CID[];
}

interface Disk {
  readonly crypto: Crypto;
  readonly filesFolder: string;
  readonly quota: Quota;
  readonly loose: LooseBlocks;
  readonly index: DiskIndex;
  /** Assemblies by root; whoever assembles the same root shares one. */
  readonly parts: Map<string, Promise<Part>>;
}

/** Opens the store and rebuilds its index. Throws `disk_full` or `internal` when the folder cannot be used. */
export async function createDiskBlobStore(options: {
  folder: string;
  quotaBytes: number;
  crypto: Crypto;
}): Promise<DiskBlobStore> {
  const { folder, crypto } = options;
  const filesFolder = join(folder, 'files');
  const quota = createQuota(options.quotaBytes);
  const disk = await openDisk().catch((error: unknown) => {
    throw storageError(error, `opening the blob store in ${folder}`);
  });
  async function openDisk(): Promise<Disk> {
    await mkdir(filesFolder, { recursive: true });
    const loose = await openLooseBlocks({ folder, crypto, quota });
    const opened: Disk = { crypto, filesFolder, quota, loose, index: createDiskIndex(), parts: new Map() };
    for (const found of await findFiles(filesFolder)) await restore(opened, found);
    return opened;
  }
  const { index, loose } = disk;
  return {
    get: (cid) => getBlock(disk, cid),
    has: async (cid) => loose.has(cid) || index.placeOf(cid) !== undefined,
    async put(cid, bytes) {
      await verifyBlock(cid, bytes, crypto);
      if (index.placeOf(cid) === undefined) await loose.put(cid, bytes);
    },
    assemble: (layout) => assemble(disk, layout),
    read: (root, offset, length) => readRange(disk, root, offset, length),
    hasFile: async (root) => index.file(root) !== undefined,
    takenBy: async (root) => quota.heldBy(quotaName(root)),
    remove: (cid) => remove(disk, cid),
    usage: async () => quota.usage(),
    pathOf: (root) => finishedFile(disk, root).path,
    async verify(root) {
      const file = index.file(root);
      if (file === undefined) return false;
      for (const leaf of file.layout.leaves.keys()) if ((await readLeaf(disk, file, leaf)) === undefined) return false;
      return true;
    },
  };
}

const pathOfRoot = ({ filesFolder }: Disk, root: CID): string => join(filesFolder, root.toString());
const partOfRoot = (disk: Disk, root: CID): string => `${pathOfRoot(disk, root)}.part`;
const quotaName = (root: CID): string => `file ${root}`;

function finishedFile({ index }: Disk, root: CID): StoredFile {
  const file = index.file(root);
  if (file === undefined) throw new IdlewildError('blob_not_found', `file ${root} is not stored`);
  return file;
}

/** Takes one file of the folder into account at start. */
async function restore(disk: Disk, found: FoundFile): Promise<void> {
  const { root, bytes, finished } = found;
  if (!finished && disk.index.file(root) !== undefined) return rm(partOfRoot(disk, root));
  disk.quota.count(quotaName(root), bytes);
  if (!finished) return undefined;
  const known = await layoutOfFound(found, disk.loose.get);
  if (known === undefined) return rename(pathOfRoot(disk, root), partOfRoot(disk, root));
  return disk.index.add(known.layout, known.nodes, pathOfRoot(disk, root));
}

/** Makes a damaged file unfinished: its next assembly keeps what is good and asks for what is not. */
async function demote(disk: Disk, file: StoredFile): Promise<void> {
  if (!disk.index.forget(file)) return;
  const { root } = file.layout;
  try {
    await rename(file.path, partOfRoot(disk, root));
    await syncFolder(disk.filesFolder);
  } catch (error) {
    if (!isAbsent(error)) throw storageError(error, `setting the damaged file ${root} aside`);
    disk.quota.release(quotaName(root));
  }
}

/** One leaf of a finished file, hashed; `undefined` after demoting a file whose leaf is damaged. */
async function readLeaf(disk: Disk, file: StoredFile, leaf: number): Promise<Uint8Array | undefined> {
  const { cid, bytes: length } = file.layout.leaves[leaf] as FileLayout['leaves'][number];
  const bytes = await readAt(file.path, file.offsets.startOf(leaf), length);
  if (bytes?.length === length && (await matches(cid, bytes, disk.crypto))) {
    file.verified[leaf] = 1;
    return bytes;
  }
  await demote(disk, file);
  return undefined;
}

async function getBlock(disk: Disk, cid: CID): Promise<Uint8Array | undefined> {
  const block = await disk.loose.get(cid);
  if (block !== undefined) return block;
  for (;;) {
    // Each round either answers or demotes the file that it looked in.
    const place = disk.index.placeOf(cid);
    if (place === undefined) return undefined;
    const bytes = await readLeaf(disk, place.file, place.leaf);
    if (bytes !== undefined) return bytes;
  }
}

async function readRange(disk: Disk, root: CID, offset: number, length: number): Promise<Uint8Array> {
  const file = finishedFile(disk, root);
  const pieces: Uint8Array[] = [];
  for (const { leaf, from, to } of file.offsets.spansOf(offset, length)) {
    const piece =
      file.verified[leaf] === 1
        ? await readAt(file.path, file.offsets.startOf(leaf) + from, to - from)
        : (await readLeaf(disk, file, leaf))?.subarray(from, to);
    if (piece?.length !== to - from) {
      await demote(disk, file);
      throw new IdlewildError(
        'blob_not_found',
        `file ${root} is damaged on this disk at leaf ${leaf}; fetch it again to repair it`,
      );
    }
    pieces.push(piece);
  }
  return pieces.length === 1 ? (pieces[0] as Uint8Array) : concat(pieces);
}

/** Of a file that is there already. */
const finishedAssembly = (disk: Disk, { leaves }: FileLayout): FileAssembly => ({
  missing: () => [],
  read: async (leaf) => {
    const cid = leaves[leaf]?.cid;
    return cid === undefined ? undefined : getBlock(disk, cid);
  },
  write: async () => {},
  finish: async () => {},
});

async function assemble(disk: Disk, layout: FileLayout): Promise<FileAssembly> {
  if (disk.index.file(layout.root) !== undefined) return finishedAssembly(disk, layout);
  const key = layout.root.toString();
  let opening = disk.parts.get(key);
  if (opening === undefined) {
    opening = openPart(disk, layout).catch((error: unknown) => {
      disk.parts.delete(key);
      throw error;
    });
    disk.parts.set(key, opening);
  }
  return (await opening).assembly;
}

async function openPart(disk: Disk, layout: FileLayout): Promise<Part> {
  const { root } = layout;
  const nodes = await proveLayout(layout, (cid) => getBlock(disk, cid), disk.crypto);
  disk.quota.hold(quotaName(root), layout.bytes);
  try {
    for (const { cid, bytes } of nodes) await disk.loose.put(cid, bytes);
    const cids = nodes.map(({ cid }) => cid);
    const assembly = await openDiskAssembly({
      layout,
      partPath: partOfRoot(disk, root),
      finalPath: pathOfRoot(disk, root),
      crypto: disk.crypto,
      onFinished() {
        disk.parts.delete(root.toString());
        disk.index.add(layout, cids, pathOfRoot(disk, root));
      },
    });
    for (const leaf of assembly.missing()) {
      const bytes = await getBlock(disk, (layout.leaves[leaf] as FileLayout['leaves'][number]).cid);
      if (bytes !== undefined) await assembly.write(leaf, bytes);
    }
    return { assembly: withLooseRootDropped(disk, layout, assembly), nodes: cids };
  } catch (error) {
    const left = await stat(partOfRoot(disk, root)).catch(() => undefined);
    if (left === undefined) disk.quota.release(quotaName(root));
    throw storageError(error, `opening the assembly of file ${root}`);
  }
}

/** The only leaf of a small file is also its root and may have come as a block; the file serves it from then on. */
function withLooseRootDropped(disk: Disk, { root, leaves }: FileLayout, assembly: DiskAssembly): DiskAssembly {
  if (!root.equals(leaves[0]?.cid)) return assembly;
  return {
    ...assembly,
    async finish() {
      await assembly.finish();
      await disk.loose.remove(root);
    },
  };
}

async function remove(disk: Disk, cid: CID): Promise<void> {
  const key = cid.toString();
  const file = disk.index.file(cid);
  // An assembly that failed to open tells whoever opened it; here it only means that there is none.
  const part = await disk.parts.get(key)?.catch(() => undefined);
  part?.assembly.abandon();
  disk.parts.delete(key);
  if (file !== undefined) disk.index.forget(file);
  await rm(pathOfRoot(disk, cid), { force: true });
  await rm(partOfRoot(disk, cid), { force: true });
  disk.quota.release(quotaName(cid));
  await disk.loose.remove(cid);
  const open = await Promise.all([...disk.parts.values()].map((other) => other.catch(() => undefined)));
  const needed = new Set([...disk.index.files(), ...open].flatMap((other) => other?.nodes.map(String) ?? []));
  for (const node of (file ?? part)?.nodes ?? []) if (!needed.has(node.toString())) await disk.loose.remove(node);
}
