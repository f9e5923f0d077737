/** Claims about devices that left: written down once, counted, and let in again only by an invite. */
import { joinTokenOf } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { testDatabases } from '../testing/databases.ts';
import { createDevices } from './devices.ts';
import { createInvites } from './invites.ts';
import { leave } from './leaving.ts';

const territory = 'ter_a';
const device = {
  publicKey: new Uint8Array(32).fill(1),
  name: 'kettle',
  consent: new Uint8Array([1]),
  profile: {
    ...{ platform: 'linux', arch: 'x64', cores: 2, memoryBytes: 1, gflops: 1, agentVersion: '0' },
    ...{ engineBuild: 'e', fingerprint: 'f', providers: [] },
  },
};

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    await db
      .insertInto('territories')
      .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
      .execute();
    const deps = { db, crypto: nodeCrypto, random: createSeededRandom(1), clock };
    const audit = createAudit(deps);
    const devices = createDevices({ ...deps, audit });
    const invites = createInvites({ ...deps, audit, devices });
    const invite = async () =>
      joinTokenOf((await invites.create({ territory, uses: 1, expiresInMs: 10_000, createdBy: 'key_s' })).secret);
    const { id } = await invites.redeem(territory, await invite(), device);
    return { clock, db, audit, devices, invites, invite, id, leaving: { db, clock, audit } };
  }
  const actions = async (audit: ReturnType<typeof createAudit>): Promise<string[]> =>
    (await audit.list({ territory })).map(({ action, actor }) => `${action} ${actor.slice(0, 3)}`).toReversed();

  test('a device that left is revoked by itself, once, whenever it says so again', async () => {
    const { clock, audit, devices, id, leaving } = await setUp();
    await clock.advance(1_000);
    const atMs = clock.now();
    expect(await leave(leaving, { territory, id })).toEqual({ atMs, answers: 0, tokens: 0 });
    await clock.advance(1_000);
    expect(await leave(leaving, { territory, id })).toEqual({ atMs, answers: 0, tokens: 0 });
    expect(await devices.get(territory, id)).toMatchObject({ revokedAtMs: atMs, leftAtMs: atMs });
    expect(await actions(audit)).toEqual(['createInvite key', 'enrolDevice inv', 'leaveDevice dev']);
    expect(await audit.verify(territory)).toMatchObject({ intact: true });
  });

  test('what it gave is the answers that it finished, whoever asked', async () => {
    const { db, id, leaving } = await setUp();
    for (const [n, tokens] of [3, 40, 500].entries()) {
      const row = { id: `req_${n}`, territory_id: territory, key_id: `key_${n}`, model_cid: 'cid', state: 'done' };
      const counts = { prompt_tokens: 9, answer_tokens: tokens, failovers: 0, exact: 1, created_at_ms: 1 };
      await db
        .insertInto('requests')
        .values({ ...row, ...counts, reason: null, finished_at_ms: 2, owner: null, run_id: null } as never)
        .execute();
      const receipt = { lease: `att_${n}`, territory_id: territory, request_id: row.id, epoch: 1, created_at_ms: 2 };
      const from = { device_id: n === 1 ? 'dev_other' : id, statement: new Uint8Array() };
      await db
        .insertInto('receipts')
        .values({ ...receipt, ...from })
        .execute();
    }
    expect(await leave(leaving, { territory, id })).toMatchObject({ answers: 2, tokens: 503 });
  });

  test('it comes back with a new invite, under its id and what it says of itself now, and not without', async () => {
    const { clock, audit, devices, invites, invite, id, leaving } = await setUp();
    await leave(leaving, { territory, id });
    await clock.advance(1_000);
    await expect(invites.redeem(territory, 'wrong', device)).rejects.toMatchObject({ code: 'join_token_invalid' });
    const token = await invite();
    const back = await invites.redeem(territory, token, { ...device, name: 'pot' });
    expect(back).toMatchObject({ id, name: 'pot', enrolledAtMs: clock.now() });
    expect(await devices.get(territory, id)).toEqual(back);
    expect(back).not.toHaveProperty('revokedAtMs');
    await leave(leaving, { territory, id });
    await expect(invites.redeem(territory, token, device)).rejects.toMatchObject({ message: /used up/ });
    expect((await actions(audit)).slice(-3)).toEqual(['createInvite key', 'enrolDevice inv', 'leaveDevice dev']);
  });

  test("leaving does not undo a steward's revocation, and no invite lifts it", async () => {
    const { devices, invites, invite, id, leaving } = await setUp();
    await devices.revoke({ territory, id, actor: 'key_s' });
    await expect(leave(leaving, { territory, id })).rejects.toMatchObject({ code: 'device_revoked' });
    await expect(invites.redeem(territory, await invite(), device)).rejects.toMatchObject({ code: 'device_revoked' });
    await expect(leave(leaving, { territory, id: 'dev_nobody' })).rejects.toMatchObject({ code: 'not_found' });
  });
});
