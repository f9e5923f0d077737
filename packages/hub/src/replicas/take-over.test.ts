/** Claims about answers that change their owner: what one replica began another goes on with, once, word for word. */
import { expect, test } from 'vitest';
import { FLEET_LIMITS } from './limits.ts';
import { ask, begin, createWorld, end, orderOf, ordersOf, ownRun, say, textOf } from './testing/fleet-world.ts';

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
