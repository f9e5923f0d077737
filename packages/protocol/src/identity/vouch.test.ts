/** Claims about who vouches for a device: whose word counts, for whom, how long, and that a hub cannot make one. */
import { expect, test } from 'vitest';
import { LIMITS } from '../limits.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { signStatement } from './signed.ts';
import {
  inviteKey,
  inviteToken,
  signDeviceByInvite,
  signDeviceVouch,
  signInviteVouch,
  verifyVouch,
  type VouchChain,
  type VouchExpected,
} from './vouch.ts';

const NOW_MS = 1_800_000_000_000;
const DAY_MS = 86_400_000;
const keyOf = async (byte: number): Promise<KeyPair> => nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
const [territory, steward, device, other, hub] = (await Promise.all([1, 2, 3, 4, 5].map(keyOf))) as [
  KeyPair,
  KeyPair,
  KeyPair,
  KeyPair,
  KeyPair,
];
const SECRET = new Uint8Array(16).fill(9);
const invite = await inviteKey(SECRET, nodeCrypto);

const lasting = {
  territory: territory.publicKey,
  tier: 'vetted',
  issuedAtMs: NOW_MS - DAY_MS,
  expiresAtMs: NOW_MS + DAY_MS,
} as const;
const vouch = { ...lasting, device: device.publicKey };
const invited = { ...lasting, tier: 'member', invite: invite.publicKey } as const;
const joined = { territory: territory.publicKey, device: device.publicKey };
const expected: VouchExpected = {
  stewards: [other.publicKey, steward.publicKey],
  territory: territory.publicKey,
  device: device.publicKey,
  nowMs: NOW_MS,
};
const verify = (chain: VouchChain, change: Partial<VouchExpected> = {}) =>
  verifyVouch(chain, { ...expected, ...change }, nodeCrypto);

test('the word of a pinned steward counts, for that device, as far as it goes', async () => {
  const chain = [await signDeviceVouch(vouch, steward, nodeCrypto)];
  expect(await verify(chain)).toEqual({
    tier: 'vetted',
    steward: steward.publicKey,
    device: device.publicKey,
    issuedAtMs: NOW_MS - DAY_MS,
    expiresAtMs: NOW_MS + DAY_MS,
  });
});

test('so does that of a steward for an invite, with that of the invite for the device', async () => {
  const chain = [
    await signInviteVouch(invited, steward, nodeCrypto),
    await signDeviceByInvite(joined, invite, nodeCrypto),
  ];
  expect(await verify(chain)).toMatchObject({ tier: 'member', steward: steward.publicKey, device: device.publicKey });
});

test.each<[string, () => Promise<VouchChain>, Partial<VouchExpected>?]>([
  ['nobody signed', async () => []],
  ['the hub signed', async () => [await signDeviceVouch(vouch, hub, nodeCrypto)]],
  ["the territory signed, whose key is its hub's", async () => [await signDeviceVouch(vouch, territory, nodeCrypto)]],
  ['the device signed itself', async () => [await signDeviceVouch(vouch, device, nodeCrypto)]],
  [
    'is of another device',
    async () => [await signDeviceVouch({ ...vouch, device: other.publicKey }, steward, nodeCrypto)],
  ],
  [
    'is of another territory',
    async () => [await signDeviceVouch({ ...vouch, territory: other.publicKey }, steward, nodeCrypto)],
  ],
  [
    'is over',
    async () => [await signDeviceVouch(vouch, steward, nodeCrypto)],
    { nowMs: NOW_MS + DAY_MS + LIMITS.clockSkewMs + 1 },
  ],
  [
    'is of a time to come',
    async () => [await signDeviceVouch(vouch, steward, nodeCrypto)],
    { nowMs: NOW_MS - DAY_MS - LIMITS.clockSkewMs - 1 },
  ],
  [
    'lasts for ever',
    async () => [
      await signDeviceVouch({ ...vouch, expiresAtMs: vouch.issuedAtMs + LIMITS.vouchMsMax + 1 }, steward, nodeCrypto),
    ],
  ],
  [
    'is of a steward who is pinned no more',
    async () => [await signDeviceVouch(vouch, steward, nodeCrypto)],
    { stewards: [other.publicKey] },
  ],
  ["is of an invite, and lacks the device's own", async () => [await signInviteVouch(invited, steward, nodeCrypto)]],
  [
    'is of an invite, for a device that another key signed',
    async () => [
      await signInviteVouch(invited, steward, nodeCrypto),
      await signDeviceByInvite(joined, hub, nodeCrypto),
    ],
  ],
  [
    'is of an invite that no steward signed',
    async () => [await signInviteVouch(invited, hub, nodeCrypto), await signDeviceByInvite(joined, invite, nodeCrypto)],
  ],
  [
    'is of an invite by which another device joined',
    async () => [
      await signInviteVouch(invited, steward, nodeCrypto),
      await signDeviceByInvite({ ...joined, device: other.publicKey }, invite, nodeCrypto),
    ],
  ],
  [
    'is of an invite of another territory',
    async () => [
      await signInviteVouch(invited, steward, nodeCrypto),
      await signDeviceByInvite({ ...joined, territory: other.publicKey }, invite, nodeCrypto),
    ],
  ],
  ['is of another purpose', async () => [await signStatement('invite-vouch', { v: 1, ...vouch }, steward, nodeCrypto)]],
])('a chain that %s does not count', async (_, make, change = {}) => {
  const chain = await make();
  await expect(verify(chain, change)).rejects.toMatchObject({ code: 'signature_invalid' });
});

test('of a chain that was changed anywhere on its way nothing counts', async () => {
  const carried = await signDeviceVouch(vouch, steward, nodeCrypto);
  for (let at = 0; at < carried.length; at++) {
    const changed = carried.slice();
    changed[at] = (changed[at] as number) ^ 1;
    await expect(verify([changed]), `byte ${at}`).rejects.toMatchObject({
      code: expect.stringMatching(/^(?:signature|frame)_invalid$/),
    });
  }
});

test('what a chain may be is bounded', async () => {
  const one = await signDeviceVouch(vouch, steward, nodeCrypto);
  await expect(verify([one, one, one])).rejects.toThrow(/too long/);
  await expect(verify([new Uint8Array(2_000)])).rejects.toThrow(/too long/);
});

test('who has the token that the hub is shown has not the key', async () => {
  const token = await inviteToken(SECRET, nodeCrypto);
  const shown = new Uint8Array(Buffer.from(token, 'base64url'));
  expect(shown).not.toEqual(SECRET);
  for (const guess of [await nodeCrypto.signingKey(shown), await inviteKey(shown, nodeCrypto)])
    expect(guess.publicKey).not.toEqual(invite.publicKey);
});
