/** Claims about trust, with whole hubs: who is sent what, how soon that changes, what a device's word is worth. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Fields } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { touchPeople } from '../people/versions.ts';
import { createTrustWorld, type Joined, type TrustWorld } from './testing/world.ts';

const SECOND_MS = 1_000;
const standingOf = (hub: Hub, { id }: Joined) => hub.sessions.get(id)?.standing;
const setTier = (hub: Hub, { id }: Joined, tier: 'vetted' | 'member' | 'public'): Promise<boolean> =>
  hub.deviceTrust.set({ territory: hub.territory.id, id, tier, actor: 'test' });

test('a text goes to devices of its tiers alone, however much faster others are, and says what it is', async () => {
  const { start, join, ask } = await createTrustWorld(nextTurn);
  const hub = await start();
  const member = await join(hub, 'member', { tokensPerSecond: 9_999 });
  const anybody = await join(hub, 'anybody', { tier: 'public', tokensPerSecond: 99_999 });
  const lends = { v: 2, classes: ['public', 'internal', 'confidential'], causes: [], refused: [], gpu: 'never' };
  const vetted = await join(hub, 'vetted', { tier: 'vetted', consent: lends });
  await ask(hub, { dataClass: 'confidential', cause: 'health' });
  expect(vetted.orders()).toMatchObject([{ dataClass: 'confidential', cause: 'health' }]);
  await ask(hub);
  expect(member.orders()).toMatchObject([{ dataClass: 'internal' }]);
  expect(member.orders()[0]).not.toHaveProperty('cause');
  await ask(hub, { dataClass: 'public' });
  expect(anybody.orders()).toMatchObject([{ dataClass: 'public' }]);
});

test('a device is its own person’s: for her alone it may see what is confidential', async () => {
  const { start, join, ask, addPerson } = await createTrustWorld(nextTurn);
  const hub = await start();
  await addPerson(hub, 'per_ada');
  const lends = { v: 2, classes: ['internal', 'confidential'], causes: [], refused: [], gpu: 'never' };
  const device = await join(hub, 'hers', { person: 'per_ada', consent: lends });
  const other = await ask(hub, { dataClass: 'confidential', person: 'per_bob' });
  expect(other.failure()).toMatchObject({ code: 'no_device', message: expect.stringContaining("only a member's") });
  expect(device.orders()).toEqual([]);
  await ask(hub, { dataClass: 'confidential', person: 'per_ada' });
  expect(device.orders()).toMatchObject([{ dataClass: 'confidential' }]);
});

test('who is suspended vouches for nobody: her devices are anybody’s within a second, then hers again', async () => {
  const { start, join, ask, addPerson, database, pass } = await createTrustWorld(nextTurn);
  const hub = await start();
  await addPerson(hub, 'per_ada');
  const device = await join(hub, 'hers', { person: 'per_ada', tier: 'vetted' });
  const stand = async (state: 'active' | 'suspended'): Promise<void> => {
    await database.db.transaction().execute(async (transaction) => {
      const where = transaction.updateTable('members').set({ state }).where('person_id', '=', 'per_ada');
      await where.where('territory_id', '=', hub.territory.id).execute();
      await touchPeople(transaction, hub.territory.id);
    });
    await pass(SECOND_MS);
  };
  await stand('suspended');
  expect((await ask(hub)).failure()).toMatchObject({ code: 'no_device', message: expect.stringContaining('public') });
  expect(standingOf(hub, device)).toMatchObject({ tier: 'public', person: undefined });
  await stand('active');
  await ask(hub);
  expect(standingOf(hub, device)).toMatchObject({ tier: 'vetted', person: 'per_ada' });
  expect(device.orders()).toHaveLength(1);
});

test.each([
  ['on its own replica', 0],
  ['on another replica, to which nobody said a word', 1],
])('an answer is taken within a second from a device that may see it no longer: %s', async (_, asksAt) => {
  const { start, join, ask, pass } = await createTrustWorld(nextTurn);
  const hubs = [await start(), await start()] as const;
  const [home] = hubs;
  const asking = hubs[asksAt] as Hub;
  const first = await join(home, 'first', { tokensPerSecond: 500 });
  const second = await join(home, 'second');
  const asked = await ask(asking);
  first.say(3);
  await pass(50);
  expect(asked.tokens()).toBe(3);
  await setTier(home, first, 'public');
  await pass(SECOND_MS);
  expect(first.cancelled()).toEqual([first.orders()[0]?.lease]);
  expect(second.orders()).toMatchObject([{ work: { tokens: [100, 101, 102] } }]);
  first.send({ t: 'answer.token', lease: first.orders()[0]?.lease ?? '', epoch: 1, i: 3, id: 9, s: 'late' });
  second.say(2);
  await pass(100);
  expect(asked.tokens()).toBe(5);
  expect(standingOf(hubs[1], first)).toMatchObject({ tier: asksAt === 1 ? 'public' : expect.anything() });
});

test('a device that joins elsewhere is what the database says of it, also when that changed on the way', async () => {
  const { start, join, ask, pass } = await createTrustWorld(nextTurn);
  const [home, other] = [await start(), await start()];
  const device = await join(home, 'far', { tier: 'vetted' });
  expect(standingOf(other, device)).toMatchObject({ tier: 'vetted' });
  await setTier(home, device, 'public');
  await pass(SECOND_MS);
  const asked = await ask(other);
  expect(asked.failure()).toMatchObject({ code: 'no_device' });
  expect(device.orders()).toEqual([]);
});

/** Names under which a device could think that its tier, its person or its pools are read. */
const CLAIMS = {
  tier: 'vetted',
  person: 'per_ada',
  personId: 'per_ada',
  person_id: 'per_ada',
  own: true,
  pool: 'labs',
  pools: ['labs'],
  standing: { tier: 'vetted', person: 'per_ada', pools: ['labs'], asOf: 9_999_999 },
  trust: { tier: 'vetted' },
  vouch: new Uint8Array(64),
};
type Path = readonly (string | number)[];

/** Every object within a message, by its path. */
function* objectsIn(value: unknown, path: Path = []): Generator<Path> {
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return;
  if (!Array.isArray(value)) yield path;
  for (const [name, inner] of Object.entries(value)) yield* objectsIn(inner, [...path, name]);
}
/** Every text within a message. */
function* textsIn(value: unknown, path: Path = []): Generator<Path> {
  if (typeof value === 'string') yield path;
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return;
  for (const [name, inner] of Object.entries(value)) yield* textsIn(inner, [...path, name]);
}
function changedAt(value: unknown, [head, ...rest]: Path, change: (inner: unknown) => unknown): unknown {
  if (head === undefined) return change(value);
  const at = (value as Fields)[head];
  if (Array.isArray(value))
    return value.map((each, index) => (index === Number(head) ? changedAt(each, rest, change) : each));
  return { ...(value as Fields), [head]: changedAt(at, rest, change) };
}

test('a device that claims a tier, a person or a pool, in any place of any message, changes nothing', async () => {
  const { start, join, addPerson, database, pass } = await createTrustWorld(nextTurn);
  const hub = await start();
  await addPerson(hub, 'per_ada');
  const honest = { tier: 'member', person: undefined, pools: [] };
  const messages = new Map<string, Fields>();
  const model = await join(hub, 'model', {
    lie(what, said) {
      messages.set(what, said);
      return said;
    },
  });
  model.setStatus({ roundTripMs: 2 });
  await pass(20);
  expect([...messages.keys()].toSorted()).toEqual(['consent', 'heartbeat', 'hello', 'proof']);

  let tried = 0;
  let admitted = 0;
  for (const [what, message] of messages) {
    const lies = [
      ...[...objectsIn(message)].map(
        (path) => [path, (inner: unknown) => ({ ...(inner as Fields), ...CLAIMS })] as const,
      ),
      ...[...textsIn(message)].flatMap((path) =>
        ['vetted', 'own', 'per_ada', 'labs'].map((word) => [path, () => word] as const),
      ),
    ];
    for (const [path, change] of lies) {
      tried++;
      const device = await join(hub, `liar-${tried}`, {
        lie: (which, said) => (which === what ? (changedAt(said, path, change) as Fields) : said),
      }).catch(() => undefined);
      // What is no message any more is refused: that gives it nothing, either.
      if (device === undefined) continue;
      admitted++;
      device.setStatus({ roundTripMs: 3 });
      await pass(20);
      const connected = hub.sessions.get(device.id);
      if (connected !== undefined) expect(connected.standing, `${what} at ${path.join('.')}`).toMatchObject(honest);
      device.link.cut('over');
    }
  }
  // Both happened: lies that were let in, which is what this is about, and in every message.
  expect(admitted).toBeGreaterThan(20);
  const rows = await database.db.selectFrom('devices').select(['tier', 'person_id']).execute();
  expect(rows.every((row) => isDeepStrictEqual({ ...row }, { tier: 'member', person_id: null }))).toBe(true);
  expect(await database.db.selectFrom('device_pools').selectAll().execute()).toEqual([]);
});

const refuse = (device: Joined): void => {
  const { lease, epoch } = device.orders().at(-1) ?? { lease: '', epoch: 0 };
  device.send({ t: 'answer.failed', lease, epoch, code: 'consent_refused', message: 'the lender does not' });
};

test('what a device refused it is not asked again, until it has paused or is connected anew', async () => {
  const world: TrustWorld = await createTrustWorld(nextTurn);
  const { start, join, ask, pass } = world;
  const hub = await start();
  const device = await join(hub, 'picky');
  await ask(hub);
  refuse(device);
  await pass(100);
  device.setStatus({ roundTripMs: 2 });
  await pass(20);
  expect((await ask(hub)).failure()).toMatchObject({ message: expect.stringContaining('refused such a request') });
  expect(device.orders()).toHaveLength(1);
  // For another class it may be asked all the same.
  await ask(hub, { dataClass: 'public' });
  expect(device.orders()).toHaveLength(2);
  device.setStatus({ state: 'paused' });
  await pass(20);
  device.setStatus({ state: 'ready' });
  await pass(20);
  await ask(hub);
  expect(device.orders()).toHaveLength(3);
});

test('changes of tiers, persons and pools are in the audit log; what is none is refused', async () => {
  const { start, join, addPerson } = await createTrustWorld(nextTurn);
  const hub = await start();
  await addPerson(hub, 'per_ada');
  const device = await join(hub, 'audited');
  const on = { territory: hub.territory.id, id: device.id, actor: 'key_steward' };
  await hub.deviceTrust.set({ ...on, tier: 'vetted', person: 'per_ada' });
  await hub.deviceTrust.set({ ...on, tier: 'vetted' });
  await hub.deviceTrust.addToPool({ ...on, pool: 'labs' });
  await hub.deviceTrust.addToPool({ ...on, pool: 'labs' });
  await hub.deviceTrust.removeFromPool({ ...on, pool: 'labs' });
  const entries = (await hub.audit.list({ territory: on.territory })).filter(({ subject }) => subject === device.id);
  expect(
    entries
      .toReversed()
      .map(({ action, actor }) => `${actor} ${action}`)
      .slice(1),
  ).toEqual(['key_steward tierDevice', 'key_steward poolDevice', 'key_steward poolDevice']);
  await expect(hub.deviceTrust.set({ ...on, person: 'per_nobody' })).rejects.toMatchObject({ code: 'invalid_request' });
  await expect(hub.deviceTrust.removeFromPool({ ...on, pool: 'labs' })).rejects.toMatchObject({ code: 'not_found' });
  await expect(hub.deviceTrust.addToPool({ ...on, pool: 'Not A Slug' })).rejects.toMatchObject({
    code: 'invalid_request',
  });
  await expect(hub.deviceTrust.set({ ...on, territory: 'ter_other', tier: 'public' })).rejects.toMatchObject({
    code: 'not_found',
  });
});
