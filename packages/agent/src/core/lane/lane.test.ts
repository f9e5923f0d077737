import { expect, test } from 'vitest';
import { digestTokens, equalBytes, openStatement, receiptSchema } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { simulatedAnswer, simulatedPromptTokens } from '../../testing/simulated-engine.ts';
import { AGENT_LIMITS } from '../limits.ts';
import { exampleAnswer, exampleWork } from '../../testing/example-answer.ts';

async function warmFixture(...options: Parameters<typeof createFixture>): Promise<Fixture & { model: string }> {
  const fixture = await createFixture(...options);
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  return { ...fixture, model };
}

test('an answer streams the tokens of its work and ends with a receipt signed over them', async () => {
  const { clock, got, identity, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(2_000);
  const expected = simulatedAnswer(exampleWork());
  expect(got('answer.started')).toEqual([
    { t: 'answer.started', lease: 'att_1', epoch: 1, promptTokens: simulatedPromptTokens(exampleWork()) },
  ]);
  expect(got('answer.token').map(({ i, id }) => [i, id])).toEqual(expected.tokens.map((id, i) => [i, id]));
  expect(
    got('answer.token')
      .map(({ s }) => s)
      .join(''),
  ).toBe(expected.text);
  const [finished] = got('answer.finished');
  expect(finished).toMatchObject({ lease: 'att_1', epoch: 1, finish: 'length', answerTokens: 50 });
  const receipt = await openStatement(
    'receipt',
    finished?.receipt as Uint8Array,
    receiptSchema,
    nodeCrypto,
    identity.publicKey,
  );
  expect(receipt.statement).toMatchObject({ lease: 'att_1', epoch: 1, model, firstToken: 0, tokens: 50 });
  expect(receipt.statement.numericClass).toBe(got('heartbeat').at(-1)?.status.models[0]?.numericClass);
  expect(equalBytes(receipt.statement.tokensDigest, await digestTokens(expected.tokens, nodeCrypto))).toBe(true);
});

test('work with tokens goes on after them, and its receipt covers only what was made here', async () => {
  const { clock, got, identity, model, peer } = await warmFixture();
  const { tokens } = simulatedAnswer(exampleWork());
  peer().send(exampleAnswer(model, { work: exampleWork({ tokens: tokens.slice(0, 20) }), epoch: 2 }));
  await clock.advance(2_000);
  expect(got('answer.token').map(({ id }) => id)).toEqual(tokens.slice(20));
  expect(got('answer.token')[0]?.i).toBe(20);
  const { statement } = await openStatement(
    'receipt',
    got('answer.finished')[0]?.receipt as Uint8Array,
    receiptSchema,
    nodeCrypto,
    identity.publicKey,
  );
  expect(statement).toMatchObject({ firstToken: 20, tokens: 30 });
  expect(equalBytes(statement.tokensDigest, await digestTokens(tokens.slice(20), nodeCrypto))).toBe(true);
});

test('a repeated or older epoch of a lease changes nothing, also after its end', async () => {
  const { clock, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model, { epoch: 3 }));
  peer().send(exampleAnswer(model, { epoch: 3 }));
  peer().send(exampleAnswer(model, { epoch: 2 }));
  await clock.advance(2_000);
  peer().send(exampleAnswer(model, { epoch: 3 }));
  await clock.advance(2_000);
  expect(got('answer.started')).toHaveLength(1);
  expect(got('answer.token')).toHaveLength(50);
  expect(got('answer.failed')).toEqual([]);
});

test('a newer epoch of a lease replaces the attempt, of which nothing more is heard', async () => {
  const { clock, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(300);
  peer().send(exampleAnswer(model, { epoch: 2 }));
  await clock.advance(50);
  const before = got('answer.token').filter(({ epoch }) => epoch === 1).length;
  await clock.advance(2_000);
  expect(got('answer.token').filter(({ epoch }) => epoch === 1)).toHaveLength(before);
  expect(got('answer.token').filter(({ epoch }) => epoch === 2)).toHaveLength(50);
  expect(got('answer.finished').map(({ epoch }) => epoch)).toEqual([2]);
});

test('a cancel stops the engine at once and for good; one of another epoch or lease is ignored', async () => {
  const { agent, clock, engineHost, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model, { epoch: 2 }));
  await clock.advance(200);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  peer().send({ t: 'cancel', lease: 'att_9', epoch: 2 });
  await clock.advance(50);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 2 });
  await clock.advance(5);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
  await clock.advance(5);
  const before = got('answer.token').length;
  await clock.advance(2_000);
  expect(got('answer.token')).toHaveLength(before);
  expect([...got('answer.finished'), ...got('answer.failed')]).toEqual([]);
  expect(agent.state().answering).toBe(0);
});

test('a cancel that comes while the receipt is being signed is obeyed', async () => {
  const gate = Promise.withResolvers<void>();
  const gates: Promise<void>[] = [];
  const { clock, got, model, peer } = await warmFixture({
    crypto: {
      ...nodeCrypto,
      async sign(key, bytes) {
        await gates[0];
        return nodeCrypto.sign(key, bytes);
      },
    },
  });
  gates.push(gate.promise);
  peer().send(exampleAnswer(model));
  await clock.advance(2_000);
  expect(got('answer.token')).toHaveLength(50);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  await clock.advance(10);
  gate.resolve();
  await clock.advance(10);
  expect(got('answer.finished')).toEqual([]);
});

test('when every slot is in use a further answer is refused as full and the device says it is busy', async () => {
  const { agent, clock, got, model, peer, states } = await warmFixture();
  for (const lease of ['a', 'b', 'c']) peer().send(exampleAnswer(model, { lease }));
  await clock.advance(50);
  expect(got('answer.failed').map(({ lease, code }) => [lease, code])).toEqual([['c', 'device_full']]);
  expect(got('heartbeat').at(-1)?.status).toMatchObject({ state: 'busy', slots: 2 });
  expect(agent.state()).toMatchObject({ state: 'busy', answering: 2 });
  await clock.advance(4_000);
  expect(got('answer.finished')).toHaveLength(2);
  expect(states.at(-1)).toMatchObject({ state: 'ready', answering: 0 });
});

test('an answer that is not finished by its deadline fails and stops', async () => {
  const { clock, engineHost, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model, { deadlineMs: 200 }));
  await clock.advance(1_000);
  expect(got('answer.failed')).toMatchObject([{ lease: 'att_1', epoch: 1, code: 'deadline_exceeded' }]);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
});

test('pausing gives running answers back, refuses new ones, and resuming takes them again', async () => {
  const { agent, clock, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(200);
  agent.pause('lunch');
  await clock.advance(50);
  peer().send(exampleAnswer(model, { lease: 'att_2' }));
  await clock.advance(50);
  const failed = got('answer.failed').map(({ lease, code }) => [lease, code]);
  expect(failed).toEqual([
    ['att_1', 'device_paused'],
    ['att_2', 'device_paused'],
  ]);
  expect(agent.state()).toMatchObject({ state: 'paused', pauseReasons: ['lunch'], answering: 0 });
  agent.resume('lunch');
  peer().send(exampleAnswer(model, { lease: 'att_3' }));
  await clock.advance(2_000);
  expect(got('answer.finished').map(({ lease }) => lease)).toEqual(['att_3']);
});

test.each([
  ['another kind of work only', { kinds: ['storage'] as const }],
  ['nothing', { kinds: [] }],
  ['another territory', { territories: [new Uint8Array(32).fill(3)] }],
])('a lender who consents to %s is obeyed whatever the hub sends', async (_what, consents) => {
  const { agent, clock, engineHost, got, hub, model, peer } = await warmFixture({ consents: consents as never });
  expect(agent.state().models).toEqual([]);
  expect(engineHost.engines.size).toBe(0);
  peer().send(exampleAnswer(model));
  await clock.advance(1_000);
  expect(got('answer.failed')).toMatchObject([{ lease: 'att_1', code: 'consent_refused' }]);
  expect(got('answer.token')).toEqual([]);
  expect(hub.peers).toHaveLength(1);
});

test('the limit of tokens per second in the consent reaches the engine', async () => {
  const { agent } = await warmFixture({ consents: { tokensPerSecondMax: 7 } });
  expect(agent.state().tokensPerSecond).toBe(7);
});

test('with such a limit two models never answer at once', async () => {
  const fixture = await createFixture({ consents: { tokensPerSecondMax: 50 } });
  const { clock, got, peer, startWith, store } = fixture;
  const models = [await putModel(store, 'one'), await putModel(store, 'two')];
  await startWith(...models);
  peer().send(exampleAnswer(models[0] as string, { lease: 'a' }));
  peer().send(exampleAnswer(models[1] as string, { lease: 'b' }));
  await clock.advance(100);
  expect(got('answer.failed').map(({ lease, code }) => [lease, code])).toEqual([['b', 'device_full']]);
});

test('losing the channel ends the running answers and keeps the model warm', async () => {
  const { agent, clock, engineHost, hub, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(200);
  peer().link?.cut('a test');
  await clock.advance(5);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
  await clock.advance(4_000);
  expect(hub.peers.length).toBeGreaterThan(1);
  expect(peer().device?.proof.status.models).toMatchObject([{ cid: model, state: 'warm' }]);
  expect(agent.state().state).toBe('ready');
});

test('an engine that dies fails its answers once, and the model is warm again shortly after', async () => {
  const { agent, clock, engineHost, got, hub, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(200);
  engineHost.engines.get(model)?.kill('killed by a test');
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ lease: 'att_1', code: 'engine_failed' }]);
  peer().send(exampleAnswer(model, { lease: 'early' }));
  await clock.advance(AGENT_LIMITS.reloadMsMin + 100);
  expect(got('answer.failed').at(-1)).toMatchObject({ lease: 'early', code: 'model_not_ready' });
  expect(agent.state().models).toMatchObject([{ cid: model, state: 'warm' }]);
  peer().send(exampleAnswer(model, { lease: 'att_2' }));
  await clock.advance(2_000);
  expect(got('answer.finished').map(({ lease }) => lease)).toEqual(['att_2']);
  expect(hub.peers).toHaveLength(1);
});

test("a prompt over the context fails with the engine's own code", async () => {
  const { clock, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model, { work: exampleWork({ prompt: { kind: 'text', text: 'x'.repeat(20_000) } }) }));
  await clock.advance(10_000);
  expect(got('answer.failed')).toMatchObject([{ code: 'context_length_exceeded' }]);
});

test('a long prompt tells of its progress before the first token', async () => {
  const { clock, got, model, peer } = await warmFixture({ engine: { prefillTokensPerSecond: 1_000 } });
  peer().send(exampleAnswer(model, { work: exampleWork({ prompt: { kind: 'text', text: 'x'.repeat(15_000) } }) }));
  await clock.advance(3_500);
  expect(got('answer.progress').length).toBeGreaterThanOrEqual(3);
  expect(got('answer.token')).toEqual([]);
});

test("draining at the hub's wish finishes what runs and takes nothing new", async () => {
  const { agent, clock, got, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(100);
  peer().send({ t: 'drain', reason: 'maintenance' });
  peer().send(exampleAnswer(model, { lease: 'late' }));
  await clock.advance(2_000);
  expect(got('answer.failed').map(({ lease }) => lease)).toEqual(['late']);
  expect(got('answer.finished').map(({ lease }) => lease)).toEqual(['att_1']);
  expect(got('heartbeat').at(-1)?.status.state).toBe('draining');
  expect(agent.state().state).toBe('draining');
});

test('a stop with drain waits for the running answer, one without gives it back at once', async () => {
  for (const drain of [true, false]) {
    const { agent, clock, engineHost, got, model, peer } = await warmFixture();
    peer().send(exampleAnswer(model));
    await clock.advance(100);
    const stopped = agent.stop({ drain });
    await clock.advance(2_000);
    await stopped;
    expect(got('answer.finished')).toHaveLength(drain ? 1 : 0);
    expect(got('answer.failed').map(({ code }) => code)).toEqual(drain ? [] : ['device_paused']);
    expect(engineHost.engines.size).toBe(0);
    expect(peer().closed).toBeDefined();
  }
});

test('whoever asks for a stop while another drains waits no longer than the answer runs', async () => {
  const { agent, clock, model, peer } = await warmFixture();
  peer().send(exampleAnswer(model));
  await clock.advance(100);
  let stopped = 0;
  for (let asked = 0; asked < 2; asked++) void agent.stop({ drain: true }).then(() => stopped++);
  await clock.advance(2_000);
  expect(stopped).toBe(2);
});

test("a hub that does not read loses the channel instead of filling the device's memory", async () => {
  let unread = 0;
  const { agent, clock, hub, logged, model, peer } = await warmFixture({}, (transport) => ({
    dial: async (url, options) => ({ ...(await transport.dial(url, options)), bufferedBytes: () => unread }),
  }));
  peer().send(exampleAnswer(model));
  await clock.advance(100);
  expect(agent.state().answering).toBe(1);
  unread = AGENT_LIMITS.bufferedBytesMax + 1;
  await clock.advance(50);
  unread = 0;
  expect(hub.peers[0]?.closed).toContain('does not read');
  expect(logged.join()).toContain('does not read');
  expect(agent.state().answering).toBe(0);
});

test('an answer for a model that is not here says so', async () => {
  const { clock, got, peer } = await warmFixture();
  peer().send(exampleAnswer('bafyreifoo'));
  await clock.advance(50);
  expect(got('answer.failed')).toMatchObject([
    { code: 'model_not_ready', message: expect.stringContaining('not on this device') as string },
  ]);
});
