/**
 * What every `Crypto` must do, as claims that any test runner, and any browser, can run; see
 * `blob-store-conformance.ts`. The vectors are those of RFC 7748, RFC 5869 and RFC 8032.
 */
import { fromHex, hex, utf8 } from '../bytes.ts';
import { codeOf } from '../errors.ts';
import type { Crypto } from '../ports.ts';
import type { Claim } from './blob-store-conformance.ts';

function same(seen: unknown, expected: unknown): void {
  if (seen !== expected) throw new Error(`expected ${String(expected)}, saw ${String(seen)}`);
}

async function refuses(act: () => unknown): Promise<void> {
  try {
    await act();
  } catch (error) {
    return same(codeOf(error) ?? String(error), 'signature_invalid');
  }
  throw new Error('nothing was thrown');
}

/** Of RFC 7748 and what else comes to zeros, whatever the private key is. */
const SMALL_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
];

export const cryptoConformance = (crypto: Crypto): readonly Claim[] => [...curves(crypto), ...secrets(crypto)];

const curves = (crypto: Crypto): readonly Claim[] => [
  {
    claim: 'X25519 gives what RFC 7748 gives (section 6.1)',
    async check() {
      const bob = await crypto.agreementKey(
        fromHex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'),
      );
      same(hex(bob.publicKey), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
      const alice = fromHex('8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
      const secret = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
      same(hex(await crypto.agree(bob.privateKey, alice)), secret);
    },
  },
  {
    claim: 'X25519 gives what RFC 7748 gives for a scalar and a point (section 5.2)',
    async check() {
      const scalar = fromHex('a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4');
      const point = fromHex('e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c');
      const secret = 'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552';
      same(hex(await crypto.agree(scalar, point)), secret);
    },
  },
  ...SMALL_ORDER.map((point) => ({
    claim: `no secret is agreed with the point of small order ${point}`,
    check: () => refuses(() => crypto.agree(new Uint8Array(32).fill(5), fromHex(point))),
  })),
  {
    claim: 'Ed25519 signs as RFC 8032 does (section 7.1, test 2), and verifies that and nothing else',
    async check() {
      const seed = fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb');
      const { publicKey, privateKey } = await crypto.signingKey(seed);
      same(hex(publicKey), '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
      const said = new Uint8Array([0x72]);
      const signature = await crypto.sign(privateKey, said);
      const [r, s] = [hex(signature.subarray(0, 32)), hex(signature.subarray(32))];
      same(r, '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da');
      same(s, '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00');
      same(await crypto.verify(publicKey, said, signature), true);
      same(await crypto.verify(publicKey, new Uint8Array([0x73]), signature), false);
      same(
        await crypto.verify(
          publicKey,
          said,
          signature.map((byte, index) => (index === 40 ? byte ^ 1 : byte)),
        ),
        false,
      );
      const { publicKey: other } = await crypto.signingKey(new Uint8Array(32).fill(7));
      same(await crypto.verify(other, said, signature), false);
    },
  },
];

const secrets = (crypto: Crypto): readonly Claim[] => [
  {
    claim: 'SHA-256 gives what FIPS 180-4 gives',
    async check() {
      const digest = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad';
      same(hex(await crypto.sha256(utf8('abc'))), digest);
    },
  },
  {
    claim: 'HKDF gives what RFC 5869 gives (appendix A.1 and A.3)',
    async check() {
      const secret = new Uint8Array(22).fill(0x0b);
      const [salt, info] = [fromHex('000102030405060708090a0b0c'), fromHex('f0f1f2f3f4f5f6f7f8f9')];
      same(
        hex(await crypto.hkdf(secret, salt, info, 42)),
        '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
      );
      same(
        hex(await crypto.hkdf(secret, new Uint8Array(), new Uint8Array(), 42)),
        '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
      );
    },
  },
  {
    claim: 'what is sealed opens whole with its own key, nonce and bound bytes, and not otherwise',
    async check() {
      const [key, nonce, bound] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), utf8('bound')];
      const sealed = await crypto.seal(key, nonce, utf8('plain'), bound);
      same(hex(await crypto.open(key, nonce, sealed, bound)), hex(utf8('plain')));
      await refuses(() => crypto.open(new Uint8Array(32), nonce, sealed, bound));
      await refuses(() => crypto.open(key, new Uint8Array(12), sealed, bound));
      await refuses(() => crypto.open(key, nonce, sealed, utf8('other')));
    },
  },
  {
    claim: 'a tag that was cut short is refused, though GCM itself would take one of 4 bytes',
    async check() {
      const [key, nonce, none] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), new Uint8Array()];
      const tag = await crypto.seal(key, nonce, none, none);
      same((await crypto.open(key, nonce, tag, none)).length, 0);
      for (const length of [0, 4, 8, 12, 15]) {
        await refuses(() => crypto.open(key, nonce, tag.subarray(0, length), none));
      }
    },
  },
  {
    claim: 'a key is what its array holds at the time, also after it was used',
    async check() {
      const [key, nonce, bound] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), utf8('bound')];
      const first = await crypto.seal(key, nonce, utf8('plain'), bound);
      key.fill(3);
      await refuses(() => crypto.open(key, nonce, first, bound));
      const second = await crypto.seal(key, nonce, utf8('plain'), bound);
      same(hex(await crypto.open(new Uint8Array(32).fill(3), nonce, second, bound)), hex(utf8('plain')));
    },
  },
  {
    claim: 'what is handed in counts as it is then, and not as it is when the answer comes',
    async check() {
      const [key, nonce, plain] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), utf8('plain')];
      const sealing = crypto.seal(key, nonce, plain, nonce);
      for (const bytes of [key, nonce, plain]) bytes.fill(9);
      const [first, at] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2)];
      same(hex(await crypto.open(first, at, await sealing, at)), hex(utf8('plain')));
    },
  },
];
