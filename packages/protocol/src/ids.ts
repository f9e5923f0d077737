/**
 * Names of things. Random ids carry 128 bits; ids of keys are derived from the key, so nobody can claim another's.
 * The alphabet is base32 (RFC 4648) in lower case without padding: safe in URLs, file names and a person's ear.
 */
import { base32 } from 'multiformats/bases/base32';
import type { Crypto, Random } from './ports.ts';

/** What each names: the three letters before the underscore. */
export type IdPrefix =
  | ('ter' | 'hub' | 'dev' | 'key' | 'req' | 'att' | 'ses' | 'rep' | 'inv')
  /** People, their groups, and bindings of roles. */
  | ('per' | 'grp' | 'bnd')
  /** Keys by which stewards vouch. */
  | 'stk'
  /** Of signing in: sessions, links, passkeys, OpenID providers. */
  | ('sis' | 'lnk' | 'pky' | 'idp')
  /** Projects, and what they were allocated. */
  | ('prj' | 'alc')
  /** Refusals by rules of use, and appeals against them. */
  | ('ref' | 'apl');

const ID = /^[a-z]{3}_[a-z2-7]{26}$/;
const ID_BYTES = 16;

const text = (prefix: IdPrefix, bytes: Uint8Array): string => `${prefix}_${base32.baseEncode(bytes)}`;

export const newId = (prefix: IdPrefix, random: Random): string => text(prefix, random.bytes(ID_BYTES));

/** The id of a territory, hub or device: the first 128 bits of SHA-256 over its Ed25519 public key. */
export async function idOfKey(prefix: IdPrefix, publicKey: Uint8Array, crypto: Crypto): Promise<string> {
  return text(prefix, (await crypto.sha256(publicKey)).slice(0, ID_BYTES));
}

export const isId = (value: string, prefix: IdPrefix): boolean => value.startsWith(`${prefix}_`) && ID.test(value);
