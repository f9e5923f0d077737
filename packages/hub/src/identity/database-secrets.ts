/**
 * The hub's secrets in the database that its replicas share: the first to write a key has written it for all.
 *
 * With a sealing key, which comes from outside and never into the database, what is kept is sealed (AES-256-GCM), so
 * that a copy of the database alone is not the territory. Sealed or not is settled by the first write: a start with
 * another key, without the one that is needed, or with one where none is, is refused.
 */
import { readFileSync } from 'node:fs';
import { IdlewildError, codeOf, concat, equalBytes, utf8, type Crypto, type Random } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';
import { KEY_BYTES, type KeptName, type Secrets } from './secrets.ts';

const NONCE_BYTES = 12;
/** What a sealed value begins with. An open one is 32 bytes, or a certificate, which begins with its CBOR. */
const MARK = utf8('idlewild-sealed-1\n');

export interface Sealing {
  /** 32 bytes, the same for every replica. */
  readonly key: Uint8Array;
  readonly crypto: Crypto;
  readonly random: Random;
}

export function createDatabaseSecrets(db: Database, sealing?: Sealing): Secrets {
  return {
    async read(name) {
      const row = await db.selectFrom('secrets').select('value').where('name', '=', name).executeTakeFirst();
      if (row === undefined) return undefined;
      const plain = await openValue(name, row.value, sealing);
      if (!name.endsWith('.key') || plain.length === KEY_BYTES) return plain;
      const message = `${name} in the database is damaged: it has ${plain.length} bytes. Restore it from a backup`;
      throw new IdlewildError('data_corrupt', message);
    },
    async write(name, bytes) {
      // Otherwise a start in other words leaves secrets of both kinds, and no start is right any more.
      const kept = await db.selectFrom('secrets').select(['name', 'value']).limit(1).executeTakeFirst();
      if (kept !== undefined) await openValue(kept.name as KeptName, kept.value, sealing);
      const value = await sealValue(name, bytes, sealing);
      const insert = db.insertInto('secrets').values({ name, value });
      await insert
        .onConflict((on) =>
          name.endsWith('.key') ? on.column('name').doNothing() : on.column('name').doUpdateSet({ value }),
        )
        .execute();
    },
  };
}

const boundTo = (name: KeptName): Uint8Array => utf8(`idlewild/v1/secret\n${name}`);
const isSealed = (value: Uint8Array): boolean => equalBytes(value.subarray(0, MARK.length), MARK);

async function sealValue(name: KeptName, plain: Uint8Array, sealing: Sealing | undefined): Promise<Uint8Array> {
  if (sealing === undefined) return plain;
  const nonce = sealing.random.bytes(NONCE_BYTES);
  return concat([MARK, nonce, await sealing.crypto.seal(sealing.key, nonce, plain, boundTo(name))]);
}

async function openValue(name: KeptName, value: Uint8Array, sealing: Sealing | undefined): Promise<Uint8Array> {
  const refuse = (why: string, cause?: unknown): IdlewildError =>
    new IdlewildError('usage', `the secrets of this database ${why}`, { cause });
  if (!isSealed(value)) {
    if (sealing === undefined) return value;
    throw refuse('were kept without a sealing key; start without --secrets-key');
  }
  if (sealing === undefined)
    throw refuse('are sealed; give --secrets-key FILE, the one that its replicas are started with');
  const nonce = value.subarray(MARK.length, MARK.length + NONCE_BYTES);
  try {
    return await sealing.crypto.open(sealing.key, nonce, value.subarray(MARK.length + NONCE_BYTES), boundTo(name));
  } catch (error) {
    if (codeOf(error) !== 'signature_invalid') throw error;
    throw refuse(
      'are sealed with another key than the one of --secrets-key; give the one of the other replicas',
      error,
    );
  }
}

/** A sealing key from a file: base64 of 32 bytes, as `openssl rand -base64 32` writes it. Lines with # are remarks. */
export function readSealingKey(file: string): Uint8Array {
  const refuse = (why: string, cause?: unknown): IdlewildError =>
    new IdlewildError('usage', `${file} ${why}; make one with: openssl rand -base64 32 > ${file}`, { cause });
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw refuse(`cannot be read (${(error as Error).message})`, error);
  }
  const body = text.replace(/^#.*$/gm, '').trim();
  const key = new Uint8Array(Buffer.from(body, 'base64'));
  if (!/^[A-Za-z0-9+/]{43}=$/.test(body) || key.length !== KEY_BYTES)
    throw refuse('holds no key of 32 bytes in base64');
  return key;
}
