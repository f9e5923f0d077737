/** Claims about channels: who gets in, who is dropped, and what a hostile peer gains. */
import {
  LIMITS,
  VERSIONS,
  createMemoryBlobStore,
  encodeFrame,
  joinTokenOf,
  openLeft,
  type Channel,
} from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import {
  createFakeClock,
  createMemoryChannelPair,
  createSeededRandom,
  type FakeClock,
  yieldToNode,
} from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { joinScriptedDevice, type ScriptedDevice, type ScriptedDeviceOptions } from '../testing/scripted-device.ts';

interface Setting {
  readonly hub: Hub;
  readonly clock: FakeClock;
  join(options?: Partial<ScriptedDeviceOptions>): Promise<ScriptedDevice>;
  invite(uses?: number): Promise<string>;
}

async function setUp(): Promise<Setting> {
  const clock = createFakeClock(yieldToNode);
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock });
  const hub = await createHub({
    database,
    clock,
    random,
    crypto: nodeCrypto,
    store: createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 }),
    secrets: createMemorySecrets(),
    meter: { ended: () => {}, firstToken: () => {} },
    log: silentLog,
  });
  onTestFinished(async () => {
    await hub.stop();
    await database.close();
  });
  const invite = async (uses = 1): Promise<string> =>
    joinTokenOf(
      (await hub.invites.create({ territory: hub.territory.id, uses, expiresInMs: 60_000, createdBy: 'test' })).secret,
    );
  return {
    hub,
    clock,
    invite,
    async join(options = {}) {
      const device = await joinScriptedDevice({
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        clock,
        random,
        crypto: nodeCrypto,
        ...options,
      });
      for (let i = 0; i < 12; i++) await clock.advance(1);
      return device;
    },
  };
}
const connected = (hub: Hub): number => [...hub.sessions.list()].length;
/** What the audit log says of who was not let in, the oldest first; the hub notes nothing more. */
async function denials(hub: Hub): Promise<[string, string, Readonly<Record<string, unknown>>][]> {
  await hub.auditDesk.stop();
  const entries = (await hub.audit.list({ territory: hub.territory.id })).toReversed();
  return entries
    .filter(({ action }) => action === 'denied')
    .map(({ actor, subject, details }) => [actor, subject, details]);
}

test('a device with an invite is welcomed, gets its ticket, and comes back without one', async () => {
  const { hub, join, invite } = await setUp();
  const first = await join({ joinToken: await invite() });
  const welcome = await first.joined;
  expect((await hub.ticketHolders.holderOf(welcome.ticket))?.device).toBe(welcome.device);
  expect(welcome.community).toBe(hub.territory.name);
  first.link.cut('gone');
  expect(connected(hub)).toBe(0);
  expect((await (await join({ key: first.key })).joined).device).toBe(welcome.device);
});

test('the door hears of a device that proved who it is, and of nobody who did not', async () => {
  const { hub, join, invite } = await setUp();
  const proved: string[] = [];
  const through = (name: string) => ({
    accept: (channel: Channel) => hub.local.accept({ ...channel, proved: () => void proved.push(name) }),
  });
  const { joined } = await join({ ...through('nobody'), joinToken: 'made up' });
  await expect(joined).rejects.toMatchObject({ code: expect.any(String) });
  expect(proved).toEqual([]);
  await (
    await join({ ...through('a device'), joinToken: await invite() })
  ).joined;
  expect(proved).toEqual(['a device']);
});

const V2 = { v: 2, classes: ['public', 'internal'], causes: [], refused: ['gambling'], gpu: 'never' };
test.each([
  ['of version 1', {}, { kinds: ['answers'], classes: ['public', 'internal'], causes: [], refused: [] }],
  ['for other kinds', { ...V2, kinds: ['storage'] }, { kinds: ['storage'], refused: ['gambling'] }],
  ['for public texts alone', { ...V2, classes: ['public'] }, { kinds: ['answers'], classes: ['public'] }],
  ['for one cause alone', { ...V2, causes: ['climate'] }, { kinds: ['answers'], causes: ['climate'] }],
])('a device with a consent %s is let in, and known to lend for that', async (_, consent, lends) => {
  const { hub, join, invite } = await setUp();
  await (
    await join({ joinToken: await invite(), consent })
  ).joined;
  expect([...hub.sessions.list()].map((device) => device.lends)).toMatchObject([lends]);
});

test('a session that lasts longer than a ticket is given a new one in time', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  const { ticket } = await device.joined;
  const beatFor = async (ms: number): Promise<void> => {
    for (let passed = 0; passed < ms; passed += 10_000) {
      await clock.advance(10_000);
      device.setStatus({});
    }
    await clock.advance(1);
  };
  await beatFor(HUB_LIMITS.ticketMs / 2 - 60_000);
  const renewed = (): string[] =>
    device.heard.flatMap((message) => (message.t === 'heartbeat.ack' ? (message.ticket ?? []) : []));
  expect(renewed()).toEqual([]);
  await beatFor(120_000);
  expect(renewed()).toHaveLength(1);
  expect(renewed()).not.toContain(ticket);
  expect((await hub.ticketHolders.holderOf(renewed()[0] ?? ''))?.device).toBe((await device.joined).device);
});

test('a ticket is good at any replica while its device is not revoked, and for half a second after', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  const { ticket, device: id } = await device.joined;
  device.link.cut('gone');
  expect((await hub.ticketHolders.holderOf(ticket))?.device).toBe(id);
  await hub.devices.revoke({ territory: hub.territory.id, id, actor: 'test' });
  await clock.advance(500);
  expect(await hub.ticketHolders.holderOf(ticket)).toBeUndefined();
  expect(await hub.ticketHolders.holderOf(`${ticket.slice(0, -1)}A`)).toBeUndefined();
});

test('without an invite, with a used one, or for another territory nobody gets in, and is told why', async () => {
  const { join, invite } = await setUp();
  await expect((await join()).joined).rejects.toMatchObject({ code: 'join_token_invalid' });
  const token = await invite();
  await (
    await join({ joinToken: token })
  ).joined;
  await expect((await join({ joinToken: token })).joined).rejects.toMatchObject({ code: 'join_token_invalid' });
  await expect((await join({ territory: new Uint8Array(32), joinToken: await invite() })).joined).rejects.toMatchObject(
    { code: 'handshake_refused' },
  );
});

test('who tries a used or an expired invite is refused, uses nothing up, and is in the audit log', async () => {
  const { hub, clock, join, invite } = await setUp();
  const stolen = await invite();
  await (
    await join({ joinToken: stolen })
  ).joined;
  await expect((await join({ joinToken: stolen })).joined).rejects.toThrow(/has been used up/);
  const late = await invite(2);
  await clock.advance(60_000);
  await expect((await join({ joinToken: late })).joined).rejects.toThrow(/expired at/);
  const left = await hub.db
    .selectFrom('invites')
    .select(['id', 'uses_left'])
    .where('territory_id', '=', hub.territory.id)
    .execute();
  expect(left.map((row) => row.uses_left).toSorted()).toEqual([0, 2]);
  const idOf = (uses: number): string => left.find((row) => row.uses_left === uses)?.id ?? '';
  const said = { route: 'GET /device', code: 'join_token_invalid', asked: 'enrolDevice' };
  expect(await denials(hub)).toEqual([
    ['stranger', idOf(0), { ...said, reason: 'used' }],
    ['stranger', idOf(2), { ...said, reason: 'expired' }],
  ]);
});

test('strangers by the hundred with keys and tokens of their own are one line each way, with a count', async () => {
  const { hub, clock, join, invite } = await setUp();
  const territory = hub.territory.id;
  const known = await join({ joinToken: await invite() });
  const { device } = await known.joined;
  await hub.devices.revoke({ territory, id: device, actor: 'test' });
  hub.sessions.drop(device, 'device_revoked', 'revoked');
  // Anybody may claim the key of a device that is known here, and cannot prove it.
  const claims = (what: string, honest: Record<string, unknown>): Record<string, unknown> =>
    what === 'hello' ? { ...honest, device: known.key.publicKey } : honest;
  for (let turn = 0; turn < 40; turn++) {
    await expect((await join({ key: known.key })).joined).rejects.toMatchObject({ code: 'device_revoked' });
    await expect((await join({ joinToken: `made-up-${turn}` })).joined).rejects.toThrow(/unknown here/);
    await expect((await join()).joined).rejects.toThrow(/no join token/);
    await expect((await join({ lie: claims })).joined).rejects.toMatchObject({ code: 'handshake_refused' });
  }
  await clock.advance(1_000);
  const said = { route: 'GET /device', asked: 'enrolDevice' };
  const byKind = new Map<string, number>();
  for (const [actor, subject, details] of await denials(hub)) {
    const { count = 1, ...kind } = details;
    const name = JSON.stringify([actor, subject, kind]);
    byKind.set(name, (byKind.get(name) ?? 0) + Number(count));
  }
  const kinds = [
    [device, device, { ...said, code: 'device_revoked' }],
    ['stranger', territory, { ...said, code: 'join_token_invalid', reason: 'unknown' }],
    ['stranger', territory, { ...said, code: 'join_token_invalid', reason: 'none' }],
    ['stranger', territory, { ...said, code: 'handshake_refused' }],
  ];
  const sorted = (kind: unknown): string => {
    const [actor, subject, details] = kind as [string, string, object];
    return JSON.stringify([actor, subject, Object.fromEntries(Object.entries(details).toSorted())]);
  };
  expect(new Map([...byKind].map(([name, count]) => [sorted(JSON.parse(name)), count]))).toEqual(
    new Map(kinds.map((kind) => [sorted(kind), 40])),
  );
  expect((await denials(hub)).length).toBeLessThanOrEqual(2 * kinds.length);
});

test('one identity has one channel: the older is dropped and told why', async () => {
  const { hub, clock, join, invite } = await setUp();
  const older = await join({ joinToken: await invite() });
  const newer = await join({ key: older.key });
  await newer.joined;
  await clock.advance(10);
  expect(older.heard.at(-1)).toMatchObject({ t: 'dropped', code: 'superseded' });
  expect(older.closed()).toBeDefined();
  expect(connected(hub)).toBe(1);
});

test('a device that leaves is told so by the hub, signed, and has no channel any more', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  const { device: id, ticket } = await device.joined;
  device.send({ t: 'leave' });
  device.send({ t: 'leave' });
  for (let i = 0; i < 12; i++) await clock.advance(1);
  const said = device.heard.filter((message) => message.t === 'left');
  expect(said).toHaveLength(1);
  const whose = { territory: hub.territory.publicKey, device: device.key.publicKey };
  const left = await openLeft(said[0]?.statement ?? new Uint8Array(), whose, nodeCrypto);
  expect(left).toMatchObject({ atMs: expect.any(Number) as number, answers: 0, tokens: 0 });
  expect(device.closed()).toBeDefined();
  expect(connected(hub)).toBe(0);
  expect(await hub.ticketHolders.holderOf(ticket)).toBeUndefined();
  expect((await hub.audit.list({ territory: hub.territory.id }))[0]).toMatchObject({
    action: 'leaveDevice',
    actor: id,
  });
});

test('one that left hears once more, without an invite, what was signed; with one it is let in', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  const { device: id } = await device.joined;
  device.send({ t: 'leave' });
  for (let i = 0; i < 12; i++) await clock.advance(1);
  const refused: unknown = await (await join({ key: device.key })).joined.catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'join_token_invalid' });
  const whose = { territory: hub.territory.publicKey, device: device.key.publicKey };
  const { left } = refused as { left: Uint8Array };
  expect((await openLeft(left, whose, nodeCrypto)).atMs).toBe((await hub.devices.get(hub.territory.id, id))?.leftAtMs);
  const back = await join({ key: device.key, joinToken: await invite() });
  expect((await back.joined).device).toBe(id);
  expect(connected(hub)).toBe(1);
});

test('a revoked device is dropped at once and stays out', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  const { device: id } = await device.joined;
  await hub.devices.revoke({ territory: hub.territory.id, id, actor: 'test' });
  hub.sessions.drop(id, 'device_revoked', 'revoked');
  await clock.advance(10);
  expect(device.heard.at(-1)).toMatchObject({ t: 'dropped', code: 'device_revoked' });
  await expect((await join({ key: device.key })).joined).rejects.toMatchObject({ code: 'device_revoked' });
});

test('silence is a death, heartbeats are not', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  await device.joined;
  for (let i = 0; i < 6; i++) {
    await clock.advance(LIMITS.heartbeatMs);
    device.setStatus({});
    await clock.advance(1);
  }
  expect(connected(hub)).toBe(1);
  await clock.advance(LIMITS.heartbeatLostMs + LIMITS.heartbeatMs);
  expect(connected(hub)).toBe(0);
});

test('a hub that stops leaves no timer of a channel behind', async () => {
  const { hub, clock, join, invite } = await setUp();
  await (
    await join({ joinToken: await invite() })
  ).joined;
  await hub.stop();
  await clock.advance(1);
  expect(clock.nextInMs()).toBeUndefined();
});

test('garbage, oversized and out-of-order frames close the channel and harm nobody else', async () => {
  const { hub, clock, join, invite } = await setUp();
  const good = await join({ joinToken: await invite() });
  await good.joined;
  const random = createSeededRandom(7);
  for (let i = 0; i < 200; i++) {
    const { near, far } = createMemoryChannelPair(clock, () => 0);
    let closed = false;
    near.listen({
      onFrame: () => {},
      onClose: () => {
        closed = true;
      },
    });
    hub.local.accept(far);
    near.send(
      i === 0 ? new Uint8Array(LIMITS.handshakeFrameBytesMax + 1) : random.bytes(1 + Math.floor(random.unit() * 200)),
    );
    await clock.advance(1);
    await clock.advance(1);
    expect(closed, `frame ${i}`).toBe(true);
  }
  const later = await join({ joinToken: await invite() });
  await later.joined;
  later.sendRaw(encodeFrame({ t: 'heartbeat', n: 1, status: 'fine' }));
  await clock.advance(5);
  expect(later.closed()).toMatch(/heartbeat/);
  expect(connected(hub)).toBe(1);
});

test('an unknown kind is answered and forgiven, an unknown critical field is not', async () => {
  const { hub, clock, join, invite } = await setUp();
  const device = await join({ joinToken: await invite() });
  await device.joined;
  device.sendRaw(encodeFrame({ t: 'dance', steps: 3 } as { t: string }));
  await clock.advance(5);
  expect(device.heard.at(-1)).toEqual({ t: 'unsupported', kind: 'dance' });
  expect(connected(hub)).toBe(1);
  device.sendRaw(encodeFrame({ t: 'dance', '!must': 1 } as { t: string }));
  await clock.advance(5);
  expect(connected(hub)).toBe(0);
});

test('who says nothing is let go when the handshake takes too long', async () => {
  const { hub, clock } = await setUp();
  const { near, far } = createMemoryChannelPair(clock, () => 0);
  let reason: string | undefined;
  near.listen({
    onFrame: () => {},
    onClose: (why) => {
      reason = why;
    },
  });
  hub.local.accept(far);
  await clock.advance(LIMITS.handshakeMs + 10);
  expect(reason).toMatch(/longer than 10 s/);
});

test.each(['before a hello', 'after it, with no proof'])(
  'hundreds who keep silent %s keep no device out for long, and a few of them may take their time',
  async (when) => {
    const { hub, clock, join, invite } = await setUp();
    const isSaid = when !== 'before a hello';
    const bytes = new Uint8Array(32);
    const hello = { t: 'hello', versions: [...VERSIONS], territory: hub.territory.publicKey, nonce: bytes } as const;
    const random = createSeededRandom(2);
    let closed = 0;
    const dial = (): void => {
      const { near, far } = createMemoryChannelPair(clock, () => 0);
      near.listen({ onFrame: () => {}, onClose: () => closed++ });
      hub.local.accept(far);
      if (isSaid) near.send(encodeFrame({ ...hello, device: random.bytes(32) }));
    };
    for (let count = 0; count < 20; count++) dial();
    await clock.advance(HUB_LIMITS.handshakeSilentMsMax + 1_000);
    dial();
    await clock.advance(1);
    expect(closed).toBe(0);
    for (let count = 0; count < HUB_LIMITS.handshakesOpenMany; count++) dial();
    await clock.advance(HUB_LIMITS.handshakeSilentMsMax);
    const { joined } = await join({ joinToken: await invite() });
    await joined;
    expect(closed).toBeGreaterThanOrEqual(HUB_LIMITS.handshakesOpenMany);
    expect(connected(hub)).toBe(1);
  },
);

test('a device that is revoked at any moment of its handshake does not stay', async () => {
  const { hub, clock, join, invite } = await setUp();
  for (let turns = 0; turns < 50; turns += 2) {
    const first = await join({ joinToken: await invite() });
    const { device } = await first.joined;
    first.link.cut('gone');
    let frames = 0;
    const revoke = async (): Promise<void> => {
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      await hub.devices.revoke({ territory: hub.territory.id, id: device, actor: 'test' });
      hub.sessions.drop(device, 'device_revoked', 'it was revoked');
    };
    const accept = (channel: Channel): void =>
      hub.local.accept({
        ...channel,
        listen: ({ onFrame, onClose }) =>
          channel.listen({
            onClose,
            onFrame(frame) {
              onFrame(frame);
              frames++;
              if (frames === 2) void revoke();
            },
          }),
      });
    await join({ key: first.key, accept })
      .then((again) => again.joined)
      .catch(() => undefined);
    await clock.advance(10);
    expect(hub.sessions.get(device), `revoked ${turns} turns after its proof`).toBeUndefined();
  }
});
