/** Claims about attempts that outlive their channel: what is said again, to whom, and how long it is kept. */
import { expect, test } from 'vitest';
import { AGENT_LIMITS } from '../limits.ts';
import type { ToDevice, ToHub } from '@idlewild/protocol';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { simulatedAnswer } from '../../testing/simulated-engine.ts';
import { exampleAnswer, exampleWork, type AnswerOrder } from '../../testing/example-answer.ts';

const WORK = exampleWork();
const TOKENS = simulatedAnswer(WORK).tokens;
/** The whole of it takes half a second of decoding, and a little before. */
const WHOLE_MS = 1_000;
/** A lost session is not dialled again later than this, and the handshake takes below it. */
const BACK_MS = 1_500;

type World = Fixture & {
  model: string;
  ask(change?: Partial<AnswerOrder>): void;
  come(resumes?: boolean): Promise<void>;
};

async function warmWorld(...options: Parameters<typeof createFixture>): Promise<World> {
  const fixture = await createFixture(...options);
  const { clock, hub, peer, startWith, store } = fixture;
  hub.behave({ resumes: true });
  const model = await putModel(store, 'weights');
  await startWith(model);
  return {
    ...fixture,
    model,
    ask: (change = {}) => peer().send(exampleAnswer(model, { keep: true, ...change })),
    async come(resumes = true) {
      hub.behave({ resumes, unreachable: false });
      const before = hub.peers.length;
      if (peer().closed === undefined) peer().link?.cut('a test');
      await clock.advance(BACK_MS);
      expect(hub.peers.length).toBe(before + 1);
    },
  };
}

const resume = (from: number, change: object = {}): ToDevice => ({
  t: 'answer.resume',
  lease: 'att_1',
  epoch: 1,
  from,
  ...change,
});
const about = (got: readonly (ToHub | { t: '?' })[]): string[] =>
  got.flatMap((message) => {
    if (!message.t.startsWith('answer.')) return [];
    return [message.t === 'answer.token' ? `${message.i}:${message.id}` : message.t.slice('answer.'.length)];
  });
const tokensFrom = (from: number, to = TOKENS.length): string[] =>
  TOKENS.slice(from, to).map((id, at) => `${from + at}:${id}`);

test('an answer runs on without a channel, and the next session hears it from the token that it names', async () => {
  const { ask, clock, come, peer } = await warmWorld({ engine: { tokensPerSecond: 25 } });
  ask();
  await clock.advance(500);
  const before = about(peer().got);
  expect(before.length).toBeGreaterThan(5);
  await come();
  const attempts = peer().device?.proof.status.attempts ?? [];
  expect(attempts).toMatchObject([{ lease: 'att_1', epoch: 1 }]);
  expect(attempts[0]?.tokens).toBeGreaterThan(before.length);
  expect(peer().device?.proof.status.active).toBe(1);
  expect(about(peer().got)).toEqual([]);
  peer().send(resume(7));
  await clock.advance(3_000);
  expect(about(peer().got)).toEqual(['started', ...tokensFrom(7), 'finished']);
});

test('a session hears it again whenever it asks: while it runs, and the end as it was said', async () => {
  const { ask, clock, got, peer } = await warmWorld();
  ask();
  await clock.advance(300);
  peer().send(resume(0));
  await clock.advance(WHOLE_MS);
  const heard = about(peer().got);
  const again = heard.lastIndexOf('started');
  expect(again).toBeGreaterThan(5);
  expect(heard).toEqual(['started', ...tokensFrom(0, again - 1), 'started', ...tokensFrom(0), 'finished']);
  peer().send(resume(TOKENS.length));
  await clock.advance(50);
  expect(about(peer().got).slice(heard.length)).toEqual(['started', 'finished']);
  const [first, second] = got('answer.finished');
  expect(second).toEqual(first);
});

test('a failure is kept as an end is', async () => {
  const { agent, ask, clock, come, hub, peer } = await warmWorld();
  ask();
  await clock.advance(200);
  hub.behave({ unreachable: true });
  peer().link?.cut('a test');
  await clock.advance(10);
  agent.pause('lunch');
  await come();
  expect(agent.state().answering).toBe(0);
  peer().send(resume(3));
  await clock.advance(50);
  const said = about(peer().got);
  expect([said[0], said[1], said.at(-1)]).toEqual(['started', ...tokensFrom(3, 4), 'failed']);
});

test.each([
  ['another lease', resume(0, { lease: 'att_9' }), false],
  ['an older epoch', resume(0, { epoch: 1 }), false],
  ['a newer epoch', resume(0, { epoch: 3 }), false],
  ['tokens that are yet to come', resume(51, { epoch: 2 }), true],
  ['tokens from before this attempt', resume(4, { epoch: 2 }), true],
])('a resume of %s is answered with lease_unknown', async (_what, message, ends) => {
  const { agent, ask, clock, come, got, peer } = await warmWorld();
  ask({ epoch: 2, work: { ...WORK, tokens: TOKENS.slice(0, 5) } });
  await clock.advance(100);
  await come();
  peer().send(message);
  await clock.advance(20);
  const { lease, epoch } = message as { lease: string; epoch: number };
  expect(got('answer.failed')).toMatchObject([{ lease, epoch, code: 'lease_unknown' }]);
  expect(got('answer.failed')[0]?.message).toContain(lease);
  expect(agent.state().answering).toBe(0);
  peer().send(resume(5, { epoch: 2 }));
  await clock.advance(20);
  expect(got('answer.failed')).toHaveLength(ends ? 2 : 1);
});

test.each(['answer.kept', 'cancel'] as const)('after %s nothing is left of it', async (t) => {
  const { ask, clock, come, got, peer } = await warmWorld();
  ask();
  await clock.advance(WHOLE_MS);
  expect(got('answer.finished')).toHaveLength(1);
  peer().send({ t, lease: 'att_1', epoch: 2 });
  await clock.advance(20);
  peer().send(resume(40));
  await clock.advance(20);
  expect(got('answer.finished')).toHaveLength(2);
  peer().send({ t, lease: 'att_1', epoch: 1 });
  await clock.advance(20);
  peer().send(resume(0));
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ code: 'lease_unknown' }]);
  await come();
  expect(peer().device?.proof.status.attempts).toBeUndefined();
});

test('an ended answer is kept for a while and no longer', async () => {
  const { ask, clock, got, peer } = await warmWorld();
  ask();
  await clock.advance(WHOLE_MS);
  await clock.advance(AGENT_LIMITS.keptAttemptMs - 1_000);
  peer().send(resume(49));
  await clock.advance(20);
  expect(got('answer.finished')).toHaveLength(2);
  await clock.advance(1_000);
  peer().send(resume(49));
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ code: 'lease_unknown' }]);
});

test('an answer that no session claims is dropped, and takes its slot until then', async () => {
  const { agent, ask, clock, come, engineHost, model, peer, got } = await warmWorld({ engine: { tokensPerSecond: 1 } });
  ask();
  await clock.advance(500);
  await come();
  for (const lease of ['a', 'b']) ask({ lease });
  await clock.advance(50);
  expect(got('answer.failed').map(({ lease, code }) => [lease, code])).toEqual([['b', 'device_full']]);
  await clock.advance(AGENT_LIMITS.orphanedAttemptMs - 2_000);
  expect(engineHost.engines.get(model)?.answering()).toBe(2);
  await clock.advance(3_000);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  expect(agent.state().answering).toBe(1);
  expect(peer().closed).toBeUndefined();
});

test('without any session it is dropped as well', async () => {
  const { ask, clock, engineHost, hub, model, peer } = await warmWorld({ engine: { tokensPerSecond: 1 } });
  ask();
  await clock.advance(500);
  hub.behave({ unreachable: true });
  peer().link?.cut('a test');
  await clock.advance(AGENT_LIMITS.orphanedAttemptMs - 500);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  await clock.advance(600);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
});

test('a hub that does not resume finds nothing of earlier sessions running', async () => {
  const { ask, clock, come, engineHost, got, model, peer } = await warmWorld();
  ask();
  await clock.advance(100);
  await come(false);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
  // What it orders itself ends with its channel, as it expects, and is not kept.
  ask({ lease: 'att_2' });
  await clock.advance(WHOLE_MS);
  expect(got('answer.finished')).toHaveLength(1);
  peer().send(resume(0, { lease: 'att_2' }));
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ lease: 'att_2', code: 'lease_unknown' }]);
  ask({ lease: 'att_3' });
  await clock.advance(100);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  peer().link?.cut('a test');
  await clock.advance(10);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
});

test('an answer for which nobody would come ends with its channel, and is not kept', async () => {
  const { ask, clock, come, engineHost, got, model, peer } = await warmWorld({ engine: { tokensPerSecond: 25 } });
  ask({ keep: undefined });
  ask({ lease: 'att_2' });
  await clock.advance(200);
  await come();
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  expect(peer().device?.proof.status.attempts).toMatchObject([{ lease: 'att_2' }]);
  ask({ lease: 'att_3', keep: false });
  await clock.advance(6_000);
  expect(got('answer.finished')).toHaveLength(1);
  peer().send(resume(0, { lease: 'att_3' }));
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ lease: 'att_3', code: 'lease_unknown' }]);
});

test('a newer epoch of a kept lease replaces it', async () => {
  const { ask, clock, got, peer } = await warmWorld();
  ask();
  await clock.advance(WHOLE_MS);
  ask({ epoch: 2, work: { ...WORK, tokens: TOKENS.slice(0, 45) } });
  await clock.advance(WHOLE_MS);
  peer().send(resume(0));
  await clock.advance(20);
  expect(got('answer.failed')).toMatchObject([{ epoch: 1, code: 'lease_unknown' }]);
  peer().send(resume(48, { epoch: 2 }));
  await clock.advance(20);
  expect(about(peer().got).slice(-4)).toEqual(['started', ...tokensFrom(48), 'finished']);
});

test('being revoked or stopped ends what no channel carries', async () => {
  for (const how of ['revoked', 'stopped'] as const) {
    const { agent, ask, clock, engineHost, hub, peer } = await warmWorld({ engine: { tokensPerSecond: 1 } });
    ask();
    await clock.advance(500);
    hub.behave({ insteadOfWelcome: { t: 'refused', code: 'device_revoked', message: 'no' } });
    peer().link?.cut('a test');
    await clock.advance(5);
    const stopped = how === 'stopped' ? agent.stop() : undefined;
    await clock.advance(BACK_MS);
    await stopped;
    expect((await agent.ended)?.code).toBe(how === 'revoked' ? 'device_revoked' : undefined);
    expect(engineHost.engines.size).toBe(0);
    expect(clock.nextInMs()).toBeUndefined();
  }
});

test('what is said again waits for the channel, in order before what is new', async () => {
  let unread = 0;
  const { ask, clock, come, peer } = await warmWorld({ engine: { tokensPerSecond: 25 } }, (transport) => ({
    dial: async (url, options) => ({ ...(await transport.dial(url, options)), bufferedBytes: () => unread }),
  }));
  ask();
  await clock.advance(200);
  await come();
  unread = AGENT_LIMITS.replayBacklogBytesMax + 1;
  peer().send(resume(0));
  await clock.advance(200);
  expect(about(peer().got)).toEqual([]);
  unread = 0;
  await clock.advance(50);
  expect(about(peer().got).length).toBeGreaterThan(5);
  await clock.advance(3_000);
  expect(about(peer().got)).toEqual(['started', ...tokensFrom(0), 'finished']);
});
