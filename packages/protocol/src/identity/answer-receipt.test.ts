/** Claims about the receipt of an answer: whose word counts, about which text, and that every field is under it. */
import { expect, test } from 'vitest';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { decodeCbor, encodeCbor } from '../wire/frame.ts';
import { idOfKey } from '../ids.ts';
import { AI_SOURCE_TYPE, digestAnswer, openAnswerReceipt, signAnswerReceipt } from './answer-receipt.ts';
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
const answer = { text: 'What news?', calls: [{ name: 'f', arguments: '{}' }] };
const deviceReceipt = (change: object = {}, signer = device): Promise<Uint8Array> =>
  signStatement(
    'receipt',
    {
      v: 1,
      device: device.publicKey,
      lease: 'att_1',
      epoch: 1,
      model: 'bafymodel',
      numericClass: 'class-a',
      promptTokens: 7,
      firstToken: 1,
      tokens: 2,
      tokensDigest: new Uint8Array(32),
      prefillMs: 1,
      decodeMs: 1,
      ...change,
    },
    signer,
    nodeCrypto,
  );
const fields: Parameters<typeof signAnswerReceipt>[0] = {
  territory: territory.publicKey,
  certificate: await certificateOf(hub, territory),
  atMs: NOW_MS,
  request: 'req_1',
  choice: 0,
  model: 'bafymodel',
  modelName: 'jacobean',
  dataClass: 'internal',
  seed: 7,
  promptTokens: 7,
  answerTokens: 3,
  finish: 'stop',
  devices: ['dev_before', await idOfKey('dev', device.publicKey, nodeCrypto)],
  failovers: 1,
  numericClass: 'class-a',
  exact: true,
  digest: await digestAnswer(answer, nodeCrypto),
  device: await deviceReceipt(),
};
const pinned = { territory: territory.publicKey };

test('a receipt needs nothing but the key of the territory', async () => {
  const carried = await signAnswerReceipt(fields, hub, nodeCrypto);
  const opened = await openAnswerReceipt(carried, { ...pinned, answer }, nodeCrypto);
  expect(opened.receipt).toMatchObject({ sourceType: AI_SOURCE_TYPE, verification: 'unverified', seed: 7 });
  expect(opened.device?.tokens).toBe(2);
  expect(opened.hub).toEqual(hub.publicKey);
});

test.each([
  ['its text was changed', { ...answer, text: 'What news!' }],
  ['a call was left out', { ...answer, calls: [] }],
  ['an argument was changed', { ...answer, calls: [{ name: 'f', arguments: '{"a":1}' }] }],
])('it does not count where %s', async (_, changed) => {
  const carried = await signAnswerReceipt(fields, hub, nodeCrypto);
  const opening = openAnswerReceipt(carried, { ...pinned, answer: changed }, nodeCrypto);
  await expect(opening).rejects.toMatchObject({ code: 'signature_invalid' });
});

test.each(Object.keys(fields).filter((name) => name !== 'device'))(
  'its field %s is under the signature',
  async (name) => {
    const carried = await signAnswerReceipt(fields, hub, nodeCrypto);
    const { payload, ...rest } = decodeCbor(carried, 'a receipt') as { payload: Uint8Array };
    const said = decodeCbor(payload, 'a receipt') as Record<string, unknown>;
    const value = said[name];
    said[name] =
      typeof value === 'number'
        ? value + 1
        : typeof value === 'boolean'
          ? !value
          : typeof value === 'string'
            ? `${value}x`
            : value instanceof Uint8Array
              ? value.map((byte) => byte ^ 1)
              : [];
    const changed = encodeCbor({ payload: encodeCbor(said), ...rest });
    await expect(openAnswerReceipt(changed, pinned, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
  },
);

test.each<[string, () => Promise<Uint8Array>]>([
  ['a hub that somebody else certified', async () => sign({ certificate: await certificateOf(hub, other) })],
  ['one who shows the certificate of another hub', () => sign({}, other)],
  [
    'a hub whose certificate had run out',
    async () => sign({ certificate: await certificateOf(hub, territory, NOW_MS - 600_000) }),
  ],
  ['a device that is not the one named', async () => sign({ devices: ['dev_before'] })],
  ['a device that tells of another model', async () => sign({ device: await deviceReceipt({ model: 'bafyother' }) })],
  ['a device that made another number of tokens', async () => sign({ device: await deviceReceipt({ tokens: 9 }) })],
  ['somebody in the place of the device', async () => sign({ device: await deviceReceipt({}, other) })],
])('the word of %s does not count', async (_, make) => {
  await expect(openAnswerReceipt(await make(), pinned, nodeCrypto)).rejects.toMatchObject({
    code: 'signature_invalid',
  });
});

const sign = (change: Partial<Parameters<typeof signAnswerReceipt>[0]>, signer = hub): Promise<Uint8Array> =>
  signAnswerReceipt({ ...fields, ...change }, signer, nodeCrypto);
