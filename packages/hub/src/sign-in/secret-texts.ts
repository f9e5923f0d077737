/**
 * The secrets of signing in, as texts: a prefix that says what it is, and 256 random bits in base32. The hub keeps the
 * SHA-256 only, so whoever reads its database signs in nowhere.
 */
import { SECRET_PREFIXES, hex, utf8, type Crypto, type Random } from '@idlewild/protocol';
import { base32 } from 'multiformats/bases/base32';

/** A session, a link's code, and what a program waits with. */
export type SecretKind = 'session' | 'link' | 'approval';

const SECRET_BYTES = 32;
const TEXT = /^[a-z]{3}_[a-z2-7]{52}$/;

export const newSecret = (kind: SecretKind, random: Random): string =>
  `${SECRET_PREFIXES[kind]}${base32.baseEncode(random.bytes(SECRET_BYTES))}`;

export const isSecret = (kind: SecretKind, text: string): boolean =>
  text.startsWith(SECRET_PREFIXES[kind]) && TEXT.test(text);

export const hashOf = async (text: string, crypto: Pick<Crypto, 'sha256'>): Promise<string> =>
  hex(await crypto.sha256(utf8(text)));
