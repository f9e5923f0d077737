/**
 * Files on their way from Hugging Face to this disk, each under its hash. What has arrived of one lies in `HASH.part`
 * and stays there through a kill or a power cut; the next attempt asks for the rest alone. A file gets its name only
 * when all of its bytes are there and hash to it, so what has a name is whole.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm, stat, truncate, writeFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { bytesText } from '../text/units.ts';
import { refusalOf, type Reference, type RemoteFile } from './repository.ts';
import { patiently, type Patience } from './retry.ts';
import type { Answer, Web } from './web.ts';

/** Whole transfers of one file whose bytes turn out wrong. */
const WRONG_MAX = 2;

export interface Blobs {
  /** Bytes that are here of a file. */
  held(file: RemoteFile): Promise<number>;
  /** Where the file lies, whole and verified. Throws `blob_mismatch`, `disk_full` and what asking throws. */
  fetch(file: RemoteFile, options: FetchOptions): Promise<string>;
}

export interface FetchOptions {
  readonly reference: Reference;
  readonly commit: string;
  readonly patience: Patience;
  /** Bytes that are here now; fewer than before when a transfer starts over. */
  onHeld(bytes: number): void;
}

export function createBlobs(folder: string, web: Web): Blobs {
  return {
    async held(file) {
      return (await lengthOf(join(folder, file.hash))) ?? Math.min(await partBytes(folder, file), file.bytes);
    },
    async fetch(file, options) {
      const whole = join(folder, file.hash);
      if ((await lengthOf(whole)) === file.bytes) return whole;
      for (let wrong = 0; ; wrong++) {
        const hash = await transfer(folder, file, { ...options, web });
        if (hash === file.hash) break;
        await dropPart(folder, file);
        options.onHeld(0);
        if (wrong + 1 >= WRONG_MAX) throw mismatch(file, hash);
      }
      await rename(partOf(folder, file), whole);
      await rm(etagOf(folder, file), { force: true });
      return whole;
    },
  };
}

const partOf = (folder: string, { hash }: RemoteFile): string => join(folder, `${hash}.part`);
const etagOf = (folder: string, { hash }: RemoteFile): string => join(folder, `${hash}.etag`);
const partBytes = async (folder: string, file: RemoteFile): Promise<number> =>
  (await lengthOf(partOf(folder, file))) ?? 0;

async function dropPart(folder: string, file: RemoteFile): Promise<void> {
  await rm(partOf(folder, file), { force: true });
  await rm(etagOf(folder, file), { force: true });
}

/** Everything that one transfer works on. */
interface Part {
  readonly folder: string;
  readonly file: RemoteFile;
  readonly handle: FileHandle;
  readonly onHeld: (bytes: number) => void;
  bytes: number;
  hash: Hash;
}

type TransferOptions = FetchOptions & { readonly web: Web };

/** Fetches what is missing of the part; the hash of the whole. */
async function transfer(folder: string, file: RemoteFile, options: TransferOptions): Promise<string> {
  const path = partOf(folder, file);
  if ((await partBytes(folder, file)) > file.bytes) await dropPart(folder, file);
  const handle = await open(path, 'a');
  try {
    const hash = hashFor(file);
    for await (const chunk of createReadStream(path)) {
      if (options.patience.signal.aborted) throw new IdlewildError('cancelled', 'interrupted');
      hash.update(chunk as Uint8Array);
    }
    const part: Part = { folder, file, handle, hash, bytes: await partBytes(folder, file), onHeld: options.onHeld };
    part.onHeld(part.bytes);
    const rest = (): Promise<void> => fetchRest(part, options);
    if (part.bytes < file.bytes) await patiently(rest, options.patience, () => part.bytes);
    await handle.sync();
    return part.hash.digest('hex');
  } finally {
    await handle.close();
  }
}

/** One request, and as much of its answer as comes. */
async function fetchRest(part: Part, { web, reference, commit, patience }: TransferOptions): Promise<void> {
  const { file, folder } = part;
  const path = `/${reference.repository}/resolve/${commit}/${file.path.split('/').map(encodeURIComponent).join('/')}`;
  const etag = part.bytes === 0 ? undefined : await readEtag(etagOf(folder, file));
  const range = part.bytes === 0 ? {} : { range: `bytes=${part.bytes}-` };
  const headers = { ...range, ...(etag === undefined ? {} : { 'if-range': etag }) };
  const answer = await web.get(path, { headers, signal: patience.signal });
  const { clock } = patience;
  try {
    await expectRest(part, answer, { web, reference, clock });
    await keepEtag(etagOf(folder, file), answer.headers.etag);
    for await (const chunk of answer.body) {
      if (part.bytes + chunk.length > file.bytes)
        throw strange(file, `sends more than the ${file.bytes} bytes it stated`);
      await write(part.handle, chunk, file);
      part.hash.update(chunk);
      part.bytes += chunk.length;
      part.onHeld(part.bytes);
    }
  } finally {
    answer.drop();
  }
  if (part.bytes < file.bytes) throw strange(file, `ended after ${bytesText(part.bytes)} of ${bytesText(file.bytes)}`);
}

/** That the answer carries the bytes that are missing; where it carries the whole, the part begins anew. */
async function expectRest(
  part: Part,
  answer: Answer,
  asked: { readonly web: Web; readonly reference: Reference; readonly clock: Clock },
): Promise<void> {
  const { file } = part;
  const { status, headers } = answer;
  if (status === 206) {
    const [, from, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers['content-range'] ?? '') ?? [];
    if (Number(from) === part.bytes && Number(total) === file.bytes) return;
    await restart(part);
    throw strange(file, `answered with a range that was not asked for (${headers['content-range'] ?? 'none'})`);
  }
  if (status === 416) {
    await restart(part);
    throw strange(file, 'has no such range');
  }
  if (status !== 200) throw await refusalOf(answer, { ...asked, path: file.path });
  if (part.bytes > 0) await restart(part);
  const length = headers['content-length'];
  if (length === undefined || Number(length) === file.bytes) return;
  throw strange(file, `has ${length} bytes where ${file.bytes} were stated${Number(length) < 1_024 ? POINTER : ''}`);
}

const POINTER = ' (a pointer of Git LFS, it seems, in place of the file)';

async function restart(part: Part): Promise<void> {
  await truncate(partOf(part.folder, part.file), 0);
  part.bytes = 0;
  part.hash = hashFor(part.file);
  part.onHeld(0);
}

/** Of a small file Git's own: SHA-1 over `blob LENGTH`, a zero and the bytes. */
function hashFor({ hashKind, bytes }: RemoteFile): Hash {
  return hashKind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${bytes}\0`);
}

/** A weak one promises nothing about bytes (RFC 9110, 13.1.5). */
async function keepEtag(path: string, etag: string | undefined): Promise<void> {
  if (etag === undefined || !/^"[\u0021-\u007e]{0,200}"$/.test(etag)) await rm(path, { force: true });
  else if ((await readEtag(path)) !== etag) await writeFile(path, etag);
}

async function readEtag(path: string): Promise<string | undefined> {
  return (await lengthOf(path)) === undefined ? undefined : readFile(path, 'utf8');
}

async function write(handle: FileHandle, chunk: Uint8Array, file: RemoteFile): Promise<void> {
  try {
    await handle.appendFile(chunk);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw cause;
    throw new IdlewildError('disk_full', `the disk is full while ${file.path} is fetched; make room and try again`, {
      cause,
    });
  }
}

async function lengthOf(path: string): Promise<number | undefined> {
  const found = await stat(path).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  });
  return found?.size;
}

const strange = (file: RemoteFile, what: string): IdlewildError =>
  new IdlewildError('source_unreachable', `the source of ${file.path} ${what}`);

const mismatch = (file: RemoteFile, seen: string): IdlewildError =>
  new IdlewildError(
    'blob_mismatch',
    `${file.path} hashes to ${seen.slice(0, 16)}…, not to the ${file.hash.slice(0, 16)}… that the repository states; ` +
      `it was fetched ${WRONG_MAX} times and nothing of it is kept`,
  );
