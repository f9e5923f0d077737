/**
 * Blocks on this machine's disk that are kept elsewhere for good: what costs a replica nothing to lose.
 *
 *   FOLDER/XY/CID   one file a block; the last two characters of a CID name its folder
 *
 * The least recently used go when the quota is reached. A block that no longer hashes to its name is deleted when it is
 * asked for. Nothing is synced, and a disk that is full or broken means that less is kept, and no error.
 */
import { mkdir, open, readFile, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { matches, messageOf, type Crypto } from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import type { Log } from '../log.ts';

export interface BlockCache {
  get(cid: CID): Promise<Uint8Array | undefined>;
  /** `bytes` are verified already. */
  keep(cid: CID, bytes: Uint8Array): Promise<void>;
  remove(cid: CID): Promise<void>;
  bytes(): number;
}

export interface BlockCacheOptions {
  readonly folder: string;
  readonly quotaBytes: number;
  readonly crypto: Crypto;
  readonly log: Log;
}

/** Opens the cache; what an earlier process kept is there again, oldest first. */
export async function openBlockCache({ folder, quotaBytes, crypto, log }: BlockCacheOptions): Promise<BlockCache> {
  // In the order of their last use: a Map remembers in which its keys came.
  const sizes = new Map<string, number>();
  const writing = new Map<string, Promise<void>>();
  let total = 0;
  let temporaries = 0;
  const folderOf = (key: string): string => join(folder, key.slice(-2));
  const pathOf = (key: string): string => join(folderOf(key), key);

  const forget = async (key: string): Promise<void> => {
    total -= sizes.get(key) ?? 0;
    sizes.delete(key);
    await rm(pathOf(key), { force: true });
  };
  const makeRoom = async (): Promise<void> => {
    while (total > quotaBytes) {
      const [oldest] = sizes.keys();
      if (oldest === undefined) return;
      await forget(oldest);
    }
  };
  const write = async (key: string, bytes: Uint8Array): Promise<void> => {
    if (bytes.length > quotaBytes) return;
    const temporary = join(folder, `${++temporaries}.next`);
    try {
      await mkdir(folderOf(key), { recursive: true });
      const handle = await open(temporary, 'w', 0o600);
      await handle.writeFile(bytes).finally(() => handle.close());
      await rename(temporary, pathOf(key));
      total += bytes.length - (sizes.get(key) ?? 0);
      sizes.delete(key);
      sizes.set(key, bytes.length);
      await makeRoom();
    } catch (error) {
      await rm(temporary, { force: true });
      log.warn({ why: messageOf(error), cid: key }, 'a block could not be kept on this disk; the database has it');
    }
  };

  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const { key, size } of await listed(folder)) {
    sizes.set(key, size);
    total += size;
  }
  await makeRoom();
  return {
    async get(cid) {
      const key = cid.toString();
      const size = sizes.get(key);
      if (size === undefined) return undefined;
      const bytes = await readFile(pathOf(key)).catch(() => undefined /* gone or unreadable: as if never kept */);
      if (bytes === undefined || !(await matches(cid, bytes, crypto))) {
        await forget(key);
        return undefined;
      }
      if (sizes.delete(key)) sizes.set(key, size);
      return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    },
    async keep(cid, bytes) {
      const key = cid.toString();
      if (sizes.has(key)) return;
      const started = writing.get(key) ?? write(key, bytes).finally(() => writing.delete(key));
      writing.set(key, started);
      await started;
    },
    remove: async (cid) => {
      await writing.get(cid.toString());
      if (sizes.has(cid.toString())) await forget(cid.toString());
    },
    bytes: () => total,
  };
}

/** Blocks that are there, the longest unread first; what a crash left half written is deleted. */
async function listed(folder: string): Promise<{ readonly key: string; readonly size: number }[]> {
  const found: { key: string; size: number; usedMs: number }[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (!entry.isFile()) continue;
    if (entry.name.endsWith('.next')) await rm(path, { force: true });
    else if (isCid(entry.name)) {
      const { size, mtimeMs, atimeMs } = await stat(path);
      found.push({ key: entry.name, size, usedMs: Math.max(mtimeMs, atimeMs) });
    }
  }
  return found.sort((left, right) => left.usedMs - right.usedMs);
}

function isCid(name: string): boolean {
  try {
    return CID.parse(name).toString() === name;
  } catch {
    // Not a CID: there is no other way to ask.
    return false;
  }
}
