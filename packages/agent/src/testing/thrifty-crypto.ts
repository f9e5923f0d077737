/**
 * `node:crypto` for thousands of devices in one process: a key is unwrapped once, and what the territory has signed is
 * verified once, since every handshake carries the same certificates. All else is done as a device does it.
 */
import { createPrivateKey, createPublicKey, sign, verify, type KeyObject } from 'node:crypto';
import { equalBytes, type Crypto } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';

/** A territory has few hubs. */
const REMEMBERED_MAX = 64;

const privateKeyOf = (seed: Uint8Array): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  });
const publicKeyOf = (raw: Uint8Array): KeyObject =>
  createPublicKey({
    key: Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]),
    format: 'der',
    type: 'spki',
  });

export function createThriftyCrypto(territory: Uint8Array): Crypto {
  const own = new WeakMap<Uint8Array, KeyObject>();
  const others = new Map<string, KeyObject>();
  const verified = new Set<string>();
  const textOf = (...parts: Uint8Array[]): string => Buffer.concat(parts).toString('latin1');
  return {
    ...nodeCrypto,
    sign(seed, bytes) {
      const key = own.get(seed) ?? privateKeyOf(seed);
      own.set(seed, key);
      return new Uint8Array(sign(null, bytes, key));
    },
    verify(raw, bytes, signature) {
      const isCertificate = equalBytes(raw, territory);
      const what = isCertificate ? textOf(signature, bytes) : '';
      if (verified.has(what)) return true;
      const name = textOf(raw);
      const key = others.get(name) ?? publicKeyOf(raw);
      if (others.size < REMEMBERED_MAX) others.set(name, key);
      const holds = verify(null, bytes, key, signature);
      if (holds && isCertificate && verified.size < REMEMBERED_MAX) verified.add(what);
      return holds;
    },
  };
}
