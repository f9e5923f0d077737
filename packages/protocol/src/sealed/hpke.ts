/**
 * Hybrid public key encryption (RFC 9180), base mode, one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
 *
 * One context seals one message, which is all that a sealed prompt needs, and gives out further secrets (`exported`)
 * that only its two ends have. It is written over the `Crypto` port, so that devices, callers and browsers have it
 * alike. Who the recipient is, is not known here: whoever seals has checked the key.
 */
import { concat, utf8 } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair, Random } from '../ports.ts';
import { expand, hmacSha256 } from './hkdf.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const SECRET_BYTES = 32;
const NOTHING = new Uint8Array();
const VERSION = utf8('HPKE-v1');
/** "KEM" and the KEM's number. */
const KEM_SUITE = concat([utf8('KEM'), Uint8Array.of(0x00, 0x20)]);
/** "HPKE" and the numbers of KEM, KDF and AEAD. */
const SUITE = concat([utf8('HPKE'), Uint8Array.of(0x00, 0x20, 0x00, 0x01, 0x00, 0x02)]);
const MODE_BASE = Uint8Array.of(0);

/** What both ends have once they agreed. */
export interface HpkeContext {
  /** A secret for `context` that nobody else can make (RFC 9180, 5.3). */
  exported(context: Uint8Array, length: number): Promise<Uint8Array>;
}

export interface HpkeSender extends HpkeContext {
  /** The encapsulated key, 32 bytes, to be sent along. */
  readonly enc: Uint8Array;
  /** The one message of this context. */
  seal(plain: Uint8Array, bound: Uint8Array): Promise<Uint8Array>;
}

export interface HpkeRecipient extends HpkeContext {
  /** Throws `signature_invalid` for what was changed, or sealed for somebody or something else. */
  open(sealed: Uint8Array, bound: Uint8Array): Promise<Uint8Array>;
}

/** Throws `signature_invalid` for a public key with which nothing can be agreed. */
export async function hpkeSender(
  input: { readonly recipient: Uint8Array; readonly info: Uint8Array },
  { crypto, random }: { readonly crypto: Crypto; readonly random: Random },
): Promise<HpkeSender> {
  const ephemeral = await crypto.agreementKey(random.bytes(KEY_BYTES));
  const shared = await encapsulate(ephemeral, input.recipient, crypto);
  const keys = await schedule(shared, input.info, crypto);
  let used = false;
  return {
    enc: ephemeral.publicKey,
    exported: keys.exported,
    async seal(plain, bound) {
      // A second message would need the next nonce, and a first one twice would break both.
      if (used) throw new Error('a context seals one message');
      used = true;
      return crypto.seal(keys.key, keys.nonce, plain, bound);
    },
  };
}

/** Throws `signature_invalid` for an encapsulated key that is none. */
export async function hpkeRecipient(
  input: { readonly enc: Uint8Array; readonly own: KeyPair; readonly info: Uint8Array },
  crypto: Crypto,
): Promise<HpkeRecipient> {
  if (input.enc.length !== KEY_BYTES)
    throw new IdlewildError('signature_invalid', `an encapsulated key has ${KEY_BYTES} bytes`);
  const shared = await decapsulate(input.enc, input.own, crypto);
  const { key, nonce, exported } = await schedule(shared, input.info, crypto);
  return { exported, open: async (sealed, bound) => crypto.open(key, nonce, sealed, bound) };
}

/** DHKEM's Encap (4.1), with the ephemeral key given. */
export const encapsulate = async (ephemeral: KeyPair, recipient: Uint8Array, crypto: Crypto): Promise<Uint8Array> =>
  sharedSecret(await crypto.agree(ephemeral.privateKey, recipient), ephemeral.publicKey, recipient, crypto);

/** DHKEM's Decap (4.1). */
export const decapsulate = async (enc: Uint8Array, own: KeyPair, crypto: Crypto): Promise<Uint8Array> =>
  sharedSecret(await crypto.agree(own.privateKey, enc), enc, own.publicKey, crypto);

async function sharedSecret(
  agreed: Uint8Array,
  enc: Uint8Array,
  recipient: Uint8Array,
  crypto: Crypto,
): Promise<Uint8Array> {
  const prk = await labelledExtract(KEM_SUITE, NOTHING, 'eae_prk', agreed, crypto);
  return labelledExpand(KEM_SUITE, prk, 'shared_secret', concat([enc, recipient]), SECRET_BYTES, crypto);
}

interface Keys extends HpkeContext {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
}

/** The key schedule (5.1) without a pre-shared key. */
export async function schedule(shared: Uint8Array, info: Uint8Array, crypto: Crypto): Promise<Keys> {
  const noKey = await labelledExtract(SUITE, NOTHING, 'psk_id_hash', NOTHING, crypto);
  const infoHash = await labelledExtract(SUITE, NOTHING, 'info_hash', info, crypto);
  const context = concat([MODE_BASE, noKey, infoHash]);
  const secret = await labelledExtract(SUITE, shared, 'secret', NOTHING, crypto);
  const made = (label: string, length: number): Promise<Uint8Array> =>
    labelledExpand(SUITE, secret, label, context, length, crypto);
  const exporter = await made('exp', SECRET_BYTES);
  return {
    key: await made('key', KEY_BYTES),
    nonce: await made('base_nonce', NONCE_BYTES),
    exported: (context, length) => labelledExpand(SUITE, exporter, 'sec', context, length, crypto),
  };
}

const labelledExtract = (
  suite: Uint8Array,
  salt: Uint8Array,
  label: string,
  material: Uint8Array,
  crypto: Crypto,
): Promise<Uint8Array> => hmacSha256(salt, concat([VERSION, suite, utf8(label), material]), crypto);

function labelledExpand(
  suite: Uint8Array,
  key: Uint8Array,
  label: string,
  info: Uint8Array,
  length: number,
  crypto: Crypto,
): Promise<Uint8Array> {
  const size = Uint8Array.of(length >> 8, length & 255);
  return expand(key, concat([size, VERSION, suite, utf8(label), info]), length, crypto);
}
