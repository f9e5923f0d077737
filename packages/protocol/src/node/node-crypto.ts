/**
 * The `Crypto` and `Random` ports over `node:crypto`: native, synchronous, and so deterministic in the simulator.
 * Raw keys are wrapped in the fixed DER prefixes of RFC 8410 because `node:crypto` takes no raw private keys.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  hkdfSync,
  randomBytes,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { equalBytes } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair, Random } from '../ports.ts';

type Curve = 'ed25519' | 'x25519';
const PRIVATE_PREFIX: Record<Curve, Buffer> = {
  ed25519: Buffer.from('302e020100300506032b657004220420', 'hex'),
  x25519: Buffer.from('302e020100300506032b656e04220420', 'hex'),
};
const PUBLIC_PREFIX: Record<Curve, Buffer> = {
  ed25519: Buffer.from('302a300506032b6570032100', 'hex'),
  x25519: Buffer.from('302a300506032b656e032100', 'hex'),
};
const RAW_KEY_BYTES = 32;
const TAG_BYTES = 16;

/** Making Node's key of raw bytes takes as long as half a signature; the last ones used are kept, by their bytes. */
const KEPT_KEYS_MAX = 256;

function keptKeys(make: (curve: Curve, raw: Uint8Array) => KeyObject): (curve: Curve, raw: Uint8Array) => KeyObject {
  const kept = new Map<string, KeyObject>();
  return (curve, raw) => {
    const name = `${curve} ${Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength).toString('latin1')}`;
    const known = kept.get(name);
    if (known !== undefined) return known;
    const key = make(curve, raw);
    kept.set(name, key);
    if (kept.size > KEPT_KEYS_MAX) kept.delete(kept.keys().next().value as string);
    return key;
  };
}

const privateKeyOf = (curve: Curve, seed: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX[curve], seed]), format: 'der', type: 'pkcs8' });

const publicKeyOf = (curve: Curve, raw: Uint8Array): KeyObject =>
  createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX[curve], raw]), format: 'der', type: 'spki' });

const signingKeyOf = keptKeys(privateKeyOf);
const verifyingKeyOf = keptKeys(publicKeyOf);

function keyPairOf(curve: Curve, seed: Uint8Array): KeyPair {
  const der = createPublicKey(privateKeyOf(curve, seed)).export({ format: 'der', type: 'spki' });
  return { publicKey: new Uint8Array(der.subarray(der.length - RAW_KEY_BYTES)), privateKey: new Uint8Array(seed) };
}

/** Node takes 14 µs to make its key of raw bytes, twice what sealing a small message takes. */
const prepared = new WeakMap<Uint8Array, { readonly bytes: Uint8Array; readonly key: KeyObject }>();

/** The bytes are compared each time: whoever hands an array in may put another key there later. */
function secretKeyOf(bytes: Uint8Array): KeyObject {
  const known = prepared.get(bytes);
  if (known !== undefined && equalBytes(known.bytes, bytes)) return known.key;
  const key = createSecretKey(bytes);
  prepared.set(bytes, { bytes: bytes.slice(), key });
  return key;
}

export const nodeCrypto: Crypto = {
  sha256: (bytes) => new Uint8Array(createHash('sha256').update(bytes).digest()),
  signingKey: (seed) => keyPairOf('ed25519', seed),
  sign: (privateKey, bytes) => new Uint8Array(sign(null, bytes, signingKeyOf('ed25519', privateKey))),
  verify: (publicKey, bytes, signature) => verify(null, bytes, verifyingKeyOf('ed25519', publicKey), signature),
  agreementKey: (seed) => keyPairOf('x25519', seed),
  agree: (privateKey, publicKey) => {
    try {
      // OpenSSL refuses a result of zeros, as RFC 7748 (section 6.1) wants.
      return new Uint8Array(
        diffieHellman({ privateKey: privateKeyOf('x25519', privateKey), publicKey: publicKeyOf('x25519', publicKey) }),
      );
    } catch (cause) {
      throw new IdlewildError('signature_invalid', 'no secret can be agreed with that X25519 key', { cause });
    }
  },
  hkdf: (secret, salt, info, length) => new Uint8Array(hkdfSync('sha256', secret, salt, info, length)),
  seal: (key, nonce, plain, bound) => {
    const cipher = createCipheriv('aes-256-gcm', secretKeyOf(key), nonce).setAAD(bound);
    return new Uint8Array(Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]));
  },
  open: (key, nonce, sealed, bound) => {
    // GCM has shorter tags, too, which are easier to guess; none of those is taken.
    const decipher = createDecipheriv('aes-256-gcm', secretKeyOf(key), nonce, { authTagLength: TAG_BYTES }).setAAD(
      bound,
    );
    try {
      decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
      return new Uint8Array(
        Buffer.concat([decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)), decipher.final()]),
      );
    } catch (cause) {
      throw new IdlewildError('signature_invalid', 'sealed bytes were changed or belong to another key', { cause });
    }
  },
};

export const nodeRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)), unit: () => Math.random() };
