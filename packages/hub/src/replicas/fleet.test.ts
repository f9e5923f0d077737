/** Claims about the devices of several replicas: all can ask any of them, and what the bus loses is told again. */
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import { FLEET_LIMITS } from './limits.ts';
import { ask, begin, createWorld, end, orderOf, ordersOf, say, textOf } from './testing/fleet-world.ts';

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
