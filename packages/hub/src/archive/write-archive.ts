/**
 * Writing an archive: to FILE.next, sealed or not, renamed to FILE once it is whole and on the disk. Whatever ends it
 * before (an error, a full disk, Ctrl-C) leaves nothing, and a FILE that was there as it was.
 */
import { createHash, type Hash } from 'node:crypto';
import { open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IdlewildError, utf8, type Random } from '@idlewild/protocol';
import { HUB_VERSION } from '../version.ts';
import {
  ARCHIVE_FORMAT,
  HEAD_PART,
  MANIFEST_PART,
  type ArchiveHead,
  type ArchiveKind,
  type ArchiveManifest,
} from './manifest.ts';
import { createSealer } from './sealing.ts';
import { TAR_BLOCK_BYTES, paddingOf, tarHeader } from './tar.ts';

/** Writes of this size reach a disk at its full speed. */
const BUFFER_BYTES = 1_048_576;

export interface PartWriter {
  part(name: string, bytes: Uint8Array): Promise<void>;
  /** Of a known length; throws when the chunks do not have it. */
  longPart(name: string, bytes: number, chunks: AsyncIterable<Uint8Array>): Promise<void>;
}

export interface ArchiveOptions {
  readonly file: string;
  readonly kind: ArchiveKind;
  readonly nowMs: number;
  readonly passphrase?: string | undefined;
  readonly random: Random;
  readonly signal: AbortSignal;
}

type Told = Omit<ArchiveManifest, keyof ArchiveHead | 'parts'>;
type Sink = (bytes: Uint8Array) => Promise<void>;

/**
 * `fill` writes the parts and says what goes into the manifest. Throws `disk_full`, `cancelled`, `usage` for a place
 * that cannot be written to, and what `fill` throws.
 */
export async function writeArchive(
  options: ArchiveOptions,
  fill: (writer: PartWriter) => Promise<Told>,
): Promise<ArchiveManifest> {
  const { file, kind, nowMs } = options;
  const next = `${file}.next`;
  await refuseSpecial(file);
  const head: ArchiveHead = {
    format: ARCHIVE_FORMAT,
    kind,
    version: HUB_VERSION,
    createdAt: new Date(nowMs).toISOString(),
  };
  const handle = await createAnew(next).catch((error: unknown) => {
    throw placeError(error, file);
  });
  try {
    const raw = bufferInto((bytes) => handle.writeFile(bytes), options.signal);
    const sealed =
      options.passphrase === undefined
        ? undefined
        : await createSealer(raw.write, options.passphrase, options.random.bytes(16));
    const parts: ArchiveManifest['parts'] = [];
    const writer = createPartWriter(sealed?.write ?? raw.write, nowMs, parts);
    await writer.part(HEAD_PART, utf8(`${JSON.stringify(head)}\n`));
    const told = await fill(writer);
    const manifest: ArchiveManifest = { ...head, ...told, parts: [...parts] };
    await writer.part(MANIFEST_PART, utf8(`${JSON.stringify(manifest)}\n`));
    await (sealed?.write ?? raw.write)(new Uint8Array(2 * TAR_BLOCK_BYTES));
    await sealed?.end();
    await raw.flush();
    await handle.sync();
    await handle.close();
    await rename(next, file);
    await syncFolderOf(file);
    return manifest;
  } catch (error) {
    await handle.close().catch(() => undefined /* closed already */);
    await rm(next, { force: true });
    throw placeError(error, file);
  }
}

/** What is there was left by a run that was interrupted, or laid there by somebody who reads along. */
async function createAnew(path: string): Promise<FileHandle> {
  await rm(path, { force: true });
  return open(path, 'wx', 0o600);
}

/** What is there may be replaced by a newer archive; a folder or a device must not be. */
async function refuseSpecial(file: string): Promise<void> {
  const there = await stat(file).catch(
    () => undefined /* nothing there, or its folder is not: told when it is opened */,
  );
  if (there === undefined || there.isFile()) return;
  throw new IdlewildError('usage', `${file} is there already, and is no plain file; name a file to write to`);
}

/** A rename is durable once its folder is. Windows has no such call and needs none. */
async function syncFolderOf(file: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(dirname(file), 'r');
  await folder.sync().finally(() => folder.close());
}

function placeError(thrown: unknown, file: string): unknown {
  const { code, message } = thrown as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
    const words =
      `there is no room for ${file}; what was written of it is deleted again. ` +
      'Free some space, or give another place';
    return new IdlewildError('disk_full', words, { cause: thrown });
  }
  if (
    code === 'EACCES' ||
    code === 'EPERM' ||
    code === 'ENOENT' ||
    code === 'ENOTDIR' ||
    code === 'EROFS' ||
    code === 'EISDIR'
  )
    return new IdlewildError('usage', `${file} cannot be written: ${message}`, { cause: thrown });
  return thrown;
}

function bufferInto(sink: Sink, signal: AbortSignal): { readonly write: Sink; readonly flush: () => Promise<void> } {
  const buffer = Buffer.alloc(BUFFER_BYTES);
  let filled = 0;
  const flush = async (): Promise<void> => {
    const ready = buffer.subarray(0, filled);
    filled = 0;
    await sink(ready);
  };
  return {
    flush,
    async write(bytes) {
      if (signal.aborted) throw new IdlewildError('cancelled', 'the archive was cancelled', { cause: signal.reason });
      for (let at = 0; at < bytes.length;) {
        const taken = Math.min(BUFFER_BYTES - filled, bytes.length - at);
        buffer.set(bytes.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled === BUFFER_BYTES) await flush();
      }
    },
  };
}

function createPartWriter(sink: Sink, nowMs: number, parts: ArchiveManifest['parts']): PartWriter {
  const end = async (name: string, bytes: number, hash: Hash): Promise<void> => {
    await sink(new Uint8Array(paddingOf(bytes)));
    parts.push({ name, bytes, sha256: hash.digest('hex') });
  };
  return {
    async part(name, bytes) {
      await sink(tarHeader({ name, bytes: bytes.length }, nowMs));
      await sink(bytes);
      await end(name, bytes.length, createHash('sha256').update(bytes));
    },
    async longPart(name, bytes, chunks) {
      await sink(tarHeader({ name, bytes }, nowMs));
      const hash = createHash('sha256');
      let written = 0;
      for await (const chunk of chunks) {
        hash.update(chunk);
        await sink(chunk);
        written += chunk.length;
      }
      if (written !== bytes) throw new Error(`${name} has ${written} bytes and was to have ${bytes}`);
      await end(name, bytes, hash);
    },
  };
}
