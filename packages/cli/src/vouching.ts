/**
 * What a steward checks before signing, and with what: a hub that lies must not get a word for a device that nobody
 * means. It knows names and keys by the hub alone; what it cannot make up is that an id is made of a key.
 */
import { existsSync } from 'node:fs';
import { userInfo } from 'node:os';
import type { Client } from '@idlewild/client';
import type { KeyPair } from '@idlewild/protocol';
import type { Context } from './context.ts';

export const VOUCH_SECONDS_DEFAULT = 90 * 86_400;

interface Shown {
  readonly id: string;
  readonly name: string;
  /** In base64url. */
  readonly key: string;
}

export const isWholeId = (text: string): boolean => /^dev_[a-z2-7]{26}$/.test(text);

/** Who names a device by its whole id means that id, and nothing that the hub calls so. Throws `signature_invalid`. */
export async function sameAs<Device extends Shown>(device: Device, wanted: string): Promise<Device> {
  if (!isWholeId(wanted) || device.id === wanted) return device;
  throw await refused(`the hub calls ${device.id} by the id of another device, ${wanted}`);
}

/** The key that the id is made of. Throws `signature_invalid` where the hub shows another. */
export async function keyOfDevice({ id, name, key }: Shown): Promise<Uint8Array> {
  const { idOfKey } = await import('@idlewild/protocol');
  const { nodeCrypto } = await import('@idlewild/protocol/node');
  const publicKey = bytesOf(key);
  if ((await idOfKey('dev', publicKey, nodeCrypto)) === id) return publicKey;
  throw await refused(`the hub shows a key for ${name} that ${id} is not made of`);
}

async function refused(why: string): Promise<Error> {
  const { IdlewildError } = await import('@idlewild/protocol');
  return new IdlewildError('signature_invalid', `${why}; nothing was signed`);
}

export const bytesOf = (base64url: string): Uint8Array => new Uint8Array(Buffer.from(base64url, 'base64url'));

export interface Ready {
  readonly key: KeyPair;
  /** The public half, for callers. */
  readonly pin: string;
  /** Ed25519 key of the territory, as the hub tells it: a word for another territory would be good for nobody. */
  readonly territory: Uint8Array;
  readonly lasting: { readonly issuedAtMs: number; readonly expiresAtMs: number };
}

/** The steward's key, made and told to the community where it is new. Throws `usage` for a word that lasts too long. */
export async function readyToVouch(context: Context, client: Client, expiresSeconds: number): Promise<Ready> {
  const { LIMITS, IdlewildError } = await import('@idlewild/protocol');
  if (expiresSeconds * 1_000 > LIMITS.vouchMsMax)
    throw new IdlewildError('usage', 'nobody can take back what is signed, so it lasts a year at most');
  const ready = await readyToSign(context, client);
  const issuedAtMs = Date.now();
  return { ...ready, lasting: { issuedAtMs, expiresAtMs: issuedAtMs + expiresSeconds * 1_000 } };
}

/**
 * The steward's key, made and told to the community where it is new. Throws `usage` where there is none on this machine
 * and the community has some already: whoever pinned those would believe nothing that another one signs.
 */
export async function readyToSign(context: Context, client: Client): Promise<Omit<Ready, 'lasting'>> {
  const { LIMITS, IdlewildError, wellKnownKey } = await import('@idlewild/protocol');
  const { nodeCrypto, nodeRandom } = await import('@idlewild/protocol/node');
  const { signingKeyFile, stewardSigningKey } = await import('./steward-signing.ts');
  const file = signingKeyFile();
  const known = (await client.stewards.list()).filter((steward) => steward.removedAt === null);
  if (known.length > 0 && !existsSync(file)) {
    const others = known.map(({ name }) => name).join(', ');
    throw new IdlewildError(
      'usage',
      `there is no signing key in ${file}, and this community knows others (${others}); ` +
        'put yours there if it is one of them, or make another with `idlewild stewards key`, for callers to pin, too',
    );
  }
  const { key, isNew } = await stewardSigningKey(file, { crypto: nodeCrypto, random: nodeRandom });
  if (isNew) context.note(`made your signing key in ${file}; keep a copy of it, and give it to nobody`);
  const pin = wellKnownKey(key.publicKey);
  if (!known.some((steward) => steward.key === pin))
    await client.stewards.add({ name: userInfo().username.slice(0, LIMITS.nameCharactersMax), key: pin });
  const { territory } = await client.wellKnown();
  return { key, pin, territory: bytesOf(territory.key) };
}
