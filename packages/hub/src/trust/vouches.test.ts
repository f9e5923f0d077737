/** Claims about what stewards vouch for, on every database: devices, and invites whose secret no hub ever has. */
import {
  encodeCbor,
  hex,
  inviteKey,
  inviteToken,
  joinTokenOf,
  signDeviceByInvite,
  signDeviceVouch,
  signInviteVouch,
  utf8,
  verifyVouch,
  type DeviceProfile,
  type KeyPair,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { createDevices } from '../identity/devices.ts';
import { createInvites } from '../identity/invites.ts';
import { leave } from '../identity/leaving.ts';
import { testDatabases } from '../testing/databases.ts';
import { createVouches } from './vouches.ts';

const DAY_MS = 86_400_000;
const SECRET = new Uint8Array(16).fill(7);
const keyOf = async (byte: number): Promise<KeyPair> => nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
const [territoryKey, steward, stranger, device, other] = await Promise.all([
  keyOf(1),
  keyOf(2),
  keyOf(3),
  keyOf(4),
  keyOf(5),
]);
const invite = await inviteKey(SECRET, nodeCrypto);
const token = await inviteToken(SECRET, nodeCrypto);
const territory = 'ter_a';
const profile: DeviceProfile = {
  ...{ platform: 'linux', arch: 'x64', cores: 2, memoryBytes: 1, gflops: 1, agentVersion: '0' },
  ...{ engineBuild: 'e', fingerprint: 'f', providers: [] },
};

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    const rows = [territory, 'ter_b'].map((id) => ({
      id,
      name: id,
      public_key: territoryKey.publicKey,
      created_at_ms: 0,
    }));
    await db.insertInto('territories').values(rows).execute();
    const deps = { db, crypto: nodeCrypto, random: createSeededRandom(1), clock };
    const audit = createAudit(deps);
    const devices = createDevices({ ...deps, audit });
    const vouches = createVouches({ ...deps, audit, territoryKey: territoryKey.publicKey });
    const invites = createInvites({ ...deps, audit, devices, vouches });
    const listed = await vouches.addSteward({ territory, actor: 'key_s', publicKey: steward.publicKey, name: 'ada' });
    const lasting = { territory: territoryKey.publicKey, issuedAtMs: clock.now(), expiresAtMs: clock.now() + DAY_MS };

    const make = async (signer = steward, tier: 'vetted' | 'member' = 'vetted', said: 'vetted' | 'member' = tier) => {
      const vouch = await signInviteVouch({ ...lasting, invite: invite.publicKey, tier: said }, signer, nodeCrypto);
      const vouched = { tokenHash: hex(await nodeCrypto.sha256(utf8(token))), vouch };
      return invites.create({ territory, uses: 2, expiresInMs: 60_000, createdBy: 'key_s', tier, vouched });
    };
    const join = async (who: KeyPair, signer: KeyPair = invite, of: KeyPair = who) => {
      const joined = { territory: territoryKey.publicKey, device: of.publicKey };
      const byInvite = await signDeviceByInvite(joined, signer, nodeCrypto);
      const said = { publicKey: who.publicKey, name: 'kettle', consent: new Uint8Array([1]), profile, byInvite };
      return invites.redeem(territory, token, said);
    };
    const of = async (id: string, where = territory) => (await vouches.of(where, [id])).get(id);
    return { clock, db, audit, devices, vouches, invites, listed, lasting, make, join, of };
  }

  test('a device that joins by an invite which a steward signed is vouched for from then on', async () => {
    const { clock, make, join, of, db, listed } = await setUp();
    await make();
    const { id, tier } = await join(device);
    expect(tier).toBe('vetted');
    const known = await of(id);
    expect(known?.steward).toBe(listed.id);
    const expected = {
      stewards: [steward.publicKey],
      territory: territoryKey.publicKey,
      device: device.publicKey,
      nowMs: clock.now(),
    };
    expect(await verifyVouch(known?.chain ?? [], expected, nodeCrypto)).toMatchObject({ tier: 'vetted' });
    // What the hub has of the invite is neither its secret nor anything that signs in its name.
    const [row] = await db.selectFrom('invites').selectAll().where('territory_id', '=', territory).execute();
    const kept = Buffer.from(encodeCbor({ ...row }));
    for (const secret of [SECRET, invite.privateKey]) expect(kept.includes(Buffer.from(secret))).toBe(false);
    expect(kept.includes(Buffer.from(invite.publicKey))).toBe(true);
    expect(kept.includes(joinTokenOf(SECRET))).toBe(false);
  });

  test('the secret itself is no token of such an invite', async () => {
    const { make, invites } = await setUp();
    await make();
    const said = { publicKey: device.publicKey, name: 'old', consent: new Uint8Array([1]), profile };
    await expect(invites.redeem(territory, joinTokenOf(SECRET), said)).rejects.toMatchObject({
      code: 'join_token_invalid',
    });
  });

  test.each([
    ['another key than the invite’s signed it', stranger, device],
    ['it is signed for another device', invite, other],
  ])('nobody gets in by it where %s, and nothing is used up', async (_, signer, of) => {
    const { make, join, devices, db } = await setUp();
    await make();
    await expect(join(device, signer, of)).rejects.toMatchObject({ code: 'signature_invalid' });
    expect(await devices.list(territory)).toEqual([]);
    const row = await db
      .selectFrom('invites')
      .select('uses_left')
      .where('territory_id', '=', territory)
      .executeTakeFirst();
    expect(row?.uses_left).toBe(2);
  });

  test('an invite is not made that no steward of the list signed, or for another tier than it gives', async () => {
    const { make, vouches, listed } = await setUp();
    await expect(make(stranger)).rejects.toMatchObject({ code: 'signature_invalid' });
    await expect(make(steward, 'vetted', 'member')).rejects.toMatchObject({ code: 'signature_invalid' });
    await vouches.removeSteward({ territory, actor: 'key_s', id: listed.id });
    await expect(make()).rejects.toMatchObject({ code: 'signature_invalid' });
  });

  test('a word is shown until it is over, or its steward is removed, and in its territory alone', async () => {
    const { clock, make, join, of, vouches, listed } = await setUp();
    await make();
    const { id } = await join(device);
    expect(await of(id, 'ter_b')).toBeUndefined();
    await clock.advance(DAY_MS - 1);
    expect(await of(id)).toBeDefined();
    await clock.advance(1);
    expect(await of(id)).toBeUndefined();
    const again = { territory: territoryKey.publicKey, device: device.publicKey, tier: 'member' as const };
    const lasting = { issuedAtMs: clock.now(), expiresAtMs: clock.now() + DAY_MS };
    const chain = [await signDeviceVouch({ ...again, ...lasting }, steward, nodeCrypto)];
    await vouches.put({ territory, device: id, chain, actor: 'key_s' });
    expect((await of(id))?.chain).toEqual(chain);
    await vouches.removeSteward({ territory, actor: 'key_s', id: listed.id });
    expect(await of(id)).toBeUndefined();
  });

  test('of another territory nothing can be changed', async () => {
    const { make, join, vouches, listed, of } = await setUp();
    await make();
    const { id } = await join(device);
    const { chain = [] } = (await of(id)) ?? {};
    const there = { territory: 'ter_b', actor: 'key_b' };
    await expect(vouches.put({ ...there, device: id, chain })).rejects.toMatchObject({ code: 'not_found' });
    await expect(vouches.removeSteward({ ...there, id: listed.id })).rejects.toMatchObject({ code: 'not_found' });
    expect(await vouches.stewards('ter_b')).toEqual([]);
  });

  test('nobody vouches for a device that left, and who joins again by such an invite is vouched for anew', async () => {
    const { clock, db, audit, make, join, of } = await setUp();
    await make();
    const { id } = await join(device);
    await leave({ db, clock, audit }, { territory, id });
    expect(await of(id)).toBeUndefined();
    await join(device);
    expect(await of(id)).toBeDefined();
  });
});
