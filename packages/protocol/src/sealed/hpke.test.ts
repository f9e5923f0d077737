/**
 * Claims about HPKE: the vector of RFC 9180 (A.1.1) for what all suites over X25519 share, and both directions against
 * another implementation for the rest.
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from '@hpke/core';
import { expect, test } from 'vitest';
import { fromHex, hex, utf8 } from '../bytes.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { Crypto, KeyPair } from '../ports.ts';
import { createSeededRandom } from '../testing/seeded-random.ts';
import { decapsulate, encapsulate, hpkeRecipient, hpkeSender } from './hpke.ts';
import { hmacSha256 } from './hkdf.ts';

const A11 = {
  ephemeral: '52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736',
  enc: '37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431',
  recipient: '4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8',
  recipientPublic: '3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d',
  shared: 'fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc',
};
const pairOf = (seed: string): KeyPair => nodeCrypto.agreementKey(fromHex(seed)) as KeyPair;

/** As browsers answer: never at once. */
const slowly: Crypto = Object.fromEntries(
  Object.entries(nodeCrypto).map(([name, act]) => [
    name,
    async (...given: unknown[]) => (act as (...all: unknown[]) => unknown)(...given),
  ]),
) as unknown as Crypto;

const random = createSeededRandom(9180);
const own = pairOf(A11.recipient);
const info = utf8('what it is for');
const bound = utf8('bound');
const plain = utf8('Beauty is truth, truth beauty');
const judge = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
const theirs = async () => ({
  privateKey: await judge.kem.importKey('raw', own.privateKey.slice().buffer, false),
  publicKey: await judge.kem.importKey('raw', own.publicKey.slice().buffer, true),
});
const bytes = (buffer: ArrayBuffer): Uint8Array => new Uint8Array(buffer);

test('the shared secret is that of RFC 9180, A.1.1, at both ends', async () => {
  const ephemeral = pairOf(A11.ephemeral);
  expect(hex(ephemeral.publicKey)).toBe(A11.enc);
  expect(hex(own.publicKey)).toBe(A11.recipientPublic);
  expect(hex(await encapsulate(ephemeral, own.publicKey, nodeCrypto))).toBe(A11.shared);
  expect(hex(await decapsulate(ephemeral.publicKey, own, nodeCrypto))).toBe(A11.shared);
});

test('HMAC is that of RFC 4231, case 2', async () => {
  const mac = await hmacSha256(utf8('Jefe'), utf8('what do ya want for nothing?'), nodeCrypto);
  expect(hex(mac)).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843');
});

test.each([
  ['at once', nodeCrypto],
  ['later', slowly],
])(
  'what we seal another implementation opens, and both export the same (crypto that answers %s)',
  async (_, crypto) => {
    const sender = await hpkeSender({ recipient: own.publicKey, info }, { crypto, random });
    const sealed = await sender.seal(plain, bound);
    const recipient = await judge.createRecipientContext({
      recipientKey: (await theirs()).privateKey,
      enc: sender.enc.slice().buffer,
      info: info.slice().buffer,
    });
    expect(bytes(await recipient.open(sealed.slice().buffer, bound.slice().buffer))).toEqual(plain);
    for (const length of [16, 32, 48]) {
      const told = bytes(await recipient.export(utf8('label').slice().buffer, length));
      expect(await sender.exported(utf8('label'), length)).toEqual(told);
    }
  },
);

test('what another implementation seals we open, and both export the same', async () => {
  const sender = await judge.createSenderContext({
    recipientPublicKey: (await theirs()).publicKey,
    info: info.slice().buffer,
  });
  const sealed = bytes(await sender.seal(plain.slice().buffer, bound.slice().buffer));
  const recipient = await hpkeRecipient({ enc: bytes(sender.enc), own, info }, nodeCrypto);
  expect(await recipient.open(sealed, bound)).toEqual(plain);
  const told = bytes(await sender.export(utf8('label').slice().buffer, 32));
  expect(await recipient.exported(utf8('label'), 32)).toEqual(told);
});

test('nothing opens with another key, purpose or bound bytes, or changed', async () => {
  const sender = await hpkeSender({ recipient: own.publicKey, info }, { crypto: nodeCrypto, random });
  const sealed = await sender.seal(plain, bound);
  const open = async (given: { own?: KeyPair; info?: Uint8Array; bound?: Uint8Array; sealed?: Uint8Array }) => {
    const recipient = await hpkeRecipient({ enc: sender.enc, own, info, ...given }, nodeCrypto);
    return recipient.open(given.sealed ?? sealed, given.bound ?? bound);
  };
  const changed = sealed.slice();
  changed[3] = (changed[3] as number) ^ 1;
  expect(await open({})).toEqual(plain);
  for (const wrong of [
    { own: pairOf(A11.ephemeral) },
    { info: utf8('another purpose') },
    { bound: utf8('other') },
    { sealed: changed },
    { sealed: sealed.subarray(0, 8) },
  ])
    await expect(open(wrong)).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('keys with which nothing can be agreed are refused, and a context seals once', async () => {
  const zeros = new Uint8Array(32);
  await expect(hpkeSender({ recipient: zeros, info }, { crypto: nodeCrypto, random })).rejects.toMatchObject({
    code: 'signature_invalid',
  });
  await expect(hpkeRecipient({ enc: zeros, own, info }, nodeCrypto)).rejects.toMatchObject({
    code: 'signature_invalid',
  });
  await expect(hpkeRecipient({ enc: new Uint8Array(31), own, info }, nodeCrypto)).rejects.toMatchObject({
    code: 'signature_invalid',
  });
  const sender = await hpkeSender({ recipient: own.publicKey, info }, { crypto: nodeCrypto, random });
  await sender.seal(plain, bound);
  await expect(sender.seal(plain, bound)).rejects.toThrow('one message');
});
