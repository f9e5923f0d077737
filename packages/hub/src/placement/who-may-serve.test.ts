/** Claims about models that stand where those who ask may not use them, with whole hubs and devices that obey. */
import { expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { HUB_LIMITS } from '../limits.ts';
import { PLACEMENT_LIMITS } from './limits.ts';
import { createCrowdedWorld, type Agent, type CrowdedWorld } from './testing/crowded-world.ts';

interface Crowded extends CrowdedWorld {
  readonly hub: Hub;
  readonly others: readonly Agent[];
  readonly vetted: Agent;
}

/** Two models, `a` on devices of members alone, and one device that is vetted; each has room for one. */
async function crowded(): Promise<Crowded> {
  const world = await createCrowdedWorld(['a', 'b']);
  const hub = await world.start();
  const others = [
    await world.join(hub, 'one', { has: ['a'] }),
    await world.join(hub, 'two', { has: ['a'] }),
    await world.join(hub, 'three', { has: ['b'] }),
  ];
  const vetted = await world.join(hub, 'vetted', { tier: 'vetted', has: ['b'] });
  await world.pass(HUB_LIMITS.placementGapMs * 2);
  expect([...others, vetted].map((device) => device.wanted())).toEqual([['a'], ['a'], ['b'], ['b']]);
  return { ...world, hub, vetted, others };
}

test('a confidential request waits while a vetted device fetches the model for it, and is answered there', async () => {
  const { hub, vetted, others, ask, pass } = await crowded();
  const asked = await ask(hub, 'a');
  expect(asked.failure()).toBeUndefined();
  expect(vetted.orders()).toEqual([]);
  await pass(3_000);
  expect(vetted.wanted()).toEqual(['a']);
  expect(vetted.orders()).toMatchObject([{ dataClass: 'confidential' }]);
  // Nobody else was disturbed for it, and what everybody may serve is served as before.
  expect(others.map((device) => device.wanted())).toEqual([['a'], ['a'], ['b']]);
  expect((await ask(hub, 'b', { dataClass: 'internal' })).failure()).toBeUndefined();
  expect((await ask(hub, 'a')).failure()).toBeUndefined();
  expect(vetted.orders()).toHaveLength(2);
});

test('a request that every device may serve is refused as before while its model is fetched', async () => {
  const { hub, ask, start, join, cidOf, others } = await crowded();
  expect(start).toBeDefined();
  for (const device of others) device.setStatus({ models: [{ cid: cidOf('b'), state: 'fetching', fraction: 0.5 }] });
  await join(hub, 'late');
  expect((await ask(hub, 'a', { dataClass: 'public' })).failure()).toMatchObject({ code: 'no_device' });
});

test('where nobody who may serve it has room the refusal says so, at once or when the plan is made', async () => {
  const world = await createCrowdedWorld(['a', 'b']);
  const hub = await world.start();
  await world.join(hub, 'one', { has: ['a'] });
  await world.join(hub, 'tiny', { tier: 'vetted', room: 0 });
  const refusal = {
    code: 'no_device',
    message: expect.stringContaining(
      "it may not see confidential data: 1 is only a member's; 1 other that may serve you has no room for it: it takes",
    ) as string,
  };
  expect((await world.ask(hub, 'a')).failure()).toMatchObject(refusal);
  const full = await world.join(hub, 'full', { tier: 'vetted', has: ['b'] });
  await world.pin(hub, 'b');
  const asked = await world.ask(hub, 'a');
  expect(asked.failure()).toBeUndefined();
  await world.pass(3 * PLACEMENT_LIMITS.planMsMax);
  expect(asked.failure()).toMatchObject({ code: 'no_device', message: expect.stringContaining('2 others') as string });
  expect(full.wanted()).toEqual(['b']);
  // It is known by now.
  expect((await world.ask(hub, 'a')).failure()).toMatchObject({ code: 'no_device' });
});

test('a model comes to the pool whose devices alone may answer, and to lenders for the purpose', async () => {
  const { hub, others, vetted, join, pool, ask, pass } = await crowded();
  const [, , three] = others as [Agent, Agent, Agent];
  await pool(hub, three, 'lab');
  await pass(1_000);
  expect((await ask(hub, 'a', { dataClass: 'internal', pools: ['lab', 'attic'] })).failure()).toBeUndefined();
  await pass(3_000);
  expect(three.orders()).toHaveLength(1);
  const climate = await join(hub, 'climate', { consent: { causes: ['climate'] }, has: ['b'] });
  await pass(1_000);
  await pool(hub, climate, 'green');
  await pass(1_000);
  const green = { dataClass: 'internal', pools: ['green'] } as const;
  expect((await ask(hub, 'a', green)).failure()).toMatchObject({ code: 'no_device' });
  expect((await ask(hub, 'a', { ...green, cause: 'climate' })).failure()).toBeUndefined();
  await pass(3_000);
  expect(climate.orders()).toMatchObject([{ cause: 'climate' }]);
  expect(vetted.wanted()).toEqual(['b']);
});

test('when a holder may see a class no more, another fetches what is asked for, before anybody asks again', async () => {
  const { hub, vetted, join, tier, ask, pass } = await crowded();
  await ask(hub, 'a');
  await pass(3_000);
  const second = await join(hub, 'second', { tier: 'vetted', has: ['b'] });
  await pass(2_000);
  expect([vetted.wanted(), second.wanted()]).toEqual([['a'], ['b']]);
  await tier(hub, vetted, 'member');
  await pass(HUB_LIMITS.placementMs + 3_000);
  expect(second.wanted()).toEqual(['a']);
  const answered = second.orders().length;
  expect((await ask(hub, 'a')).failure()).toBeUndefined();
  expect(second.orders()).toHaveLength(answered + 1);
  expect(vetted.orders()).toHaveLength(1);
});

test('a place that is kept for somebody is free again when nobody has asked for an hour, and not before', async () => {
  const world = await createCrowdedWorld(['a', 'b']);
  const hub = await world.start();
  for (const name of ['one', 'two']) await world.join(hub, name, { has: ['a'], failsAt: ['b'] });
  const vetted = await world.join(hub, 'vetted', { tier: 'vetted', has: ['a'] });
  const three = await world.join(hub, 'three', { has: ['b'] });
  // It is elsewhere for a moment, and somebody asks.
  vetted.setStatus({ state: 'paused' });
  await world.pass(200);
  await world.ask(hub, 'a');
  vetted.setStatus({ state: 'ready' });
  await world.pass(200);
  three.link.cut('a test');
  await world.ask(hub, 'b', { dataClass: 'internal' });
  await world.clock.advance(PLACEMENT_LIMITS.narrowKeptMs - 4 * HUB_LIMITS.placementMs);
  expect(vetted.wanted()).toEqual(['a']);
  await world.clock.advance(5 * HUB_LIMITS.placementMs);
  expect(vetted.wanted()).toEqual(['b']);
});

test('two models asked for in turn by those whom one device may serve do not drive each other out', async () => {
  const { hub, vetted, ask, clock } = await crowded();
  const before = vetted.lists();
  for (let minute = 0; minute < 60; minute++) {
    await ask(hub, minute % 2 === 0 ? 'a' : 'b');
    await clock.advance(60_000);
  }
  expect(vetted.wanted()).toHaveLength(1);
  expect(vetted.lists() - before).toBeLessThanOrEqual(2);
});
