/**
 * The `ModelFolders` port on a disk: `FOLDER/CID/PATH` is a hard link to the store's file. Links cost no bytes, and
 * Node's permission flags, which resolve symbolic links, let an engine read the folder without seeing the store.
 */
import { copyFile, constants, link, mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CID } from 'multiformats/cid';
import { IdlewildError, type ErrorCode } from '@idlewild/protocol';
import { engineModelOf, type ModelFolders } from '../core/model-folders.ts';

const CODES: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'disk_full',
  EDQUOT: 'disk_full',
  ENOENT: 'blob_not_found',
};

const codeOfError = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? '';

/** `pathOf`: where the store keeps a finished file, in this same file system if links are to be made. */
export function createNodeModelFolders({
  folder,
  pathOf,
}: {
  folder: string;
  pathOf(root: CID): string;
}): ModelFolders {
  return {
    note: async (cid) => {
      await guarded(mkdir(join(folder, cid), { recursive: true }), `making a folder for ${cid}`);
    },
    list: () =>
      readdir(folder).catch((error: unknown) => {
        if (codeOfError(error) === 'ENOENT') return [];
        throw error;
      }),
    async prepare(cid, manifest) {
      for (const { path, file } of manifest.files) {
        await guarded(place(pathOf(file), join(folder, cid, path)), `placing "${path}" of ${cid}`);
      }
      return engineModelOf(cid, manifest, join(folder, cid));
    },
    // The folder's own time of change is the last use: a fetch or a first load counts as one, which is as it should be.
    noteUse: (cid, atMs) =>
      utimes(join(folder, cid), atMs / 1_000, atMs / 1_000).catch((error: unknown) => {
        if (codeOfError(error) !== 'ENOENT') throw error;
      }),
    usedAt: async (cid) => (await stat(join(folder, cid)).catch(() => undefined))?.mtimeMs,
    remove: (cid) => rm(join(folder, cid), { recursive: true, force: true }),
  };
}

async function place(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  const [held, wanted] = await Promise.all([stat(to).catch(() => undefined), stat(from)]);
  if (held !== undefined && held.ino === wanted.ino && held.dev === wanted.dev) return;
  await rm(to, { force: true });
  try {
    await link(from, to);
  } catch (error) {
    // File systems without hard links, or a store elsewhere: a copy, or a clone where there are those.
    if (!['EXDEV', 'EPERM', 'ENOTSUP', 'EMLINK', 'ENOSYS'].includes(codeOfError(error))) throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
  }
}

async function guarded<Result>(work: Promise<Result>, what: string): Promise<Result> {
  try {
    return await work;
  } catch (cause) {
    const code = CODES[codeOfError(cause)] ?? 'internal';
    throw new IdlewildError(code, `${what} failed: ${(cause as Error).message}`, { cause });
  }
}
