import { expect, test } from 'vitest';
import { nodeCrypto } from '../node/node-crypto.ts';
import { cryptoConformance } from '../testing/crypto-conformance.ts';
import { createWebCrypto } from './web-crypto.ts';

const { subtle } = globalThis.crypto;
const webCrypto = createWebCrypto(subtle);

test.for(cryptoConformance(webCrypto))('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());

test('keys, secrets and signatures are those of Node', async () => {
  const seed = new Uint8Array(32).map((_, index) => index * 7);
  expect(await webCrypto.signingKey(seed)).toEqual(nodeCrypto.signingKey(seed));
  expect(await webCrypto.agreementKey(seed)).toEqual(nodeCrypto.agreementKey(seed));
  expect(await webCrypto.sign(seed, seed)).toEqual(nodeCrypto.sign(seed, seed));
});

test('a page without ciphers, and a browser without the curves, say so', async () => {
  expect(() => createWebCrypto(undefined)).toThrow(/https/);
  const old = createWebCrypto({
    ...subtle,
    importKey: () => Promise.reject(new DOMException('Algorithm: Unrecognized name', 'NotSupportedError')),
  });
  const key = new Uint8Array(32).fill(5);
  for (const act of [() => old.agree(key, key), () => old.verify(key, key, key), () => old.signingKey(key)])
    await expect(act()).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/newer browser/) });
});
