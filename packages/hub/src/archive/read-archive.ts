/**
 * Reading an archive, sealed or not, part by part. `checkArchive` reads all of it and uses nothing: after it, what
 * `readArchive` gives is what was written, unless the disk fails in between.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { IdlewildError, codeOf, concat, fromUtf8 } from '@idlewild/protocol';
import {
  ARCHIVE_FORMAT,
  HEAD_PART,
  MANIFEST_PART,
  archiveHeadSchema,
  archiveManifestSchema,
  type ArchiveManifest,
} from './manifest.ts';
import { SEALED_HEAD_BYTES, isSealedHead, unseal } from './sealing.ts';
import { TAR_BLOCK_BYTES, paddingOf, readTarHeader } from './tar.ts';

/** The manifest of 200,000 parts; no other part that is read whole is larger. */
const WHOLE_BYTES_MAX = 64 * 1_048_576;
const READ_BYTES = 1_048_576;

export interface ArchivePart {
  readonly name: string;
  readonly bytes: number;
  chunks(): AsyncIterable<Uint8Array>;
  whole(): Promise<Uint8Array>;
}

export interface ArchiveFile {
  readonly file: string;
  readonly passphrase?: string | undefined;
  readonly signal: AbortSignal;
  /** Bytes of the file that were read, of all. */
  onProgress?(done: number, total: number): void;
}

/**
 * Its manifest, after every byte of it was held against it. Throws `usage` for what is no archive, or is sealed and
 * opened without the passphrase; `conflict` for one of a newer Idlewild; `data_corrupt`, naming the part.
 */
export async function checkArchive(from: ArchiveFile): Promise<ArchiveManifest> {
  const seen = new Map<string, { bytes: number; sha256: string }>();
  let manifest: ArchiveManifest | undefined;
  for await (const part of readArchive(from)) {
    if (part.name === MANIFEST_PART) {
      manifest = parseManifest(from, await part.whole());
      continue;
    }
    const hash = createHash('sha256');
    const pieces: Uint8Array[] = [];
    for await (const chunk of part.chunks()) {
      hash.update(chunk);
      if (part.name === HEAD_PART) pieces.push(chunk.slice());
    }
    if (part.name === HEAD_PART) checkHead(from, concat(pieces));
    seen.set(part.name, { bytes: part.bytes, sha256: hash.digest('hex') });
  }
  if (manifest === undefined) throw damagedArchive(from, 'its end is missing');
  for (const { name, bytes, sha256 } of manifest.parts) {
    const found = seen.get(name);
    if (found === undefined) throw damagedArchive(from, `its part ${name} is missing`);
    if (found.bytes !== bytes || found.sha256 !== sha256) throw damagedArchive(from, `its part ${name} is damaged`);
  }
  if (seen.size !== manifest.parts.length) throw damagedArchive(from, 'it holds parts that nobody wrote into it');
  return manifest;
}

export const damagedArchive = ({ file }: Pick<ArchiveFile, 'file'>, seen: string, cause?: unknown): IdlewildError =>
  new IdlewildError('data_corrupt', `${file} cannot be used: ${seen}. Nothing was changed; take another copy of it`, {
    cause,
  });

function checkHead(from: ArchiveFile, bytes: Uint8Array): void {
  const head = archiveHeadSchema.safeParse(parseJson(from, bytes, HEAD_PART));
  if (!head.success) throw damagedArchive(from, `its part ${HEAD_PART} is damaged`);
  if (head.data.format <= ARCHIVE_FORMAT) return;
  throw new IdlewildError(
    'conflict',
    `${from.file} was written by Idlewild ${head.data.version}, in a format that this version does not know; ` +
      'update Idlewild',
  );
}

function parseManifest(from: ArchiveFile, bytes: Uint8Array): ArchiveManifest {
  const manifest = archiveManifestSchema.safeParse(parseJson(from, bytes, MANIFEST_PART));
  if (manifest.success) return manifest.data;
  throw damagedArchive(from, `its part ${MANIFEST_PART} is damaged`);
}

function parseJson(from: ArchiveFile, bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(fromUtf8(bytes));
  } catch (cause) {
    throw damagedArchive(from, `its part ${name} is damaged`, cause);
  }
}

/** The parts in their order. A part is read, or skipped, before the next one is asked for. */
export async function* readArchive(from: ArchiveFile): AsyncGenerator<ArchivePart> {
  let last = 'its beginning';
  const explained = (error: unknown): unknown =>
    codeOf(error) !== 'data_corrupt' || (error as Error).message.startsWith(from.file)
      ? error
      : damagedArchive(from, `in ${last}, ${(error as Error).message}`, error);
  /** What goes wrong while a part is read is thrown where it is read. */
  async function* explaining(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* content;
    } catch (error) {
      throw explained(error);
    }
  }
  try {
    const reader = createReader(await openStream(from));
    for (;;) {
      const header = await reader.take(TAR_BLOCK_BYTES);
      if (header.length < TAR_BLOCK_BYTES) throw new IdlewildError('data_corrupt', 'it ends too early');
      const entry = readTarHeader(header);
      if (entry === undefined) break;
      last = entry.name;
      const content = explaining(reader.content(entry.bytes));
      yield {
        ...entry,
        chunks: () => content,
        async whole() {
          if (entry.bytes > WHOLE_BYTES_MAX) throw new IdlewildError('data_corrupt', `${entry.name} is too large`);
          const pieces: Uint8Array[] = [];
          for await (const chunk of content) pieces.push(chunk);
          return concat(pieces);
        },
      };
      for await (const _ of content);
      await reader.take(paddingOf(entry.bytes));
    }
    // The end of a sealed one is proved only once it is read.
    await reader.rest();
  } catch (error) {
    throw explained(error);
  }
}

async function openStream(from: ArchiveFile): Promise<AsyncIterable<Uint8Array>> {
  const { file, passphrase } = from;
  const total = await stat(file).then(
    ({ size }) => size,
    (cause: unknown) => {
      throw new IdlewildError('usage', `${file} cannot be read: ${(cause as Error).message}`, { cause });
    },
  );
  const pieces = readFilePieces(from, total);
  const reader = createReader(pieces);
  const head = await reader.take(SEALED_HEAD_BYTES);
  if (isSealedHead(head)) {
    if (passphrase === undefined)
      throw new IdlewildError('usage', `${file} is sealed; give the passphrase with --passphrase-file`);
    return unseal(head, reader.all(), passphrase);
  }
  if (!fromUtf8(head).startsWith(`${HEAD_PART}\0`))
    throw new IdlewildError('usage', `${file} is no archive of Idlewild, or its beginning is damaged`);
  return prepend(head, reader.all());
}

async function* prepend(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

async function* readFilePieces({ file, signal, onProgress }: ArchiveFile, total: number): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const piece of createReadStream(file, { highWaterMark: READ_BYTES })) {
    if (signal.aborted) throw new IdlewildError('cancelled', `reading ${file} was cancelled`, { cause: signal.reason });
    done += (piece as Buffer).length;
    onProgress?.(done, total);
    yield piece as Buffer;
  }
}

interface Reader {
  /** As many bytes, fewer only at the end. */
  take(bytes: number): Promise<Uint8Array>;
  /** The next `bytes`, as they come; can be gone through once. */
  content(bytes: number): AsyncGenerator<Uint8Array>;
  /** What is left, as it comes. */
  all(): AsyncGenerator<Uint8Array>;
  /** Reads to the end. */
  rest(): Promise<void>;
}

function createReader(stream: AsyncIterable<Uint8Array>): Reader {
  const source = stream[Symbol.asyncIterator]();
  let left: Uint8Array = new Uint8Array();
  const next = async (bytesMax: number): Promise<Uint8Array | undefined> => {
    while (left.length === 0) {
      const { value, done } = await source.next();
      if (done === true) return undefined;
      left = value;
    }
    const piece = left.subarray(0, bytesMax);
    left = left.subarray(piece.length);
    return piece;
  };
  return {
    async take(bytes) {
      const pieces: Uint8Array[] = [];
      for (let lacking = bytes; lacking > 0;) {
        const piece = await next(lacking);
        if (piece === undefined) break;
        pieces.push(piece);
        lacking -= piece.length;
      }
      return concat(pieces);
    },
    async *content(bytes) {
      for (let lacking = bytes; lacking > 0;) {
        const piece = await next(lacking);
        if (piece === undefined) throw new IdlewildError('data_corrupt', 'it ends too early');
        lacking -= piece.length;
        yield piece;
      }
    },
    async *all() {
      for (let piece = await next(READ_BYTES); piece !== undefined; piece = await next(READ_BYTES)) yield piece;
    },
    async rest() {
      while ((await next(READ_BYTES)) !== undefined);
    },
  };
}
