/** Claims about models that stand where those who ask may not use them, with whole hubs and devices that obey. */
import { decodeCbor, encodeCbor } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import type { Hub } from '../hub.ts';
import { HUB_LIMITS } from '../limits.ts';
import { FLEET_LIMITS } from '../replicas/limits.ts';
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

test('when a holder may see a class no more another fetches what is asked for, before anybody asks again', async () => {
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

test('who is served does not lose the place to who is not, and asks for less', async () => {
  const { hub, vetted, ask, pass, clock } = await crowded();
  for (let i = 0; i < 4; i++) expect((await ask(hub, 'b')).failure()).toBeUndefined();
  const asked = await ask(hub, 'a');
  await pass(3 * PLACEMENT_LIMITS.planMsMax);
  expect(asked.failure()).toMatchObject({ code: 'no_device', message: expect.stringContaining('no room') as string });
  expect(vetted.wanted()).toEqual(['b']);
  // It is asked for far more by and by.
  for (let i = 0; i < 30; i++) await ask(hub, 'a');
  await clock.advance(10 * 60_000 + HUB_LIMITS.placementMs);
  expect(vetted.wanted()).toEqual(['a']);
});

test('whom a device of their own serves is no reason to bring a model to another', async () => {
  const { hub, vetted, others, join, person, ask, pass } = await crowded();
  await person(hub, 'per_ada');
  const own = await join(hub, 'own', { person: 'per_ada', has: ['a'] });
  await pass(1_000);
  expect((await ask(hub, 'a', { person: 'per_ada' })).failure()).toBeUndefined();
  expect(own.orders()).toHaveLength(1);
  await pass(HUB_LIMITS.placementMs + 3_000);
  expect(vetted.wanted()).toEqual(['b']);
  // Nor does who it is move anything: what only her own device may serve does not come there for her.
  vetted.link.cut('a test');
  others[2]?.link.cut('a test');
  await pass(1_000);
  expect((await ask(hub, 'b', { person: 'per_ada' })).failure()).toMatchObject({ code: 'no_device' });
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

describe('over replicas, of which the first one places', () => {
  async function two(): Promise<Crowded & { readonly other: Hub }> {
    const world = await createCrowdedWorld(['a', 'b']);
    const [hub, other] = [await world.start(), await world.start()];
    const others = [await world.join(other, 'one', { has: ['a'] }), await world.join(hub, 'two', { has: ['a'] })];
    const vetted = await world.join(other, 'vetted', { tier: 'vetted', has: ['b'] });
    others.push(await world.join(hub, 'three', { has: ['b'] }));
    await world.pass(1_000);
    return { ...world, hub, other, others, vetted };
  }

  test('a request at another waits, too, and a device of either fetches for it', async () => {
    const { other, vetted, ask, pass } = await two();
    const asked = await ask(other, 'a');
    expect(asked.failure()).toBeUndefined();
    await pass(FLEET_LIMITS.beatMs + 4_000);
    expect(vetted.wanted()).toEqual(['a']);
    expect(vetted.orders()).toHaveLength(1);
    expect(asked.failure()).toBeUndefined();
  });

  test('what they tell each other is who may serve, and not who asks', async () => {
    const { other, ask, pass, buses } = await two();
    const beats: unknown[] = [];
    buses
      .connect()
      .subscribe(`${other.territory.id}.all.beat`, ({ bytes }) => void beats.push(decodeCbor(bytes, 'a beat')));
    await ask(other, 'a', { person: 'per_ada', pools: ['lab'], cause: 'nobody-names-it' });
    await ask(other, 'a', { person: 'per_bob', cause: 'climate' });
    await pass(2 * FLEET_LIMITS.beatMs);
    const said = beats.flatMap((beat) => (beat as { narrow?: object[] }).narrow ?? []);
    // Where nobody is in the pool there is nobody to bring it to.
    expect(said).toEqual([{ models: [expect.any(String)], dataClass: 'confidential', features: [], count: 1 }]);
    expect(JSON.stringify(beats)).not.toMatch(/per_|key_a/);
  });

  test('a replica that says nothing of it is heard as ever, and so is one that says it in other words', async () => {
    const { other, hub, cidOf, buses, vetted, others, pass } = await two();
    const bus = buses.connect();
    const older = { from: `rep_${'z'.repeat(26)}`, n: 0, queued: {} };
    const say = (more: object): void =>
      bus.publish(`${other.territory.id}.all.beat`, encodeCbor({ ...older, ...more }));
    const demand = (): number => {
      const hold = others[1]?.heard.findLast((message) => message.t === 'hold');
      return hold?.models[0]?.demand ?? 0;
    };
    expect(hub.replica.isLive(older.from)).toBe(false);
    say({ asked: { [cidOf('a')]: 100 } });
    await pass(1_000);
    expect(hub.replica.isLive(older.from)).toBe(true);
    say({ asked: { [cidOf('a')]: 100 }, narrow: [{ models: [cidOf('a')], dataClass: 'secret', count: 'many' }] });
    await pass(HUB_LIMITS.placementMs + 1_000);
    expect(demand()).toBeGreaterThanOrEqual(8);
    expect(vetted.wanted()).toEqual(['b']);
    say({ asked: {}, narrow: [{ models: [cidOf('a')], dataClass: 'confidential', features: [], count: 1 }] });
    await pass(1_000);
    expect(vetted.wanted()).toEqual(['a']);
  });
});

test('a sealed prompt waits for a device that a steward vouches for, and that fetches for it', async () => {
  const { hub, vetted, others, vouch, offer, pass } = await crowded();
  const [, , three] = others as [Agent, Agent, Agent];
  await vouch(hub, three);
  await pass(HUB_LIMITS.vouchesReadMs);
  const asked = await offer(hub, 'a', { dataClass: 'internal' });
  await pass(4_000);
  expect([asked.failure(), asked.device()]).toEqual([undefined, 'three']);
  expect(vetted.wanted()).toEqual(['b']);
});

test('what judges sealed prompts is brought to where the model is, or the model to it, on one device', async () => {
  const world = await createCrowdedWorld(['a', 'judge', 'b', 'c']);
  const hub = await world.start();
  const devices = [
    await world.join(hub, 'one', { has: ['a', 'b', 'c'], room: 2 }),
    await world.join(hub, 'two', { has: ['judge', 'b', 'c'], room: 2 }),
    await world.join(hub, 'three', { has: ['a', 'judge', 'b'], room: 2 }),
  ] as const;
  // The third has both, and nobody vouches for it. None has room for four.
  for (const device of devices.slice(0, 2)) await world.vouch(hub, device);
  await world.pass(HUB_LIMITS.vouchesReadMs);
  const asked = await world.offer(hub, 'a', { dataClass: 'internal', judges: ['judge'] });
  await world.pass(4_000);
  expect(asked.failure()).toBeUndefined();
  expect(['one', 'two']).toContain(asked.device());
  const chosen = asked.device() === 'one' ? devices[0] : devices[1];
  expect(chosen.wanted()).toEqual(expect.arrayContaining(['a', 'judge']));
});
