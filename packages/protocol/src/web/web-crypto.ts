/**
 * The `Crypto` port over the Web Cryptography API, which browsers have in pages that came over https or from the same
 * machine. X25519 and Ed25519 came late: Chromium has both since 137, Firefox since 130, Safari since 17.
 *
 * It answers later, where Node's own answers at once; so what it is handed is copied first, for whoever called may
 * write into it again meanwhile. Private keys go in as RFC 8410 writes them, because none are taken raw.
 */
import { base64url } from 'multiformats/bases/base64';
import { concat, equalBytes, fromHex } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair } from '../ports.ts';

/** What a page or a process calls `crypto.subtle`; absent in a page that came over plain http. */
export type WebCiphers = typeof globalThis.crypto.subtle;
type Key = Awaited<ReturnType<WebCiphers['deriveKey']>>;

type Curve = 'Ed25519' | 'X25519';
const PRIVATE_PREFIX: Record<Curve, Uint8Array> = {
  Ed25519: fromHex('302e020100300506032b657004220420'),
  X25519: fromHex('302e020100300506032b656e04220420'),
};
const SECRET_BITS = 256;

/** Own bytes, whatever becomes of those that were handed in. */
const own = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);

/** Throws `usage` where there is no such API, and, when it is used, where it lacks a cipher that is needed. */
export function createWebCrypto(ciphers: WebCiphers | undefined): Crypto {
  if (ciphers === undefined) throw lacking('this page did not come over https, so its browser gives it no ciphers');
  const subtle = ciphers;

  const privateKeyOf = (curve: Curve, seed: Uint8Array, uses: readonly ('sign' | 'deriveBits')[]): Promise<Key> =>
    known(subtle.importKey('pkcs8', own(concat([PRIVATE_PREFIX[curve], seed])), curve, true, [...uses]));

  async function keyPairOf(curve: Curve, seed: Uint8Array): Promise<KeyPair> {
    const privateKey = own(seed);
    const key = await privateKeyOf(curve, privateKey, [curve === 'Ed25519' ? 'sign' : 'deriveBits']);
    const { x = '' } = await subtle.exportKey('jwk', key);
    return { publicKey: base64url.baseDecode(x), privateKey };
  }

  /** Making a key of raw bytes takes a turn of its own; an answer's key opens each of its events. */
  const prepared = new WeakMap<Uint8Array, { readonly bytes: Uint8Array; readonly key: Promise<Key> }>();

  /** The bytes are compared each time: whoever hands an array in may put another key there later. */
  function secretKeyOf(bytes: Uint8Array): Promise<Key> {
    const ready = prepared.get(bytes);
    if (ready !== undefined && equalBytes(ready.bytes, bytes)) return ready.key;
    const copy = own(bytes);
    const key = subtle.importKey('raw', copy, 'AES-GCM', false, ['encrypt', 'decrypt']);
    prepared.set(bytes, { bytes: copy, key });
    return key;
  }
  const gcm = (nonce: Uint8Array, bound: Uint8Array) => ({
    name: 'AES-GCM',
    iv: own(nonce),
    additionalData: own(bound),
  });

  return {
    sha256: async (bytes) => new Uint8Array(await subtle.digest('SHA-256', own(bytes))),
    signingKey: (seed) => keyPairOf('Ed25519', seed),
    async sign(privateKey, bytes) {
      const said = own(bytes);
      return new Uint8Array(await subtle.sign('Ed25519', await privateKeyOf('Ed25519', privateKey, ['sign']), said));
    },
    async verify(publicKey, bytes, signature) {
      const [said, signed] = [own(bytes), own(signature)];
      const key = await known(subtle.importKey('raw', own(publicKey), 'Ed25519', false, ['verify']));
      return subtle.verify('Ed25519', key, signed, said);
    },
    agreementKey: (seed) => keyPairOf('X25519', seed),
    async agree(privateKey, publicKey) {
      const keys = Promise.all([
        privateKeyOf('X25519', privateKey, ['deriveBits']),
        known(subtle.importKey('raw', own(publicKey), 'X25519', false, [])),
      ]);
      try {
        const [key, other] = await keys;
        // A result of zeros is refused, as RFC 7748 (section 6.1) wants.
        return new Uint8Array(await subtle.deriveBits({ name: 'X25519', public: other }, key, SECRET_BITS));
      } catch (cause) {
        if (cause instanceof IdlewildError) throw cause;
        throw new IdlewildError('signature_invalid', 'no secret can be agreed with that X25519 key', { cause });
      }
    },
    async hkdf(secret, salt, info, length) {
      const terms = { name: 'HKDF', hash: 'SHA-256', salt: own(salt), info: own(info) };
      const key = await subtle.importKey('raw', own(secret), 'HKDF', false, ['deriveBits']);
      return new Uint8Array(await subtle.deriveBits(terms, key, length * 8));
    },
    async seal(key, nonce, plain, bound) {
      const [terms, bytes] = [gcm(nonce, bound), own(plain)];
      return new Uint8Array(await subtle.encrypt(terms, await secretKeyOf(key), bytes));
    },
    async open(key, nonce, sealed, bound) {
      const [terms, bytes] = [gcm(nonce, bound), own(sealed)];
      const secret = await secretKeyOf(key);
      try {
        return new Uint8Array(await subtle.decrypt(terms, secret, bytes));
      } catch (cause) {
        throw new IdlewildError('signature_invalid', 'sealed bytes were changed or belong to another key', { cause });
      }
    },
  };
}

/** A curve that a browser does not know is another fault than a key that is none. */
async function known(imported: Promise<Key>): Promise<Key> {
  try {
    return await imported;
  } catch (thrown) {
    if ((thrown as { name?: unknown }).name !== 'NotSupportedError') throw thrown;
    throw lacking('this browser has no X25519 or no Ed25519');
  }
}

const lacking = (why: string): IdlewildError =>
  new IdlewildError('usage', `${why}; take a newer browser, open the page over https, or use idlewild proxy`);
