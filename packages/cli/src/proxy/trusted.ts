/**
 * Stewards' public keys that were pinned on this machine: on the command line, or in a file, one a line, with whatever
 * people write behind it. They come from the stewards themselves; a hub is never asked for them.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { IdlewildError, fromHex } from '@idlewild/protocol';
import { defaultDataFolder } from '../data-folder.ts';

export const pinnedStewardsFile = (folder: string = defaultDataFolder()): string => join(folder, 'stewards.pinned');

/** Throws `usage` for what is no key. */
export function readKey(text: string, what: string): Uint8Array {
  const hex = text.trim().replace(/^ed25519:/, '');
  if (/^[0-9a-f]{64}$/i.test(hex)) return fromHex(hex.toLowerCase());
  const bytes = /^[A-Za-z0-9_-]{43}=?$/.test(hex) ? new Uint8Array(Buffer.from(hex, 'base64url')) : undefined;
  if (bytes?.length === 32) return bytes;
  throw new IdlewildError('usage', `"${text}" is no ${what}; \`idlewild stewards key\` prints a steward's`);
}

/** Throws `usage` where nobody is pinned: nothing can be sealed to a device that nobody is trusted to vouch for. */
export function pinnedStewards(named: readonly string[], file: string = pinnedStewardsFile()): Uint8Array[] {
  const inFile = readLines(file).map((line) => line.split(/\s/, 1)[0] ?? '');
  const keys = [...named, ...inFile].map((text) => readKey(text, "steward's key"));
  if (keys.length > 0) return keys;
  throw new IdlewildError(
    'usage',
    `no steward's key is pinned; ask a steward for theirs, and name it with --steward or write it into ${file}`,
  );
}

function readLines(file: string): string[] {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
