/** What the commands that write and read archives are told in common: where the hub's data is, and the passphrase. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Place } from '@idlewild/hub';
import { IdlewildError } from '@idlewild/protocol';
import { Option, type Command } from 'commander';
import { defaultDataFolder } from './data-folder.ts';

export interface PlaceOptions {
  readonly data?: string;
  readonly database?: string;
  readonly secretsKey?: string;
}

export interface SealOptions {
  readonly passphraseFile?: string;
}

/** As for `up`. */
export const addPlaceOptions = (command: Command): Command =>
  command
    .option('--data <dir>', "the hub's data folder (default: your data folder; with --database: none)")
    .addOption(new Option('--database <url>', 'its PostgreSQL database, where it has one').env('IDLEWILD_DATABASE'))
    .option('--secrets-key <file>', 'what its secrets in that database are sealed with');

export const addSealOption = (command: Command, what: string): Command =>
  command.option('--passphrase-file <file>', `${what} with the passphrase in the first line of this file`);

export async function placeOf({ data, database, secretsKey }: PlaceOptions): Promise<Place> {
  if (database === undefined) return { data: resolve(data ?? defaultDataFolder()) };
  const folder = data === undefined ? {} : { data: resolve(data) };
  if (secretsKey === undefined) return { database, ...folder };
  const { readSealingKey } = await import('@idlewild/hub');
  return { database, secretsKey: readSealingKey(secretsKey), ...folder };
}

/** Shorter ones are tried out in a day. */
const CHARACTERS_MIN = 12;

export function passphraseOf({ passphraseFile }: SealOptions): string | undefined {
  if (passphraseFile === undefined) return undefined;
  let text: string;
  try {
    text = readFileSync(passphraseFile, 'utf8');
  } catch (cause) {
    throw new IdlewildError('usage', `${passphraseFile} cannot be read: ${(cause as Error).message}`, { cause });
  }
  const passphrase = text.split('\n')[0]?.replace(/\r$/, '') ?? '';
  if (passphrase.length >= CHARACTERS_MIN) return passphrase;
  throw new IdlewildError(
    'usage',
    `the passphrase in ${passphraseFile} has ${passphrase.length} characters; take ${CHARACTERS_MIN} or more, ` +
      'such as five words from a dice list',
  );
}
