import { joinTokenOf, type CheckedDevice, type DeviceProfile } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import { testDatabases } from '../testing/databases.ts';
import { createDevices } from './devices.ts';
import { createEnrolment } from './enrolment.ts';
import { createFarewell } from './farewell.ts';
import { createInvites } from './invites.ts';
import { addTerritories } from '../testing/territories.ts';

const territory = 'ter_a';
const profile: DeviceProfile = {
  platform: 'linux',
  arch: 'x64',
  cores: 2,
  memoryBytes: 1,
  gflops: 1,
  agentVersion: '0',
  engineBuild: 'e',
  fingerprint: 'f',
  providers: [],
};
const publicKey = (n: number) => new Uint8Array(32).fill(n);
const device = (n: number, name = `device ${n}`) => ({
  publicKey: publicKey(n),
  name,
  consent: new Uint8Array([n]),
  profile,
});

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    await addTerritories(db, territory, 'ter_b');
    const deps = { db, crypto: nodeCrypto, random: createSeededRandom(1), clock };
    const audit = createAudit(deps);
    const devices = createDevices({ ...deps, audit });
    const invites = createInvites({ ...deps, audit, devices });
    const invite = async (uses = 1, expiresInMs = 1_000) =>
      joinTokenOf((await invites.create({ territory, uses, expiresInMs, createdBy: 'key_s' })).secret);
    const hubKey = await nodeCrypto.signingKey(new Uint8Array(32).fill(200));
    const signing = {
      hubKey,
      certificate: () => new Uint8Array(),
      territory: { id: territory, publicKey: publicKey(0) },
    };
    const farewell = createFarewell({ ...deps, audit, ...signing });
    const door = createEnrolment({ territory, devices, invites, farewell });
    const admit = async (key: Uint8Array, told: CheckedDevice) => (await door.find(key)).admit(told);
    return { clock, db, audit, devices, invites, invite, farewell, enrolment: { ...door, admit } };
  }

  /** What the handshake would have checked of `device(n)`. */
  const checked = (n: number, joinToken?: string, name?: string): CheckedDevice => {
    const { publicKey: _, ...said } = device(n, name);
    const token = joinToken === undefined ? {} : { joinToken };
    const proof = { ...said, challenge: publicKey(0), agreementKey: publicKey(0), ...token };
    return { proof } as unknown as CheckedDevice;
  };

  test('an invite lets a device in, and the device is found by its key and its id', async () => {
    const { devices, invites, invite } = await setUp();
    const enrolled = await invites.redeem(territory, await invite(), device(1));
    expect(enrolled).toMatchObject({ territory, name: 'device 1', consent: new Uint8Array([1]), profile });
    expect(enrolled.id).toMatch(/^dev_[a-z2-7]{26}$/);
    expect(await devices.findByKey(territory, publicKey(1))).toEqual(enrolled);
    expect(await devices.get(territory, enrolled.id)).toEqual(enrolled);
    expect(await devices.list(territory)).toEqual([enrolled]);
  });

  test('what a device calls itself is one line that hides nothing, first and whenever it comes', async () => {
    const { devices, invite, enrolment } = await setUp();
    const token = await invite();
    const called = async (name: string): Promise<string | undefined> => {
      const { id } = await enrolment.admit(publicKey(1), checked(1, token, name));
      return (await devices.get(territory, id))?.name;
    };
    expect(await called('ada\u202e\u200b\n\u001b[31m')).toBe('ada [31m');
    expect(await called('\u2028bob\u0085')).toBe('bob');
    expect(await called('\u200b')).toBe('a device');
  });

  test('an invite for two devices lets in two of five that come at once', async () => {
    const { devices, invites, invite } = await setUp();
    const token = await invite(2);
    const comers = await Promise.allSettled([1, 2, 3, 4, 5].map((n) => invites.redeem(territory, token, device(n))));
    expect(comers.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    for (const comer of comers) {
      if (comer.status === 'rejected') expect(comer.reason).toMatchObject({ code: 'join_token_invalid' });
    }
    expect(await devices.list(territory)).toHaveLength(2);
  });

  test('a device that redeems twice uses the invite once', async () => {
    const { invites, invite } = await setUp();
    const token = await invite(2);
    const first = await invites.redeem(territory, token, device(1));
    expect(await invites.redeem(territory, token, device(1))).toEqual(first);
    await invites.redeem(territory, token, device(2));
    await expect(invites.redeem(territory, token, device(3))).rejects.toThrow(/used up/);
  });

  test('an unknown, an expired and a foreign join token are each refused by name', async () => {
    const { clock, invites, invite } = await setUp();
    await expect(invites.redeem(territory, 'AAAA', device(1))).rejects.toThrow(/unknown/);
    const token = await invite(1, 1_000);
    await expect(invites.redeem('ter_b', token, device(1))).rejects.toThrow(/unknown/);
    await clock.advance(1_000);
    await expect(invites.redeem(territory, token, device(1))).rejects.toMatchObject({
      code: 'join_token_invalid',
      message: expect.stringMatching(/expired at 20/),
    });
  });

  test('the secret of an invite is nowhere in the database', async () => {
    const { db, invite } = await setUp();
    const token = await invite();
    for (const table of ['invites', 'audit'] as const) {
      expect(JSON.stringify(await db.selectFrom(table).selectAll().execute())).not.toContain(token);
    }
  });

  test('a known device comes in without a token, and what it says of itself is kept', async () => {
    const { devices, enrolment, invite } = await setUp();
    const { id } = await enrolment.admit(publicKey(1), checked(1, await invite()));
    expect((await enrolment.admit(publicKey(1), checked(1, undefined, 'renamed'))).id).toBe(id);
    expect((await devices.get(territory, id))?.name).toBe('renamed');
    expect((await enrolment.find(publicKey(1))).consent).toEqual(new Uint8Array([1]));
    expect((await enrolment.find(publicKey(2))).consent).toBeUndefined();
    await expect(enrolment.admit(publicKey(2), checked(2))).rejects.toMatchObject({ code: 'join_token_invalid' });
  });

  test('a revoked device is refused, with a new invite too', async () => {
    const { devices, enrolment, invite, invites } = await setUp();
    const { id } = await enrolment.admit(publicKey(1), checked(1, await invite()));
    await devices.revoke({ territory, id, actor: 'key_s' });
    await devices.revoke({ territory, id, actor: 'key_s' });
    await expect(enrolment.admit(publicKey(1), checked(1))).rejects.toMatchObject({ code: 'device_revoked' });
    await expect(invites.redeem(territory, await invite(), device(1))).rejects.toMatchObject({
      code: 'device_revoked',
    });
  });

  test('one territory neither sees nor revokes the devices of another', async () => {
    const { devices, invites, invite } = await setUp();
    const { id } = await invites.redeem(territory, await invite(), device(1));
    expect(await devices.list('ter_b')).toEqual([]);
    expect(await devices.findByKey('ter_b', publicKey(1))).toBeUndefined();
    await expect(devices.revoke({ territory: 'ter_b', id, actor: 'key_s' })).rejects.toMatchObject({
      code: 'not_found',
    });
  });

  test('a device seen just now is shown so at once, and written when flushed', async () => {
    const { clock, db, devices, invites, invite } = await setUp();
    const { id, enrolledAtMs } = await invites.redeem(territory, await invite(), device(1));
    await clock.advance(500);
    devices.touch(territory, id);
    expect((await devices.get(territory, id))?.lastSeenAtMs).toBe(enrolledAtMs + 500);
    expect((await devices.list(territory))[0]?.lastSeenAtMs).toBe(enrolledAtMs + 500);
    const stored = () => db.selectFrom('devices').select('last_seen_at_ms').executeTakeFirst();
    expect(await stored()).toEqual({ last_seen_at_ms: enrolledAtMs });
    await devices.flush();
    expect(await stored()).toEqual({ last_seen_at_ms: enrolledAtMs + 500 });
  });

  test('a device that says nothing new is only seen: nothing is written until it is flushed', async () => {
    const { clock, db, devices, enrolment, invite } = await setUp();
    const { id, lastSeenAtMs } = await enrolment.admit(publicKey(1), checked(1, await invite()));
    const stored = () => db.selectFrom('devices').select(['name', 'last_seen_at_ms']).executeTakeFirst();
    await clock.advance(500);
    await enrolment.admit(publicKey(1), checked(1));
    expect(await stored()).toEqual({ name: 'device 1', last_seen_at_ms: lastSeenAtMs });
    expect((await devices.get(territory, id))?.lastSeenAtMs).toBe(lastSeenAtMs + 500);
    await enrolment.admit(publicKey(1), checked(1, undefined, 'renamed'));
    expect(await stored()).toEqual({ name: 'renamed', last_seen_at_ms: lastSeenAtMs + 500 });
  });

  test('of a thousand that say something new at once each is written before it is let in', async () => {
    const { db, devices, invite, enrolment } = await setUp();
    const known = await enrolment.admit(publicKey(1), checked(1, await invite()));
    const template = await db.selectFrom('devices').selectAll().executeTakeFirstOrThrow();
    const all = Array.from({ length: 1_000 }, (_, n) => ({ ...known, id: `dev_${n}` }));
    await db
      .insertInto('devices')
      .values(all.map(({ id }) => ({ ...template, id })))
      .execute();
    const written = all.map(async (each) => {
      await devices.describe(each, { name: `now ${each.id}`, consent: each.consent, profile });
      return (await devices.get(territory, each.id))?.name;
    });
    expect(await Promise.all(written)).toEqual(all.map(({ id }) => `now ${id}`));
  });

  test('another replica’s later sighting stays, however late it was written', async () => {
    const { clock, db, devices, invites, invite } = await setUp();
    const { id, enrolledAtMs } = await invites.redeem(territory, await invite(), device(1));
    devices.touch(territory, id);
    await db
      .updateTable('devices')
      .set({ last_seen_at_ms: enrolledAtMs + 9_000 })
      .execute();
    await clock.advance(1_000);
    await devices.flush();
    expect((await devices.get(territory, id))?.lastSeenAtMs).toBe(enrolledAtMs + 9_000);
  });

  test('inviting, joining and revoking are in the audit log, and the joining names its invite', async () => {
    const { audit, devices, invites, invite } = await setUp();
    const { id } = await invites.redeem(territory, await invite(), device(1));
    await devices.revoke({ territory, id, actor: 'key_s' });
    const entries = await audit.list({ territory });
    expect(entries.map(({ action }) => action)).toEqual(['revokeDevice', 'enrolDevice', 'createInvite']);
    expect(entries[1]?.actor).toBe(entries[2]?.subject);
  });
});
