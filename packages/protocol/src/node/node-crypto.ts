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
  randomBytes,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair, Random } from '../ports.ts';

type Curve = 'ed25519' | 'x25519';
const PRIVATE_PREFIX: Record<Curve, Buffer> = {
  ed25519: Buffer.from('302e020100300506032b657004220420', 'hex'),
  x25519: Buffer.from('302e020100300506032b656e04220420', 'hex'),
};
const ED25519_PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const RAW_KEY_BYTES = 32;
const TAG_BYTES = 16;

const privateKeyOf = (curve: Curve, seed: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX[curve], seed]), format: 'der', type: 'pkcs8' });

function keyPairOf(curve: Curve, seed: Uint8Array): KeyPair {
  const der = createPublicKey(privateKeyOf(curve, seed)).export({ format: 'der', type: 'spki' });
  return { publicKey: new Uint8Array(der.subarray(der.length - RAW_KEY_BYTES)), privateKey: new Uint8Array(seed) };
}

export const nodeCrypto: Crypto = {
  sha256: (bytes) => new Uint8Array(createHash('sha256').update(bytes).digest()),
  signingKey: (seed) => keyPairOf('ed25519', seed),
  sign: (privateKey, bytes) => new Uint8Array(sign(null, bytes, privateKeyOf('ed25519', privateKey))),
  verify: (publicKey, bytes, signature) => {
    const key = createPublicKey({
      key: Buffer.concat([ED25519_PUBLIC_PREFIX, publicKey]),
      format: 'der',
      type: 'spki',
    });
    return verify(null, bytes, key, signature);
  },
  agreementKey: (seed) => keyPairOf('x25519', seed),
  seal: (key, nonce, plain, bound) => {
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound);
    return new Uint8Array(Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]));
  },
  open: (key, nonce, sealed, bound) => {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(bound);
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    try {
      return new Uint8Array(
        Buffer.concat([decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)), decipher.final()]),
      );
    } catch (cause) {
      throw new IdlewildError('signature_invalid', 'sealed bytes were changed or belong to another key', { cause });
    }
  },
};

export const nodeRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)), unit: () => Math.random() };
