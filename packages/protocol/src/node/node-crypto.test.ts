import { expect, test } from 'vitest';
import { codeOf } from '../errors.ts';
import { fromHex, hex, utf8 } from '../bytes.ts';
import { nodeCrypto } from './node-crypto.ts';

const thrownBy = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return codeOf(error);
  }
};

test('X25519 gives what RFC 7748 gives (section 6.1)', async () => {
  const bob = await nodeCrypto.agreementKey(
    fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'),
  );
  expect(hex(bob.publicKey)).toBe('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
  const alice = fromHex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  expect(hex(await nodeCrypto.agree(bob.privateKey, alice))).toBe(
    '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
  );
});

test('X25519 gives what RFC 7748 gives for a scalar and a point (section 5.2)', async () => {
  const scalar = fromHex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4');
  const point = fromHex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c');
  expect(hex(await nodeCrypto.agree(scalar, point))).toBe(
    'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
  );
});

test.each([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])('no secret is agreed with the point of small order %s', (point) => {
  expect(thrownBy(() => nodeCrypto.agree(new Uint8Array(32).fill(5), fromHex(point)))).toBe('signature_invalid');
});

test('HKDF gives what RFC 5869 gives (appendix A.1 and A.3)', async () => {
  const secret = new Uint8Array(22).fill(0x0b);
  const [salt, info] = [fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9')];
  expect(hex(await nodeCrypto.hkdf(secret, salt, info, 42))).toBe(
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  );
  expect(hex(await nodeCrypto.hkdf(secret, new Uint8Array(), new Uint8Array(), 42))).toBe(
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  );
});

test('what is sealed opens whole with its own key, nonce and bound bytes, and not otherwise', async () => {
  const [key, nonce, bound] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), utf8('bound')];
  const sealed = await nodeCrypto.seal(key, nonce, utf8('plain'), bound);
  expect(await nodeCrypto.open(key, nonce, sealed, bound)).toEqual(utf8('plain'));
  expect(thrownBy(() => nodeCrypto.open(new Uint8Array(32), nonce, sealed, bound))).toBe('signature_invalid');
  expect(thrownBy(() => nodeCrypto.open(key, new Uint8Array(12), sealed, bound))).toBe('signature_invalid');
  expect(thrownBy(() => nodeCrypto.open(key, nonce, sealed, utf8('other')))).toBe('signature_invalid');
});

test('a tag that was cut short is refused, though GCM itself would take one of 4 bytes', async () => {
  const [key, nonce, none] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), new Uint8Array()];
  const tag = await nodeCrypto.seal(key, nonce, none, none);
  expect(await nodeCrypto.open(key, nonce, tag, none)).toEqual(none);
  for (const length of [0, 4, 8, 12, 15]) {
    expect(thrownBy(() => nodeCrypto.open(key, nonce, tag.subarray(0, length), none))).toBe('signature_invalid');
  }
});

test('a key is what its array holds at the time, also after it was used', async () => {
  const [key, nonce, bound] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), utf8('bound')];
  const first = await nodeCrypto.seal(key, nonce, utf8('plain'), bound);
  key.fill(3);
  expect(thrownBy(() => nodeCrypto.open(key, nonce, first, bound))).toBe('signature_invalid');
  const second = await nodeCrypto.seal(key, nonce, utf8('plain'), bound);
  expect(await nodeCrypto.open(new Uint8Array(32).fill(3), nonce, second, bound)).toEqual(utf8('plain'));
});
