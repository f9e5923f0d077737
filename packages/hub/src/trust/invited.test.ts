/** Claims about invites that name a pool, on every database. */
import { joinTokenOf, newId } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { createDevices } from '../identity/devices.ts';
import { createInvites } from '../identity/invites.ts';
import { createKeys } from '../identity/keys.ts';
import { testDatabases } from '../testing/databases.ts';
import { createDeviceTrust } from './device-trust.ts';
import { TRUST_LIMITS } from './limits.ts';

const territory = 'ter_a';

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const { db } = await open(systemClock);
    const row = { id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 };
    await db.insertInto('territories').values(row).execute();
    const deps = { db, crypto: nodeCrypto, random: nodeRandom, clock: systemClock };
    const audit = createAudit(deps);
    const devices = createDevices({ ...deps, audit });
    const keys = createKeys({ ...deps, audit });
    const trust = createDeviceTrust({ ...deps, audit });
    const invites = createInvites({ ...deps, audit, devices });
    const { id: steward } = await keys.create({ territory, role: 'steward', actor: 'test' });
    const invite = (pool?: string, createdBy = steward) =>
      invites.create({ territory, uses: 9, expiresInMs: 60_000, createdBy, pool });
    const join = async ({ secret }: { readonly secret: Uint8Array }, publicKey = nodeRandom.bytes(32)) => {
      const profile = { os: 'linux', arch: 'x64', cpu: 'a', cores: 4, memoryBytes: 1 };
      const device = { publicKey, name: 'ada', consent: new Uint8Array(), profile: profile as never };
      return (await invites.redeem(territory, joinTokenOf(secret), device)).id;
    };
    const bind = (pool: string, role: string) =>
      db
        .insertInto('bindings')
        .values({
          id: newId('bnd', nodeRandom),
          territory_id: territory,
          subject_kind: 'key',
          subject_id: steward,
          role,
          scope_kind: 'pool',
          scope_id: pool,
          expires_at_ms: null,
          created_at_ms: 0,
          created_by: 'test',
        })
        .execute();
    const poolsOf = async (device: string) => (await trust.pools(territory)).get(device) ?? [];
    const said = async () =>
      (await audit.list({ territory }))
        .filter(({ action }) => action === 'poolDevice')
        .map(({ actor, details }) => [actor.slice(0, 4), details.pool, details.is, details.reason]);
    return { db, audit, keys, trust, steward, invite, join, bind, poolsOf, said };
  }

  test('who joins with it is in the pool, and the log says by which invite', async () => {
    const world = await setUp();
    const first = await world.join(await world.invite());
    await world.trust.addToPool({ territory, id: first, pool: 'labs', actor: world.steward });
    const invite = await world.invite('labs');
    const key = nodeRandom.bytes(32);
    const joined = await world.join(invite, key);
    expect(await world.poolsOf(joined)).toEqual(['labs']);
    expect((await world.said())[0]).toEqual(['inv_', 'labs', 'in', undefined]);
    expect((await world.audit.list({ territory })).find(({ action }) => action === 'createInvite')).toMatchObject({
      subject: invite.id,
      details: { pool: 'labs' },
    });
    // Joining twice is joining once: a pool that it was taken out of meanwhile, it stays out of.
    await world.trust.removeFromPool({ territory, id: joined, pool: 'labs', actor: world.steward });
    expect(await world.join(invite, key)).toBe(joined);
    expect(await world.poolsOf(joined)).toEqual([]);
  });

  test('a pool that is not there is a slip, and one that only has a role is there', async () => {
    const world = await setUp();
    await expect(world.invite('lbas')).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringMatching(/there is no pool "lbas".*idlewild devices pool add/),
    });
    await world.bind('labs', 'caller');
    expect(await world.poolsOf(await world.join(await world.invite('labs')))).toEqual(['labs']);
  });

  test('nobody invites into a pool on which others have more than they have', async () => {
    const world = await setUp();
    await world.bind('labs', 'steward');
    const { id: lender } = await world.keys.create({ territory, role: 'lender', actor: 'test' });
    await expect(world.invite('labs', lender)).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('where the pool is gone, or its maker may not any more, a device joins without, and that is said', async () => {
    const world = await setUp();
    const { db, trust, steward } = world;
    const first = await world.join(await world.invite());
    await trust.addToPool({ territory, id: first, pool: 'labs', actor: steward });
    const invite = await world.invite('labs');
    await trust.removeFromPool({ territory, id: first, pool: 'labs', actor: steward });
    expect(await world.poolsOf(await world.join(invite))).toEqual([]);
    expect((await world.said())[0]).toEqual(['inv_', 'labs', 'left out', 'the pool is gone']);

    await world.bind('labs', 'steward');
    const { id: maker } = await world.keys.create({ territory, role: 'steward', actor: 'test' });
    const late = await world.invite('labs', maker);
    await world.keys.revoke({ territory, id: maker, actor: steward });
    expect(await world.poolsOf(await world.join(late))).toEqual([]);
    expect((await world.said())[0]).toEqual(['inv_', 'labs', 'left out', expect.stringMatching('may not any more')]);

    // A device that left and comes back may be in pools still.
    const key = nodeRandom.bytes(32);
    const back = await world.join(await world.invite(), key);
    const pools = Array.from({ length: TRUST_LIMITS.poolsOfDeviceMax }, (_, at) => `pool-${at}`);
    await db
      .insertInto('device_pools')
      .values(pools.map((pool) => ({ territory_id: territory, pool, device_id: back })))
      .execute();
    await db.updateTable('devices').set({ left_at_ms: 1 }).where('id', '=', back).execute();
    await world.join(await world.invite('labs'), key);
    expect(await world.poolsOf(back)).not.toContain('labs');
    expect((await world.said())[0]).toEqual(['inv_', 'labs', 'left out', expect.stringMatching('as many pools')]);
  });
});
