/**
 * Claims about HPKE by the official vectors of this very suite: mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
 * AES-256-GCM, which are not in RFC 9180 itself but in the CFRG's file of vectors. Taken, as keys and as digests over a
 * thousand messages and a thousand exports, from Go's `src/crypto/hpke/testdata/rfc9180.json`.
 */
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { fromHex } from '../bytes.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import { decapsulate, hpkeRecipient, schedule } from './hpke.ts';

const VECTOR = {
  info: '4f6465206f6e2061204772656369616e2055726e',
  skRm: '497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d',
  pkRm: '430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c',
  enc: '6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256',
  encryptions: '1702e73e1e71705faa8241022af1deea',
  exports: '5cb678bf1c52afbd9afb58b8f7c1ced3',
};
const own = { privateKey: fromHex(VECTOR.skRm), publicKey: fromHex(VECTOR.pkRm) };
const enc = fromHex(VECTOR.enc);
const info = fromHex(VECTOR.info);
const ROUNDS = 1_000;

/** What is sealed and exported: pieces of SHAKE-128's output, each after a byte that says its length. */
function inputs(): () => Uint8Array {
  const all = new Uint8Array(createHash('shake128', { outputLength: 2 * ROUNDS * 256 }).digest());
  let at = 0;
  return () => {
    const length = all[at++] as number;
    at += length;
    return all.slice(at - length, at);
  };
}
const sink = () => createHash('shake128', { outputLength: 16 });

function counted(nonce: Uint8Array, n: number): Uint8Array {
  const own = nonce.slice();
  const view = new DataView(own.buffer);
  view.setUint32(8, (view.getUint32(8) ^ n) >>> 0);
  return own;
}

test('a thousand secrets, of up to 999 bytes, are exported as by others', async () => {
  const { exported } = await hpkeRecipient({ enc, own, info }, nodeCrypto);
  const [next, seen] = [inputs(), sink()];
  for (let length = 0; length < ROUNDS; length++) seen.update(await exported(next(), length));
  expect(seen.digest('hex')).toBe(VECTOR.exports);
});

test('a thousand messages are sealed as by others, and the first of them opens', async () => {
  const shared = await decapsulate(enc, own, nodeCrypto);
  const { key, nonce } = await schedule(shared, info, nodeCrypto);
  const [next, seen] = [inputs(), sink()];
  for (let n = 0; n < ROUNDS; n++) {
    const [bound, plain] = [next(), next()];
    const sealed = await nodeCrypto.seal(key, counted(nonce, n), plain, bound);
    seen.update(sealed);
    if (n > 0) continue;
    const { open } = await hpkeRecipient({ enc, own, info }, nodeCrypto);
    expect(await open(sealed, bound)).toEqual(plain);
  }
  expect(seen.digest('hex')).toBe(VECTOR.encryptions);
});
