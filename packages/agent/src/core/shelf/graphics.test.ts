/** Claims about engines on graphics cards: none runs that the lender's consent does not allow at that moment. */
import type { Consent } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { refusalOfProvider } from '../consent.ts';
import { exampleAnswer, exampleWork } from '../../testing/example-answer.ts';

const GPU: readonly Consent['gpu'][] = ['never', 'idle', 'always'];

test('a graphics card is refused unless it is lent now, and processors are refused by nobody', () => {
  const allowed = (provider: string, isIdle: boolean): Consent['gpu'][] =>
    GPU.filter((gpu) => refusalOfProvider({ gpu }, provider, isIdle) === undefined);
  expect([false, true].map((isIdle) => allowed('cpu', isIdle))).toEqual([GPU, GPU]);
  // Also one that nobody has heard of yet.
  for (const provider of ['webgpu', 'cuda', 'quantum']) {
    expect(allowed(provider, false)).toEqual(['always']);
    expect(allowed(provider, true)).toEqual(['idle', 'always']);
  }
  expect(refusalOfProvider({ gpu: 'never' }, 'webgpu', true)).toMatchObject({ code: 'consent_refused' });
});

interface World extends Fixture {
  readonly cid: string;
  /** That were begun. */
  loads(): number;
  /** The state of the model, and how many engines there are. */
  seen(): readonly [state: string | undefined, engines: number];
}

async function setUp(gpu: Consent['gpu']): Promise<World> {
  let loads = 0;
  const fixture = await createFixture({
    engine: { provider: 'webgpu', tokensPerSecond: 1 },
    consents: { gpu },
    wrapHost: (host) => ({ load: (...given) => (loads++, host.load(...given)) }),
  });
  const cid = await putModel(fixture.store, 'weights');
  const seen: World['seen'] = () => [fixture.agent.state().models[0]?.state, fixture.engineHost.engines.size];
  await fixture.startWith(cid);
  await fixture.clock.advance(1_000);
  return { ...fixture, cid, seen, loads: () => loads };
}

test('an engine that computes on a graphics card which is never lent is ended, and not tried again', async () => {
  const { agent, clock, loads, seen } = await setUp('never');
  expect(seen()).toEqual(['held', 0]);
  expect(agent.state().models[0]?.reason).toContain('lends no graphics card, and webgpu is one');
  agent.idle(true);
  await clock.advance(600_000);
  expect([loads(), seen()]).toEqual([1, ['held', 0]]);
});

test('one that is lent at any time runs at any time', async () => {
  const { agent, seen } = await setUp('always');
  expect(seen()).toEqual(['warm', 1]);
  agent.idle(false);
  expect(seen()).toEqual(['warm', 1]);
});

test('one that is lent for idle times runs only then, though nothing pauses the device', async () => {
  const { agent, cid, clock, engineHost, got, peer, seen } = await setUp('idle');
  expect(agent.state()).toMatchObject({ pauses: [], state: 'ready' });
  // Until idleness has said so, somebody is there.
  expect(seen()).toEqual(['held', 0]);
  expect(agent.state().models[0]?.reason).toContain('only while nobody uses the machine');
  agent.idle(true);
  await clock.advance(1_000);
  expect(seen()).toEqual(['warm', 1]);
  peer().send(exampleAnswer(cid, { lease: 'lease', work: exampleWork({ tokensMax: 400 }) }));
  await clock.advance(100);
  const engine = engineHost.engines.get(cid);
  expect(engine?.answering()).toBe(1);

  agent.idle(false);
  // In the very turn.
  expect(engine?.answering()).toBe(0);
  expect(engine?.wasClosedAtOnce()).toBe(true);
  expect(seen()).toEqual(['held', 0]);
  await clock.advance(1_000);
  expect(got('answer.failed')).toMatchObject([{ lease: 'lease', code: 'consent_refused' }]);
  expect(seen()).toEqual(['held', 0]);
  agent.idle(true);
  await clock.advance(1_000);
  expect(seen()).toEqual(['warm', 1]);
});
