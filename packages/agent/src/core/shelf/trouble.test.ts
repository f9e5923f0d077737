/** Claims about a model whose engine ends again and again: what it may cost its lender, and what clears it. */
import { expect, test } from 'vitest';
import { IdlewildError } from '@idlewild/protocol';
import { createFixture, putModel } from '../../node/testing/fixture.ts';
import { exampleAnswer } from '../../testing/example-answer.ts';
import { AGENT_LIMITS } from '../limits.ts';

const MINUTE_MS = 60_000;
const RUN_MS = 30_000;

async function setUp() {
  const fixture = await createFixture();
  const cid = await putModel(fixture.store, 'weights');
  await fixture.startWith(cid);
  const { clock, engineHost, peer, agent } = fixture;
  let lease = 0;
  return {
    ...fixture,
    cid,
    model: () => agent.state().models.find((each) => each.cid === cid),
    hold: async (...cids: readonly string[]): Promise<void> => {
      peer().send({ t: 'hold', models: cids.map((each) => ({ cid: each, name: 'x', bytes: 1 })), sources: [] });
      await clock.advance(100);
    },
    /** A run that never ends, after a while in which nobody asked anything. */
    async hang() {
      await clock.advance(2 * MINUTE_MS);
      peer().send(exampleAnswer(cid, { lease: `hung_${lease++}` }));
      await clock.advance(50);
      const engine = engineHost.engines.get(cid);
      engine?.setStalled(true);
      await clock.advance(RUN_MS);
      engine?.kill('it said nothing for 30 s');
      await clock.advance(AGENT_LIMITS.reloadMsMin * 2 ** AGENT_LIMITS.endsBeforeRest);
    },
    async finish() {
      peer().send(exampleAnswer(cid, { lease: `done_${lease++}` }));
      await clock.advance(5_000);
    },
  };
}

test('a model whose runs never end is left alone, longer each time, and hub and lender are told why', async () => {
  const { hang, model, clock, engineHost, got } = await setUp();
  for (let i = 1; i < AGENT_LIMITS.endsBeforeRest; i++) {
    await hang();
    expect(model()?.state).toBe('warm');
  }
  let waitMs: number = AGENT_LIMITS.restMsMin;
  for (let i = 0; i < 12; i++) {
    await hang();
    expect(model()).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/in a row.*left alone for \d+ minutes.*said nothing for 30 s/) as string,
    });
    expect(got('heartbeat').at(-1)?.status.models).toMatchObject([{ state: 'failed', reason: model()?.reason }]);
    await clock.advance(waitMs - 5_000);
    expect([i, engineHost.engines.size]).toEqual([i, 0]);
    await clock.advance(10_000);
    expect([i, model()?.state]).toEqual([i, 'warm']);
    waitMs = Math.min(AGENT_LIMITS.restMsMax, waitMs * 2);
  }
  expect(waitMs).toBe(AGENT_LIMITS.restMsMax);
});

test('a finished answer clears it: the next end is the first again', async () => {
  const { hang, finish, model } = await setUp();
  for (let i = 0; i < 3 * AGENT_LIMITS.endsBeforeRest; i++) {
    await hang();
    expect([i, model()?.state]).toEqual([i, 'warm']);
    await finish();
  }
});

test('a hub that takes its wish back and wishes again changes nothing of it', async () => {
  const { hang, hold, cid, model, engineHost, clock, store } = await setUp();
  for (let i = 0; i < AGENT_LIMITS.endsBeforeRest; i++) await hang();
  await hold();
  expect(model()).toBeUndefined();
  await putModel(store, 'weights');
  await hold(cid);
  await clock.advance(AGENT_LIMITS.restMsMin / 2);
  expect(model()?.state).toBe('failed');
  expect(engineHost.engines.size).toBe(0);
  await clock.advance(AGENT_LIMITS.restMsMin / 2);
  expect(model()?.state).toBe('warm');
});

test('an engine that ends while it loads counts as well, and what it is loaded for waits in vain', async () => {
  const fixture = await createFixture();
  fixture.engineHost.setLoading({ fails: new IdlewildError('engine_failed', 'the engine process was ended') });
  let loads = 0;
  const load = fixture.engineHost.load.bind(fixture.engineHost);
  Object.assign(fixture.engineHost, { load: (...args: Parameters<typeof load>) => (loads++, load(...args)) });
  await fixture.startWith(await putModel(fixture.store, 'weights'));
  await fixture.clock.advance(24 * 60 * MINUTE_MS);
  // 3 at once, then after 5, 10, 20 … 640 minutes.
  expect(loads).toBeLessThanOrEqual(AGENT_LIMITS.endsBeforeRest + 8);
  expect(loads).toBeGreaterThan(AGENT_LIMITS.endsBeforeRest);
});
