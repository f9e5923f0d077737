/**
 * What the makers of Idlewild say of its newest release: a line of JSON, and below it an Ed25519 signature (RFC 8032)
 * in base64 over that line as it stands, behind a purpose, so that it can pass for nothing else. It is verified as it
 * was carried and read afterwards.
 *
 * It tells, and carries nothing that could be run. Whoever can write where it lies, but has no key, can withhold a
 * newer one or show an older one again; `date` lets a person see that.
 */
import { IdlewildError, messageOf, type Crypto } from '@idlewild/protocol';
import { z } from 'zod';
import { VERSION } from './version.ts';

const releaseSchema = z.object({
  version: z.string().regex(VERSION),
  /** Of the day, ISO 8601. */
  date: z.iso.date(),
  /** For people: what is new, or where to read it. */
  notes: z.string().max(2_000),
  /** The oldest version that should still be run. */
  minimum: z.string().regex(VERSION),
});

export type Release = z.infer<typeof releaseSchema>;

/** A line of JSON and a signature; notes are the longest part of it. */
export const RELEASE_BYTES_MAX = 16_384;

const signedBytes = (line: string): Uint8Array => Buffer.from(`idlewild/v1/release\0${line}`, 'utf8');

export async function signRelease(release: Release, seed: Uint8Array, crypto: Crypto): Promise<string> {
  const line = JSON.stringify(parsed(release));
  const signature = await crypto.sign(seed, signedBytes(line));
  return `${line}\n${Buffer.from(signature).toString('base64')}\n`;
}

/**
 * Throws `signature_invalid` for what is not signed by `key`, and `source_unreachable` for what is, and is no release.
 */
export async function openRelease(text: string, key: Uint8Array, crypto: Crypto): Promise<Release> {
  const [line = '', signature = '', ...rest] = text.split(/\r?\n/);
  const isWhole = /^[A-Za-z0-9+/]{86}==$/.test(signature) && rest.every((each) => each === '');
  if (!isWhole)
    throw new IdlewildError('signature_invalid', 'what came is no signed release; nothing of it was believed');
  if (!(await crypto.verify(key, signedBytes(line), Buffer.from(signature, 'base64')))) {
    throw new IdlewildError(
      'signature_invalid',
      'what came is not signed by the key that this build pins; nothing of it was believed',
    );
  }
  try {
    return parsed(JSON.parse(line));
  } catch (error) {
    throw new IdlewildError('source_unreachable', `the release is signed and cannot be read: ${messageOf(error)}`);
  }
}

function parsed(value: unknown): Release {
  const found = releaseSchema.safeParse(value);
  if (found.success) return found.data;
  const [issue] = found.error.issues;
  throw new IdlewildError(
    'usage',
    `a release is wrong at ${issue?.path.join('.') ?? 'its root'}: ${issue?.message ?? ''}`,
  );
}
