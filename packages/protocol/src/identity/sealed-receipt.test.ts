/** Claims about receipts of answers that no hub could read: two signatures that fit each other, and the text. */
import { expect, test } from 'vitest';
import { idOfKey } from '../ids.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { digestAnswer } from './answer-receipt.ts';
import {
  commitmentOf,
  encodeKeptSealed,
  openFreshSealed,
  openKeptSealed,
  readKeptSealed,
  signSealedReceipt,
  territoryOfSealed,
  type KeptSealed,
  type OpenedSealedReceipt,
} from './sealed-receipt.ts';
import { signStatement } from './signed.ts';

const NOW_MS = 1_800_000_000_000;
const keyOf = async (byte: number): Promise<KeyPair> => nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
const [territory, hub, ada, bea] = await Promise.all([keyOf(1), keyOf(2), keyOf(3), keyOf(4)]);
const certificate = await signStatement(
  'hub-certificate',
  { v: 1, territory: territory.publicKey, hub: hub.publicKey, issuedAtMs: NOW_MS - 1_000, expiresAtMs: NOW_MS + 1_000 },
  territory,
  nodeCrypto,
);
const answer = { text: 'Aye.', calls: [{ name: 'f', arguments: '{}' }] };
const digest = await digestAnswer(answer, nodeCrypto);
const salt = new Uint8Array(32).fill(8);

interface Change {
  readonly hub?: object;
  readonly device?: object;
  readonly sealed?: object;
  readonly signer?: KeyPair;
}
async function pairOf(device: KeyPair, change: Change = {}): Promise<Pick<KeptSealed, 'hub' | 'device'>> {
  const lease = `att_${await idOfKey('dev', device.publicKey, nodeCrypto)}`;
  const own = { lease, epoch: 1, model: 'bafymodel', promptTokens: 7, tokens: 2 };
  const receipt = {
    ...{ v: 1, device: device.publicKey, numericClass: 'class-a', firstToken: 0, ...own },
    ...{ tokensDigest: new Uint8Array(32), prefillMs: 1, decodeMs: 1 },
    sealed: { digest, salt, seed: 5, finish: 'stop', ...change.sealed },
    ...change.device,
  };
  const told = {
    territory: territory.publicKey,
    certificate,
    atMs: NOW_MS,
    request: 'req_1',
    modelName: 'jacobean',
    dataClass: 'internal' as const,
    device: await idOfKey('dev', device.publicKey, nodeCrypto),
    promptBytes: 1_024,
    commitment: await commitmentOf(salt, digest, nodeCrypto),
    ...own,
    ...change.hub,
  };
  return {
    hub: await signSealedReceipt(told, change.signer ?? hub, nodeCrypto),
    device: await signStatement('receipt', receipt, device, nodeCrypto),
  };
}
const open = (kept: Omit<KeptSealed, 'v' | 't'>, text = answer.text): Promise<OpenedSealedReceipt> =>
  openKeptSealed(
    readKeptSealed(encodeKeptSealed(kept)) as KeptSealed,
    { territory: territory.publicKey, answer: { ...answer, text } },
    nodeCrypto,
  );

test('what hub and device signed fits together and to the text, and names whose word it is', async () => {
  const kept = await pairOf(ada);
  const opened = await open(kept);
  expect(opened).toMatchObject({ receipt: { verification: 'unverified' }, device: { sealed: { seed: 5 } } });
  expect(opened.verifiedBy).toBeUndefined();
  expect(await territoryOfSealed({ v: 1, t: 'sealed-answer', ...kept }, nodeCrypto)).toEqual(territory.publicKey);
  expect(readKeptSealed(kept.hub)).toBeUndefined();
  expect(readKeptSealed(new Uint8Array([255]))).toBeUndefined();
});

test('nothing that the hub signs tells of the text', async () => {
  const { hub: told } = await pairOf(ada);
  for (const secret of [digest, salt, await nodeCrypto.sha256(Buffer.from(answer.text))])
    expect(Buffer.from(told).includes(Buffer.from(secret))).toBe(false);
});

const zeros = new Uint8Array(32);
test.each<[string, Change]>([
  ['another commitment', { hub: { commitment: zeros } }],
  ['another salt', { sealed: { salt: zeros } }],
  ['another lease', { hub: { lease: 'att_other' } }],
  ['another epoch', { hub: { epoch: 2 } }],
  ['another model', { hub: { model: 'bafyother' } }],
  ['fewer tokens', { hub: { tokens: 1 } }],
  ['a longer prompt', { hub: { promptTokens: 8 } }],
  ['another device', { hub: { device: 'dev_other' } }],
  ['the key of another', { device: { device: bea.publicKey } }],
  ['no text', { device: { sealed: undefined } }],
  ['another hub', { signer: bea }],
  ['another time', { hub: { atMs: NOW_MS + 1_000_000_000 } }],
])('two signatures of which one tells of %s do not count', async (_, change) => {
  await expect(open(await pairOf(ada, change))).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('a text that was changed is found, also where device and hub would sign for another', async () => {
  await expect(open(await pairOf(ada), 'Nay.')).rejects.toThrow('another text');
});

test('a second device verifies by making the same; another answer, class or seed, or itself, does not', async () => {
  const own = await pairOf(ada);
  expect((await open({ ...own, again: await pairOf(bea) })).verifiedBy).toMatch(/^dev_/);
  const other = await digestAnswer({ ...answer, text: 'Nay.' }, nodeCrypto);
  const commitment = await commitmentOf(salt, other, nodeCrypto);
  const against: Change[] = [
    { sealed: { digest: other }, hub: { commitment } },
    { sealed: { seed: 6 } },
    { sealed: { finish: 'length' } },
    { device: { numericClass: 'class-b' } },
    { device: { firstToken: 1 } },
  ];
  for (const change of against)
    await expect(open({ ...own, again: await pairOf(bea, change) })).rejects.toThrow('made another answer');
  await expect(open({ ...own, again: own })).rejects.toThrow('made another answer');
});

test('a fresh one is of this device and this lease', async () => {
  const own = await pairOf(ada);
  const lease = `att_${await idOfKey('dev', ada.publicKey, nodeCrypto)}`;
  const expected = { territory: territory.publicKey, device: ada.publicKey, lease };
  expect((await openFreshSealed(own, expected, nodeCrypto)).tokens).toBe(2);
  for (const change of [{ lease: 'att_2' }, { device: bea.publicKey }, { territory: bea.publicKey }])
    await expect(openFreshSealed(own, { ...expected, ...change }, nodeCrypto)).rejects.toMatchObject({
      code: 'signature_invalid',
    });
});
