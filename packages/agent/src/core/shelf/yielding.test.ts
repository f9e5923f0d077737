/** What engines, loads and fetches do while the device is paused, and how the machine is given back. */
import { expect, test } from 'vitest';
import type { DeviceModel } from '@idlewild/protocol';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import type { SimulatedEngine, SimulatedEngineOptions } from '../../testing/simulated-engine.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { exampleAnswer, exampleWork } from '../../testing/example-answer.ts';

interface Warm extends Fixture {
  readonly cid: string;
  readonly engine: SimulatedEngine;
  model(): DeviceModel | undefined;
}

async function setUp(engine: Partial<SimulatedEngineOptions> = {}): Promise<Warm> {
  const fixture = await createFixture({ engine });
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith(cid);
  const found = fixture.engineHost.engines.get(cid) as SimulatedEngine;
  return { ...fixture, cid, engine: found, model: () => fixture.agent.state().models[0] };
}

const ask = ({ cid, peer }: Warm, lease: string, epoch = 1): void =>
  peer().send(exampleAnswer(cid, { lease, epoch, work: exampleWork({ tokensMax: 400 }) }));

test('when the person comes back, the hub hears of it first, the answers go back, and no engine computes', async () => {
  const warm = await setUp({ tokensPerSecond: 1 });
  const { agent, clock, engine, peer } = warm;
  ask(warm, 'lease');
  await clock.advance(500);
  expect(engine.answering()).toBe(1);
  const before = peer().got.length;
  agent.pause('input', 'somebody types', 'in use');
  // In the very turn: whoever calls this has the machine back when it returns.
  expect(engine.isSuspended()).toBe(true);
  expect(engine.answering()).toBe(0);
  await clock.advance(20);
  const said = peer().got.slice(before);
  expect(said.map(({ t }) => t).slice(0, 2)).toEqual(['heartbeat', 'answer.failed']);
  expect(said[0]).toMatchObject({ status: { state: 'paused', pauseReasons: ['in use'] } });
  expect(said[1]).toMatchObject({ lease: 'lease', code: 'device_paused' });
  expect(agent.state()).toMatchObject({ pauseReasons: ['somebody types'], pauses: [{ name: 'input' }] });
});

test('a resume that comes soon finds the model warm; a later one loads it again', async () => {
  const warm = await setUp();
  const { agent, clock, engine, engineHost, model } = warm;
  agent.pause('load');
  await clock.advance(AGENT_LIMITS.suspendedMs - 1);
  expect(model()?.state).toBe('warm');
  agent.resume('load');
  expect(engine.isSuspended()).toBe(false);
  await clock.advance(60_000);
  expect(model()?.state).toBe('warm');
  expect(engineHost.engines.get(warm.cid)).toBe(engine);
  agent.pause('load');
  await clock.advance(AGENT_LIMITS.suspendedMs);
  expect(engineHost.engines.size).toBe(0);
  expect(engine.wasClosedAtOnce()).toBe(true);
  expect(model()).toMatchObject({ state: 'held', reason: expect.stringContaining('paused') as string });
  agent.resume('load');
  await clock.advance(1_000);
  expect(model()?.state).toBe('warm');
  ask(warm, 'again');
  await clock.advance(500);
  expect(warm.got('answer.token').length).toBeGreaterThan(0);
});

test('memory is given back within ten seconds', () => {
  expect(AGENT_LIMITS.suspendedMs).toBeLessThanOrEqual(9_000);
});

test('where no process can be stopped, engines are ended at once', async () => {
  const { agent, clock, engine, engineHost, model } = await setUp({ cannotSuspend: true });
  agent.pause('input');
  expect(engineHost.engines.size).toBe(0);
  expect(engine.wasClosedAtOnce()).toBe(true);
  await clock.advance(20);
  expect(model()?.state).toBe('held');
  agent.resume('input');
  await clock.advance(1_000);
  expect(model()?.state).toBe('warm');
});

test('the engines stay stopped until the last reason is gone, and a second one does not delay their end', async () => {
  const { agent, clock, engine, engineHost } = await setUp();
  agent.pause('input');
  await clock.advance(AGENT_LIMITS.suspendedMs / 2);
  agent.pause('load');
  agent.resume('input');
  expect(engine.isSuspended()).toBe(true);
  await clock.advance(AGENT_LIMITS.suspendedMs / 2);
  expect(engineHost.engines.size).toBe(0);
});

test('a hub that sends work while the device is paused is refused, and nothing wakes', async () => {
  const warm = await setUp();
  const { agent, clock, engine, got, peer } = warm;
  agent.pause('input', 'somebody types');
  ask(warm, 'pushed');
  peer().send({ t: 'hold', models: [{ cid: warm.cid, name: 'small', bytes: 1 }], sources: [] });
  await clock.advance(50);
  expect(got('answer.failed')).toMatchObject([{ lease: 'pushed', code: 'device_paused' }]);
  expect(engine.answering()).toBe(0);
  expect(engine.isSuspended()).toBe(true);
});

test('a model that is taken away during a pause is ended then, and a stop in it leaves nothing', async () => {
  const warm = await setUp();
  const { agent, clock, engine, engineHost, peer } = warm;
  agent.pause('input');
  peer().send({ t: 'hold', models: [], sources: [] });
  await clock.advance(50);
  expect(engineHost.engines.size).toBe(0);
  expect(engine.wasClosedAtOnce()).toBe(true);
  const stopped = agent.stop();
  await clock.advance(50);
  await stopped;
  expect(clock.nextInMs()).toBeUndefined();
});

test('a lower share slows what is warm at once and what is loaded later, and is told', async () => {
  const { agent, clock, engine, got, model } = await setUp({ tokensPerSecond: 100 });
  agent.throttle(0.25);
  expect(engine.tokensPerSecond).toBe(25);
  await clock.advance(20);
  expect(agent.state().share).toBe(0.25);
  expect(got('heartbeat').at(-1)?.status.models).toMatchObject([{ tokensPerSecond: 25 }]);
  agent.pause('input');
  await clock.advance(AGENT_LIMITS.suspendedMs);
  agent.resume('input');
  await clock.advance(1_000);
  expect(model()).toMatchObject({ state: 'warm', tokensPerSecond: 25 });
  agent.throttle(7);
  agent.throttle(Number.NaN);
  await clock.advance(20);
  expect(model()).toMatchObject({ tokensPerSecond: 100 });
});

test('a halt stops engines where they stand and lets them go on, and nobody is told of it', async () => {
  const warm = await setUp({ tokensPerSecond: 100 });
  const { agent, clock, engine, got, peer } = warm;
  ask(warm, 'lease');
  await clock.advance(500);
  agent.halt(true);
  expect(engine.isSuspended()).toBe(true);
  // What was said before is on its way.
  await clock.advance(10);
  const [before, told] = [got('answer.token').length, peer().got.length];
  ask(warm, 'meanwhile');
  await clock.advance(990);
  // Heartbeats go on, and say what they always said.
  const said = peer().got.slice(told);
  expect(new Set(said.map(({ t }) => t))).toEqual(new Set(['heartbeat']));
  expect(JSON.stringify(said)).not.toContain('paused');
  expect(agent.state()).toMatchObject({ state: 'busy', pauses: [], answering: 2 });
  agent.halt(false);
  await clock.advance(60_000);
  expect(got('answer.token').length).toBeGreaterThan(before);
  expect(
    got('answer.finished')
      .map(({ lease }) => lease)
      .sort(),
  ).toEqual(['lease', 'meanwhile']);
  expect(got('answer.failed')).toEqual([]);
});

test('a pause that follows a halt gives the answers back, and its end does not wait for that of the halt', async () => {
  const warm = await setUp({ tokensPerSecond: 1 });
  const { agent, clock, engine, got } = warm;
  ask(warm, 'lease');
  await clock.advance(500);
  agent.halt(true);
  agent.pause('load');
  agent.halt(false);
  expect(engine.isSuspended()).toBe(true);
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ lease: 'lease', code: 'device_paused' }]);
  agent.resume('load');
  expect(engine.isSuspended()).toBe(false);
  // The other way round: a pause by another that ends while there is a suspicion.
  agent.pause('lender');
  agent.halt(true);
  agent.resume('lender');
  expect(engine.isSuspended()).toBe(true);
  agent.halt(false);
  expect(engine.isSuspended()).toBe(false);
});

test('a halt stops a load, too, which takes as much longer', async () => {
  const { agent, clock, cid, engine, engineHost, model } = await setUp();
  engineHost.setLoading({ ms: 5_000 });
  engine.kill('a test');
  await clock.advance(1_000);
  expect(model()?.state).toBe('loading');
  agent.halt(true);
  await clock.advance(60_000);
  expect(model()?.state).toBe('loading');
  agent.halt(false);
  await clock.advance(3_000);
  expect(model()?.state).toBe('loading');
  await clock.advance(3_000);
  expect(model()?.state).toBe('warm');
  expect(engineHost.engines.get(cid)?.isSuspended()).toBe(false);
});

test('where no process can be stopped a halt changes nothing', async () => {
  const warm = await setUp({ cannotSuspend: true, tokensPerSecond: 100 });
  const { agent, clock, got } = warm;
  ask(warm, 'lease');
  await clock.advance(500);
  agent.halt(true);
  const before = got('answer.token').length;
  await clock.advance(500);
  expect(got('answer.token').length).toBeGreaterThan(before);
});
