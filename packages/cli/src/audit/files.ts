/** Copies and proofs as files. */
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { IdlewildError, messageOf, verifyCopy, type KnownLog } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';

const unreadable = (file: string, cause: unknown): IdlewildError =>
  new IdlewildError('usage', `cannot read ${file}: ${messageOf(cause)}`, { cause });

/** The lines of a file. Throws `usage` for one that cannot be read. */
export async function* linesIn(file: string): AsyncGenerator<string> {
  const stream = createReadStream(file, 'utf8');
  try {
    yield* createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY });
  } catch (cause) {
    throw unreadable(file, cause);
  } finally {
    stream.destroy();
  }
}

/** What a later copy is held against. Throws `audit_broken` for one that does not hold itself. */
export async function readKnown(file: string): Promise<KnownLog> {
  const { intact, known, findings } = await verifyCopy(linesIn(file), nodeCrypto, { keep: true });
  if (intact && known !== undefined) return known;
  throw new IdlewildError('audit_broken', `the older copy ${file} does not hold itself: ${findings[0]?.why}`);
}

export async function readJson(file: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as unknown;
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

/** All of them or nothing: a file of that name stays as it was until the new one is whole. */
export async function writeLines(file: string, lines: AsyncIterable<string>): Promise<void> {
  const part = `${file}.part`;
  async function* ended(): AsyncGenerator<string> {
    for await (const line of lines) yield `${line}\n`;
  }
  try {
    await pipeline(Readable.from(ended()), createWriteStream(part, { mode: 0o600, flush: true }));
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}
