/** Claims about roles that are bound to a pool, with whole hubs: whose devices answer, how soon that changes. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { newId } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { touchPeople } from '../people/versions.ts';
import type { Permit } from '../policy/permit.ts';
import { createTrustWorld, type Joined, type TrustWorld } from './testing/world.ts';

const WITHIN_MS = 1_000;
const random = createSeededRandom(3);

interface Setting extends Omit<TrustWorld, 'ask'> {
  readonly hubs: readonly [Hub, Hub];
  pool(device: Joined, name: string, isIn?: boolean): Promise<void>;
  /** A key that may be answered by devices of these pools; `ask` asks with it. */
  key(...pools: readonly string[]): Promise<Asking>;
}
interface Asking {
  ask(hub: Hub): ReturnType<TrustWorld['ask']>;
  /** Takes what is bound on this pool. */
  unbind(pool: string): Promise<void>;
  bind(pool: string, untilMs?: number): Promise<void>;
}

async function open(): Promise<Setting> {
  const { ask, ...world } = await createTrustWorld(nextTurn);
  const hubs = [await world.start(), await world.start()] as const;
  const [home] = hubs;
  const territory = home.territory.id;
  const { db } = world.database;
  const steward = (await home.keys.create({ territory, role: 'steward', actor: 'test' })).id;
  const permitOf = async (hub: Hub, key: string, cid: string): Promise<Permit> =>
    hub.policy.permit(await hub.keys.authenticate(key), 'answer', { territory, id: cid });
  return {
    ...world,
    hubs,
    async pool({ id }, pool, isIn = true) {
      const order = { territory, id, pool, actor: steward };
      await (isIn ? home.deviceTrust.addToPool(order) : home.deviceTrust.removeFromPool(order));
    },
    async key(...pools) {
      const { id, key } = await home.keys.create({ territory, role: 'auditor', actor: 'test' });
      const bind: Asking['bind'] = async (pool, untilMs) => {
        const row = {
          id: newId('bnd', random),
          territory_id: territory,
          subject_kind: 'key',
          subject_id: id,
          role: 'caller',
          scope_kind: 'pool',
          scope_id: pool,
          expires_at_ms: untilMs === undefined ? null : world.clock.now() + untilMs,
          created_at_ms: 0,
          created_by: 'test',
        } as const;
        await db.transaction().execute(async (transaction) => {
          await transaction.insertInto('bindings').values(row).execute();
          await touchPeople(transaction, territory);
        });
        await world.pass(WITHIN_MS);
      };
      for (const pool of pools) await bind(pool);
      const { cid } = await home.models.resolve(territory, 'tiny');
      return {
        bind,
        ask: async (hub) => ask(hub, {}, await permitOf(hub, key, cid)),
        async unbind(pool) {
          await db.transaction().execute(async (transaction) => {
            const where = transaction.deleteFrom('bindings').where('territory_id', '=', territory);
            await where.where('subject_id', '=', id).where('scope_id', '=', pool).execute();
            await touchPeople(transaction, territory);
          });
        },
      };
    },
  };
}

test('devices of the pool answer, however much faster others are, and where none does the words say so', async () => {
  const { hubs, join, pool, key } = await open();
  const [home, other] = hubs;
  const fast = await join(home, 'fast', { tokensPerSecond: 9_999 });
  const slow = await join(home, 'slow', { slots: 1 });
  await pool(slow, 'lab');
  const hers = await key('lab');
  expect((await hers.ask(home)).failure()).toBeUndefined();
  expect([fast.orders().length, slow.orders().length]).toEqual([0, 1]);
  // It is busy now, and she waits for it; elsewhere no less.
  await hers.ask(other);
  expect([fast.orders().length, slow.orders().length]).toEqual([0, 1]);
  const none = await (await key('attic')).ask(home);
  expect(none.failure()).toMatchObject({
    code: 'no_device',
    message: expect.stringContaining('2 are not of the pool attic, whose devices alone may answer you'),
  });
});

test('who may on two pools is answered by devices of both, who may by any right by all', async () => {
  const { hubs, join, pool, key } = await open();
  const devices = [
    await join(hubs[0], 'a', { slots: 1 }),
    await join(hubs[0], 'b', { slots: 1 }),
    await join(hubs[0], 'c', { slots: 1 }),
  ] as const;
  await pool(devices[0], 'lab');
  await pool(devices[1], 'attic');
  const hers = await key('lab', 'attic');
  for (let i = 0; i < 3; i++) await hers.ask(hubs[0]);
  expect(devices.map((device) => device.orders().length)).toEqual([1, 1, 0]);
});

describe.each([
  ['on its own replica', 0],
  ['on another replica, to which nobody said a word', 1],
] as const)('an answer that runs, asked for %s', (_, at) => {
  async function running(...pools: readonly string[]) {
    const setting = await open();
    const { hubs, join, pool, key, pass } = setting;
    const first = await join(hubs[0], 'first', { tokensPerSecond: 500 });
    const outside = await join(hubs[0], 'outside', { tokensPerSecond: 9_999 });
    await pool(first, 'lab');
    const hers = await key(...pools);
    const asked = await hers.ask(hubs[at]);
    first.say(3);
    await pass(50);
    expect(asked.tokens()).toBe(3);
    return { ...setting, first, outside, hers, asked };
  }

  test('is taken within a second from a device that left the pool, and goes on with the next of it alone', async () => {
    const { hubs, first, outside, asked, join, pool, pass } = await running('lab');
    const second = await join(hubs[0], 'second');
    await pool(second, 'lab');
    await pool(first, 'lab', false);
    await pass(WITHIN_MS);
    expect(first.cancelled()).toHaveLength(1);
    expect(second.orders()).toMatchObject([{ work: { tokens: [100, 101, 102] } }]);
    expect(outside.orders()).toEqual([]);
    second.say(2);
    await pass(100);
    expect(asked.tokens()).toBe(5);
  });

  test('fails over to devices of the pool alone', async () => {
    const { hubs, first, outside, join, pool, pass } = await running('lab');
    const second = await join(hubs[1], 'second');
    await pool(second, 'lab');
    await pass(WITHIN_MS);
    first.link.cut('gone');
    await pass(WITHIN_MS);
    expect(second.orders()).toMatchObject([{ work: { tokens: [100, 101, 102] } }]);
    expect(outside.orders()).toEqual([]);
  });

  test('ends within a second of the binding', async () => {
    const { first, hers, asked, pass } = await running('lab');
    await hers.unbind('lab');
    await pass(WITHIN_MS);
    expect(asked.failure()).toMatchObject({ code: 'forbidden' });
    expect(first.cancelled()).toHaveLength(1);
  });

  test('moves within a second where one of two bindings goes', async () => {
    const { hubs, first, outside, hers, join, pool, pass } = await running('lab', 'attic');
    const second = await join(hubs[0], 'second');
    await pool(second, 'attic');
    await hers.unbind('lab');
    await pass(WITHIN_MS);
    expect(first.cancelled()).toHaveLength(1);
    expect(second.orders()).toHaveLength(1);
    expect(outside.orders()).toEqual([]);
  });

  test('moves within a second where one of two bindings expires, though nothing is written', async () => {
    const setting = await open();
    const { hubs, join, pool, key, pass } = setting;
    const first = await join(hubs[0], 'first', { tokensPerSecond: 500 });
    const second = await join(hubs[0], 'second');
    await pool(first, 'lab');
    await pool(second, 'attic');
    const hers = await key('attic');
    await hers.bind('lab', 3_000);
    await hers.ask(hubs[at]);
    first.say(3);
    await pass(3_000);
    expect(first.cancelled()).toHaveLength(1);
    expect(second.orders()).toMatchObject([{ work: { tokens: [100, 101, 102] } }]);
  });
});
