/**
 * The few file operations that the disk store is built of, each either done and durable or undone.
 *
 * A full disk becomes `disk_full`; any other failure of the system keeps its own message under `internal`.
 */
import { open, rename, rm } from 'node:fs/promises';
import { IdlewildError } from '../errors.ts';

const FULL = new Set(['ENOSPC', 'EDQUOT']);

const systemCodeOf = (thrown: unknown): string | undefined => (thrown as { code?: string } | null)?.code;

export const isAbsent = (thrown: unknown): boolean => systemCodeOf(thrown) === 'ENOENT';

/** What the system threw, as one of our errors. */
export function storageError(thrown: unknown, attempted: string): IdlewildError {
  if (thrown instanceof IdlewildError) return thrown;
  const message = `${attempted}: ${(thrown as Error).message}`;
  const code = FULL.has(systemCodeOf(thrown) ?? '') ? 'disk_full' : 'internal';
  return new IdlewildError(code, code === 'disk_full' ? `${message}; free some space and try again` : message, {
    cause: thrown,
  });
}

/** Makes renames and new names in `folder` durable. Windows has no such call and needs none: NTFS journals names. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

/** Writes to `temporary`, then renames: at no moment does `target` hold part of the bytes. */
export async function writeDurably(
  temporary: string,
  target: string,
  folder: string,
  bytes: Uint8Array,
): Promise<void> {
  try {
    const handle = await open(temporary, 'w');
    await writeAll(handle, bytes, 0)
      .then(() => handle.sync())
      .finally(() => handle.close());
    await rename(temporary, target);
    await syncFolder(folder);
  } catch (error) {
    await rm(temporary, { force: true });
    throw storageError(error, `writing block ${target}`);
  }
}

/** Writes at `offset` of an existing file. Not synced. */
export async function writeAt(path: string, bytes: Uint8Array, offset: number): Promise<void> {
  const handle = await open(path, 'r+');
  await writeAll(handle, bytes, offset).finally(() => handle.close());
}

async function writeAll(handle: Awaited<ReturnType<typeof open>>, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}

/**
 * Up to `length` bytes at `offset`; fewer when the file ends before or a sector cannot be read, which is damage like
 * any other; `undefined` when there is no file.
 */
export async function readAt(path: string, offset: number, length: number): Promise<Uint8Array | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw storageError(error, `opening ${path}`);
  }
  const bytes = new Uint8Array(length);
  let done = 0;
  try {
    while (done < length) {
      const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes.subarray(0, done);
  } catch (error) {
    if (systemCodeOf(error) === 'EIO') return bytes.subarray(0, done);
    throw storageError(error, `reading ${path}`);
  } finally {
    await handle.close();
  }
}
