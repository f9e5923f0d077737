/** Claims about several replicas over one database and one bus, with scripted devices and a clock that is stepped. */
import { createMemoryBlobStore, joinTokenOf, type AnswerWork, type KeyPair, type ToDevice } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom, type FakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import type { AnswerOutcome } from '../answers/port.ts';
import type { RunRef } from '../answers/port.ts';
import { createLocalBusHub, type BusFaults, type LocalBusMember } from '../bus/local-bus.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog } from '../log.ts';
import { joinScriptedDevice, warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { publishTestModel } from '../testing/test-model.ts';
import { FLEET_LIMITS } from './limits.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import { PLAIN_TEXT } from '../testing/texts.ts';

interface Replica {
  readonly hub: Hub;
  readonly bus: LocalBusMember;
  /** Ends it as a crash does, as far as others see it: it says nothing more. */
  die(): void;
}

interface World {
  readonly clock: FakeClock;
  readonly database: OpenDatabase;
  readonly faults: BusFaults;
  readonly model: { readonly cid: string; readonly name: string };
  start(): Promise<Replica>;
  join(replica: Replica, options?: Joining): Promise<ScriptedDevice>;
}
interface Joining {
  readonly key?: KeyPair;
  readonly slots?: number;
  readonly attempts?: Kept;
  readonly numericClass?: string;
}
type Kept = { lease: string; epoch: number; tokens: number }[];

const work: Omit<AnswerWork, 'tokens'> = {
  prompt: { kind: 'text', text: 'once' },
  sampling: { seed: 1 },
  choice: 0,
  stop: [],
};

async function createWorld(): Promise<World> {
  const yieldToNode = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const clock = createFakeClock(yieldToNode);
  const random = createSeededRandom(1);
  const database = await openDatabase({ file: ':memory:', clock, sync: 'off' });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const faults: BusFaults = {};
  const buses = createLocalBusHub({ clock, log: silentLog, random, faults });
  const hubs: Hub[] = [];
  onTestFinished(async () => {
    for (const hub of hubs) await hub.stop();
    await database.close();
  });
  const ports = { database, clock, random, crypto: nodeCrypto, store, secrets, log: silentLog };
  let model = { cid: '', name: 'tiny' };
  async function start(): Promise<Replica> {
    const bus = buses.connect();
    const replica = { id: `rep_${String.fromCharCode(97 + hubs.length).repeat(26)}`, bus, isAlone: false };
    const hub = await createHub({ ...ports, replica, meter: { ended: () => {}, firstToken: () => {} } });
    hubs.push(hub);
    if (model.cid === '') model = { cid: await publishTestModel(hub, store, 'tiny'), name: 'tiny' };
    await hub.announceModels();
    await clock.advance(FLEET_LIMITS.beatMs * 2);
    return { hub, bus, die: () => bus.setUp(false) };
  }
  return {
    clock,
    database,
    faults,
    get model() {
      return model;
    },
    start,
    async join({ hub }, { key, slots = 4, attempts, numericClass } = {}) {
      const territory = hub.territory.id;
      const invite = await hub.invites.create({ territory, uses: 1, expiresInMs: 60_000, createdBy: 'test' });
      const device = await joinScriptedDevice({
        accept: (channel) => hub.local.accept(channel),
        territory: hub.territory.publicKey,
        clock,
        random,
        crypto: nodeCrypto,
        joinToken: joinTokenOf(invite.secret),
        status: {
          slots,
          models: [{ ...warmModel(model.cid), ...(numericClass === undefined ? {} : { numericClass }) }],
          ...(attempts === undefined ? {} : { attempts }),
        },
        ...(key === undefined ? {} : { key }),
      });
      for (let i = 0; i < 12; i++) await clock.advance(1);
      await device.joined;
      await clock.advance(FLEET_LIMITS.gossipMs * 2);
      return device;
    },
  };
}

interface Asked {
  readonly texts: string[];
  readonly outcome: () => AnswerOutcome | undefined;
  readonly failure: () => string | undefined;
  cancel(): void;
}

const asking = { key: 'key_a', work, text: PLAIN_TEXT, permit: OWN_LEAVE };

async function ask({ clock, model }: World, { hub }: Replica, run?: RunRef): Promise<Asked> {
  const texts: string[] = [];
  let outcome: AnswerOutcome | undefined;
  let failure: string | undefined;
  const request = { territory: hub.territory.id, model, ...asking, ...(run === undefined ? {} : { run }) };
  const submitting = hub.answers.submit(request, {
    started: () => {},
    token(i, _id, s) {
      expect(i).toBe(texts.length);
      texts.push(s);
    },
    finished: (how) => void (outcome = how),
    failed: ({ code }) => void (failure = code),
  });
  submitting.catch(() => {});
  await clock.advance(50);
  const handle = await submitting;
  await clock.advance(10);
  return { texts, outcome: () => outcome, failure: () => failure, cancel: () => handle.cancel('a test') };
}

type Order = Extract<ToDevice, { t: 'answer' }>;
const ordersOf = ({ heard }: ScriptedDevice): Order[] => heard.filter((message) => message.t === 'answer');
const orderOf = (device: ScriptedDevice): Order => ordersOf(device).at(-1) as Order;

const begin = (device: ScriptedDevice, { lease, epoch }: Order): void =>
  device.send({ t: 'answer.started', lease, epoch, promptTokens: 3 });
function say(device: ScriptedDevice, { lease, epoch }: Pick<Order, 'lease' | 'epoch'>, from: number, to: number): void {
  for (let i = from; i < to; i++) device.send({ t: 'answer.token', lease, epoch, i, id: 100 + i, s: `t${i} ` });
}
function end(device: ScriptedDevice, { lease, epoch }: Pick<Order, 'lease' | 'epoch'>, tokens: number): void {
  const how = { finish: 'stop' as const, s: '', promptTokens: 3, answerTokens: tokens, receipt: new Uint8Array(1) };
  device.send({ t: 'answer.finished', lease, epoch, ...how });
}
const textOf = (count: number): string[] => Array.from({ length: count }, (_, i) => `t${i} `);

/** A run that this replica owns, as `callers/runs.ts` would write it. */
async function ownRun({ database }: World, { hub }: Replica, epoch: number): Promise<RunRef> {
  const row = { owner: hub.replica.id, epoch };
  await database.db
    .insertInto('runs')
    .values({
      territory_id: hub.territory.id,
      id: 'run_a',
      key_id: 'key_a',
      fingerprint: new Uint8Array(32),
      request_id: 'req_a',
      created_at_ms: 0,
      ...row,
    })
    .onConflict((on) => on.columns(['territory_id', 'id']).doUpdateSet(row))
    .execute();
  return { id: 'run_a', epoch, choice: 0, isResumed: epoch > 1, heard: 0 };
}

test('a device of one replica answers the callers of another', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  const device = await world.join(there);
  expect([...here.hub.sessions.list()].map(({ home }) => home)).toEqual([there.hub.replica.id]);
  const asked = await ask(world, here);
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 3);
  end(device, order, 3);
  await world.clock.advance(100);
  expect(asked.texts).toEqual(textOf(3));
  expect(asked.outcome()).toMatchObject({ finish: 'stop', answerTokens: 3, failovers: 0, exact: true });
  for (const { hub } of [here, there])
    expect([...hub.sessions.list()].map(({ leases, leasesElsewhere }) => leases.size + leasesElsewhere)).toEqual([0]);
  expect(device.heard.some((message) => message.t === 'answer.kept')).toBe(true);
});

test('frames that the bus loses are asked for again, and no token is lost, repeated or changed', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  const device = await world.join(there);
  const asked = await ask(world, here);
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 2);
  await world.clock.advance(20);
  there.bus.setUp(false);
  say(device, order, 2, 4);
  await world.clock.advance(20);
  there.bus.setUp(true);
  say(device, order, 4, 6);
  await world.clock.advance(20);
  expect(asked.texts).toEqual(textOf(2));
  const again = device.heard.find((message) => message.t === 'answer.resume');
  expect(again).toMatchObject({ lease: order.lease, epoch: order.epoch, from: 2 });
  begin(device, order);
  say(device, order, 2, 6);
  end(device, order, 6);
  await world.clock.advance(100);
  expect(asked.texts).toEqual(textOf(6));
  expect(asked.outcome()).toMatchObject({ answerTokens: 6, failovers: 0 });
  expect(ordersOf(device)).toHaveLength(1);
});

test('an end that the bus loses is asked for, too', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  const device = await world.join(there);
  const asked = await ask(world, here);
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 2);
  await world.clock.advance(20);
  there.bus.setUp(false);
  end(device, order, 2);
  await world.clock.advance(20);
  there.bus.setUp(true);
  await world.clock.advance(1_500);
  expect(device.heard.filter((message) => message.t === 'answer.resume')).toMatchObject([{ from: 2 }]);
  begin(device, order);
  end(device, order, 2);
  await world.clock.advance(100);
  expect(asked.outcome()).toMatchObject({ answerTokens: 2, failovers: 0 });
});

test('when the replica that serves a caller dies, another goes on with its attempt, on the same device', async () => {
  const world = await createWorld();
  const [first, home, next] = [await world.start(), await world.start(), await world.start()];
  const device = await world.join(home);
  await ask(world, first, await ownRun(world, first, 1));
  const order = orderOf(device);
  expect(order.keep).toBe(true);
  begin(device, order);
  say(device, order, 0, 3);
  await world.clock.advance(50);
  first.die();
  say(device, order, 3, 5);
  await world.clock.advance(50);
  const resumed = await ask(world, next, await ownRun(world, next, 2));
  expect(resumed.texts.slice(0, 3)).toEqual(textOf(3));
  const again = device.heard.find((message) => message.t === 'answer.resume');
  expect(again).toMatchObject({ lease: order.lease, from: 3 });
  begin(device, order);
  say(device, order, 3, 7);
  end(device, order, 7);
  await world.clock.advance(100);
  expect(resumed.texts).toEqual(textOf(7));
  expect(resumed.outcome()).toMatchObject({ answerTokens: 7, exact: true });
  expect(ordersOf(device)).toHaveLength(1);
});

test('an owner that was paused while another took its answer over changes nothing', async () => {
  const world = await createWorld();
  const [first, home, next] = [await world.start(), await world.start(), await world.start()];
  const device = await world.join(home);
  const before = await ask(world, first, await ownRun(world, first, 1));
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 2);
  await world.clock.advance(50);
  first.die();
  await world.clock.advance(FLEET_LIMITS.quietMs + FLEET_LIMITS.pingMs + FLEET_LIMITS.beatMs);
  const resumed = await ask(world, next, await ownRun(world, next, 2));
  begin(device, order);
  say(device, order, 2, 4);
  await world.clock.advance(50);
  // It comes back and believes that it still has the answer.
  first.bus.setUp(true);
  await world.clock.advance(2_000);
  // What it still had to write down told it so.
  expect(before.failure()).toBe('run_taken_over');
  before.cancel();
  await world.clock.advance(100);
  expect(device.heard.filter((message) => message.t === 'cancel' && message.lease === order.lease)).toEqual([]);
  say(device, order, 4, 6);
  end(device, order, 6);
  await world.clock.advance(100);
  expect(resumed.texts).toEqual(textOf(6));
  expect(resumed.outcome()).toMatchObject({ answerTokens: 6 });
  const rows = await world.database.db.selectFrom('requests').select(['state', 'answer_tokens']).execute();
  expect(rows).toEqual([{ state: 'done', answer_tokens: 6 }]);
});

test('what another replica goes on with is not cancelled by the one that had it, on its own device', async () => {
  const world = await createWorld();
  const [first, next] = [await world.start(), await world.start()];
  const device = await world.join(first);
  const before = await ask(world, first, await ownRun(world, first, 1));
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 2);
  await world.clock.advance(50);
  const resumed = await ask(world, next, await ownRun(world, next, 2));
  before.cancel();
  await world.clock.advance(50);
  expect(device.heard.some((message) => message.t === 'cancel')).toBe(false);
  begin(device, order);
  say(device, order, 2, 4);
  end(device, order, 4);
  await world.clock.advance(100);
  expect(resumed.texts).toEqual(textOf(4));
  const rows = await world.database.db.selectFrom('requests').select(['state', 'answer_tokens']).execute();
  expect(rows).toEqual([{ state: 'done', answer_tokens: 4 }]);
});

test('what a caller has beyond the journal is made again by its own class, or not at all', async () => {
  const world = await createWorld();
  const [first, next] = [await world.start(), await world.start()];
  const device = await world.join(first);
  await ask(world, first, await ownRun(world, first, 1));
  const order = orderOf(device);
  begin(device, order);
  say(device, order, 0, 2);
  await world.clock.advance(50);
  first.die();
  device.link.cut('its replica died');
  const stranger = await world.join(next, { numericClass: 'class-b' });
  const bound = { ...(await ownRun(world, next, 2)), heard: 4 };
  const resumed = await ask(world, next, bound);
  await world.clock.advance(1_000);
  expect(resumed.texts).toEqual(textOf(2));
  expect(ordersOf(stranger)).toEqual([]);
  const peer = await world.join(next);
  await world.clock.advance(200);
  expect(orderOf(peer).work.tokens).toEqual([100, 101]);
  begin(peer, orderOf(peer));
  say(peer, orderOf(peer), 2, 5);
  end(peer, orderOf(peer), 5);
  await world.clock.advance(100);
  expect(resumed.texts).toEqual(textOf(5));
  expect(resumed.outcome()).toMatchObject({ exact: true });
});

test('a replica that is too late to write an answer down does not begin it a second time', async () => {
  const world = await createWorld();
  const [first, next] = [await world.start(), await world.start()];
  const device = await world.join(next);
  const run = await ownRun(world, first, 1);
  // Taken over before the first one had written anything.
  await ownRun(world, next, 2);
  await expect(ask(world, first, run)).rejects.toMatchObject({ code: 'run_taken_over' });
  await world.clock.advance(1_000);
  expect(ordersOf(device)).toEqual([]);
  expect(await world.database.db.selectFrom('requests').selectAll().execute()).toEqual([]);
});

test('when the device comes to another replica with its attempt, whoever has the answer goes on with it', async () => {
  const world = await createWorld();
  const [first, next] = [await world.start(), await world.start()];
  const device = await world.join(first);
  await ask(world, first, await ownRun(world, first, 1));
  const { lease, epoch } = orderOf(device);
  begin(device, orderOf(device));
  say(device, { lease, epoch }, 0, 2);
  await world.clock.advance(50);
  first.die();
  device.link.cut('its replica died');
  const back = await world.join(next, { key: device.key, attempts: [{ lease, epoch, tokens: 4 }] });
  const resumed = await ask(world, next, await ownRun(world, next, 2));
  expect(back.heard.find((message) => message.t === 'answer.resume')).toMatchObject({ lease, epoch, from: 2 });
  back.send({ t: 'answer.started', lease, epoch, promptTokens: 3 });
  say(back, { lease, epoch }, 2, 5);
  end(back, { lease, epoch }, 5);
  await world.clock.advance(100);
  expect(resumed.texts).toEqual(textOf(5));
  expect(ordersOf(back)).toEqual([]);
});

test('an attempt that nobody comes for is ended, and its slot is free again', async () => {
  const world = await createWorld();
  const replica = await world.start();
  const attempts = [{ lease: 'att_old', epoch: 1, tokens: 4 }];
  const device = await world.join(replica, { attempts });
  const [connected] = [...replica.hub.sessions.list()];
  expect(connected?.leases.size).toBe(1);
  await world.clock.advance(FLEET_LIMITS.claimMs);
  expect(device.heard).toContainEqual({ t: 'cancel', lease: 'att_old', epoch: 1 });
  expect(connected?.leases.size).toBe(0);
});

test('the death of the replica that holds a device sends its answers to another device', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  const device = await world.join(there);
  const asked = await ask(world, here);
  begin(device, orderOf(device));
  say(device, orderOf(device), 0, 2);
  await world.clock.advance(50);
  const other = await world.join(here);
  there.die();
  await world.clock.advance(FLEET_LIMITS.quietMs + FLEET_LIMITS.pingMs + FLEET_LIMITS.beatMs);
  const order = orderOf(other);
  expect(order.work.tokens).toEqual([100, 101]);
  begin(other, order);
  say(other, order, 2, 4);
  end(other, order, 4);
  await world.clock.advance(100);
  expect(asked.texts).toEqual(textOf(4));
  expect(asked.outcome()).toMatchObject({ failovers: 1, exact: true });
});

test('replicas that give out the same slot at once: one is refused, and waits without losing an attempt', async () => {
  const world = await createWorld();
  const [a, b, home] = [await world.start(), await world.start(), await world.start()];
  const device = await world.join(home, { slots: 1 });
  const [one, other] = await Promise.all([ask(world, a), ask(world, b)]);
  expect(ordersOf(device)).toHaveLength(1);
  const first = orderOf(device);
  begin(device, first);
  end(device, first, 0);
  await world.clock.advance(200);
  device.setStatus({});
  await world.clock.advance(200);
  expect(ordersOf(device)).toHaveLength(2);
  begin(device, orderOf(device));
  end(device, orderOf(device), 0);
  await world.clock.advance(200);
  expect([one?.outcome()?.failovers, other?.outcome()?.failovers]).toEqual([0, 0]);
});

test('a device that is connected to another replica by now has one channel, the later one', async () => {
  const world = await createWorld();
  const [old, now] = [await world.start(), await world.start()];
  const device = await world.join(old);
  const again = await world.join(now, { key: device.key });
  await world.clock.advance(50);
  expect(device.closed()).toMatch(/another replica/);
  expect(device.heard.some((message) => message.t === 'dropped')).toBe(false);
  expect(again.closed()).toBeUndefined();
  for (const { hub } of [old, now])
    expect([...hub.sessions.list()].map(({ home }) => home)).toEqual([now.hub.replica.id]);
});

test('a device that is revoked through one replica is dropped by another in a second, also without a bus', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  const device = await world.join(there);
  const [connected] = [...here.hub.sessions.list()];
  there.bus.setUp(false);
  await here.hub.devices.revoke({ territory: here.hub.territory.id, id: connected?.id ?? '', actor: 'test' });
  await world.clock.advance(1_000);
  expect(device.heard.at(-1)).toMatchObject({ t: 'dropped', code: 'device_revoked' });
});

test('a replica that missed what another told knows all of its devices a beat later', async () => {
  const world = await createWorld();
  const [here, there] = [await world.start(), await world.start()];
  here.bus.setUp(false);
  for (let i = 0; i < 3; i++) await world.join(there);
  expect([...here.hub.sessions.list()]).toHaveLength(0);
  here.bus.setUp(true);
  await world.clock.advance(FLEET_LIMITS.beatMs * 3);
  expect([...here.hub.sessions.list()]).toHaveLength(3);
});

test('one replica places models for the devices of all', async () => {
  const world = await createWorld();
  const [holder, other] = [await world.start(), await world.start()];
  const device = await world.join(other);
  await world.clock.advance(1_000);
  const holds = device.heard.filter((message) => message.t === 'hold');
  expect(holds.at(-1)?.models.map(({ cid }) => cid)).toEqual([world.model.cid]);
  expect([...holder.hub.sessions.list()][0]?.wanted).toEqual([world.model.cid]);
});

test('a list of models that the bus lost is told again, and one that was heard is not', async () => {
  const world = await createWorld();
  const { clock, faults } = world;
  // The first has the duty.
  const [a, b] = [await world.start(), await world.start()];
  faults.isCut = (from, to) => from === a.bus.member && to === b.bus.member;
  const device = await world.join(b);
  const lists = (): number => device.heard.filter(({ t }) => t === 'hold').length;
  await clock.advance(HUB_LIMITS.placementGapMs * 3);
  expect(lists()).toBe(0);
  delete faults.isCut;
  for (let looks = 0; looks < 3; looks++) {
    await clock.advance(FLEET_LIMITS.orderMs);
    await a.hub.announceModels();
    await clock.advance(HUB_LIMITS.placementGapMs * 2);
    expect(lists()).toBe(1);
  }
});
