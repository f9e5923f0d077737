/**
 * Blocks that are stored alone, one file each under `blocks/XY/CID`.
 *
 * The last two characters of a CID name its folder: the first ones are the same in all. What is there is listed once at
 * start. A block that no longer hashes to its name is deleted when it is found, and counts as missing.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CID } from 'multiformats/cid';
import { matches } from '../blobs/block.ts';
import type { Crypto } from '../ports.ts';
import { readAt, storageError, syncFolder, writeDurably } from './disk-files.ts';
import type { Quota } from './disk-quota.ts';

export interface LooseBlocks {
  has(cid: CID): boolean;
  get(cid: CID): Promise<Uint8Array | undefined>;
  /** `bytes` are verified already. Throws `quota_exceeded`, `disk_full`. */
  put(cid: CID, bytes: Uint8Array): Promise<void>;
  remove(cid: CID): Promise<void>;
}

/** A CID that is written as this project writes it; other names in our folders are somebody else's and left alone. */
export function parseCid(name: string): CID | undefined {
  try {
    const cid = CID.parse(name);
    return cid.toString() === name ? cid : undefined;
  } catch {
    // Not a CID: there is no other way to ask.
    return undefined;
  }
}

export async function openLooseBlocks(parts: { folder: string; crypto: Crypto; quota: Quota }): Promise<LooseBlocks> {
  const { crypto, quota } = parts;
  const root = join(parts.folder, 'blocks');
  const temporary = join(parts.folder, 'tmp');
  const sizes = new Map<string, number>();
  const writing = new Map<string, Promise<void>>();
  const folderOf = (key: string): string => join(root, key.slice(-2));
  const nameOf = (key: string): string => `block ${key}`;

  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  await mkdir(root, { recursive: true });
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || parseCid(entry.name) === undefined) continue;
    const { size } = await stat(join(entry.parentPath, entry.name));
    sizes.set(entry.name, size);
    quota.count(nameOf(entry.name), size);
  }

  const write = async (key: string, bytes: Uint8Array): Promise<void> => {
    quota.hold(nameOf(key), bytes.length);
    try {
      const made = await mkdir(folderOf(key), { recursive: true });
      if (made !== undefined) await syncFolder(root);
      await writeDurably(join(temporary, key), join(folderOf(key), key), folderOf(key), bytes);
      sizes.set(key, bytes.length);
    } catch (error) {
      quota.release(nameOf(key));
      throw storageError(error, `storing block ${key}`);
    }
  };
  const remove = async (cid: CID): Promise<void> => {
    const key = cid.toString();
    if (!sizes.delete(key)) return;
    await rm(join(folderOf(key), key), { force: true });
    quota.release(nameOf(key));
  };

  return {
    has: (cid) => sizes.has(cid.toString()),
    async get(cid) {
      const key = cid.toString();
      const size = sizes.get(key);
      if (size === undefined) return undefined;
      const bytes = await readAt(join(folderOf(key), key), 0, size);
      if (bytes !== undefined && (await matches(cid, bytes, crypto))) return bytes;
      await remove(cid);
      return undefined;
    },
    async put(cid, bytes) {
      const key = cid.toString();
      if (sizes.has(key)) return;
      const started = writing.get(key) ?? write(key, bytes).finally(() => writing.delete(key));
      writing.set(key, started);
      await started;
    },
    remove,
  };
}
