/** Claims about the receipt of a device that left: whose word counts, and for whom. */
import { expect, test } from 'vitest';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { openLeft, signLeft } from './left.ts';
import { signStatement } from './signed.ts';

const NOW_MS = 1_800_000_000_000;
const keyOf = async (byte: number): Promise<KeyPair> => nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
const [territory, hub, device, other] = await Promise.all([keyOf(1), keyOf(2), keyOf(3), keyOf(4)]);

const certificateOf = (who: KeyPair, signer: KeyPair, expiresAtMs = NOW_MS + 1_000): Promise<Uint8Array> =>
  signStatement(
    'hub-certificate',
    { v: 1, territory: territory.publicKey, hub: who.publicKey, issuedAtMs: NOW_MS - 1_000, expiresAtMs },
    signer,
    nodeCrypto,
  );
const fields = {
  territory: territory.publicKey,
  device: device.publicKey,
  certificate: await certificateOf(hub, territory),
  atMs: NOW_MS,
  answers: 3,
  tokens: 120,
};
const expected = { territory: territory.publicKey, device: device.publicKey };

test('the word of a hub of the territory counts, and needs nothing but the key of the territory', async () => {
  const signed = await signLeft(fields, hub, nodeCrypto);
  expect(await openLeft(signed, expected, nodeCrypto)).toMatchObject({ atMs: NOW_MS, answers: 3, tokens: 120 });
});

test.each<[string, () => Promise<Uint8Array>]>([
  ['of another device', () => signLeft({ ...fields, device: other.publicKey }, hub, nodeCrypto)],
  ['of another territory', () => signLeft({ ...fields, territory: other.publicKey }, hub, nodeCrypto)],
  [
    'of a hub that somebody else certified',
    async () => signLeft({ ...fields, certificate: await certificateOf(hub, other) }, hub, nodeCrypto),
  ],
  ['of one who shows the certificate of another hub', () => signLeft(fields, other, nodeCrypto)],
  [
    'of a hub whose certificate had run out',
    async () =>
      signLeft({ ...fields, certificate: await certificateOf(hub, territory, NOW_MS - 600_000) }, hub, nodeCrypto),
  ],
  ['that is a statement of another kind', () => signStatement('receipt', { v: 1, ...fields }, hub, nodeCrypto)],
])('a statement %s does not count', async (_, make) => {
  await expect(openLeft(await make(), expected, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('a statement that was changed on its way does not count', async () => {
  const signed = await signLeft(fields, hub, nodeCrypto);
  const at = signed.findIndex((byte, index) => byte === 120 && signed[index - 1] === 0x18);
  signed[at] = 121;
  await expect(openLeft(signed, expected, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
});
