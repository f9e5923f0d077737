/**
 * The key by which a steward vouches for devices, on the steward's own machine: made when it is used first, readable by
 * its owner alone, and never sent anywhere. A hub has only its public half.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { IdlewildError, fromHex, hex, type Crypto, type KeyPair, type Random } from '@idlewild/protocol';
import { defaultDataFolder } from './data-folder.ts';

const SEED_BYTES = 32;

export const signingKeyFile = (folder: string = defaultDataFolder()): string => join(folder, 'steward-signing.key');

export interface SigningKey {
  readonly key: KeyPair;
  readonly isNew: boolean;
}

/** Reads the key in `file`, or makes one. Throws `data_corrupt` for a file that is no key. */
export async function stewardSigningKey(
  file: string,
  { crypto, random }: { readonly crypto: Crypto; readonly random: Random },
): Promise<SigningKey> {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const made = random.bytes(SEED_BYTES);
  let isNew = true;
  try {
    // Of two that begin at once the first one's holds for both.
    writeFileSync(file, `${hex(made)}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    isNew = false;
  }
  const text = readFileSync(file, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new IdlewildError('data_corrupt', `${file} is no steward's key; put the right file back, or move it away`);
  return { key: await crypto.signingKey(fromHex(text)), isNew };
}
