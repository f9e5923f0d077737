/** Claims about vectors of texts in the lane: the same guard, slots and ends as answers. */
import type { ToDevice } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { createFixture, putModel, type Fixture } from '../../node/testing/fixture.ts';
import { simulatedVector } from '../../testing/simulated-engine.ts';
import { exampleAnswer } from '../../testing/example-answer.ts';

type Embed = Extract<ToDevice, { t: 'embed' }>;
const TEXTS = ['one', 'two words', ''];
const ask = (model: string, change: Partial<Embed> = {}): Embed => ({
  t: 'embed',
  lease: 'att_1',
  epoch: 1,
  model,
  work: { kind: 'embed', inputs: TEXTS },
  deadlineMs: 60_000,
  ...change,
});
const long = (characters: number): Embed['work'] => ({ kind: 'embed', inputs: ['x'.repeat(characters)] });

async function warmFixture(...options: Parameters<typeof createFixture>): Promise<Fixture & { model: string }> {
  const fixture = await createFixture(...options);
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  return { ...fixture, model };
}

const floatAt = (bytes: Uint8Array, at: number): number => new DataView(bytes.slice().buffer).getFloat32(at, true);
const bytesOf = (text: string): Uint8Array => new Uint8Array(simulatedVector(text).buffer);

test('vectors come in one event, in the order of their texts, as float32 in little-endian bytes', async () => {
  const { clock, got, model, peer } = await warmFixture();
  peer().send(ask(model));
  await clock.advance(1_000);
  expect(got('embed.done')).toEqual([
    { t: 'embed.done', lease: 'att_1', epoch: 1, vectors: TEXTS.map(bytesOf), tokens: [1, 3, 1] },
  ]);
  expect(floatAt(got('embed.done')[0]?.vectors[1] ?? new Uint8Array(8), 4)).toBe(9);
});

test('a text that is refused is told by its number', async () => {
  const { clock, got, model, peer } = await warmFixture();
  peer().send(ask(model, { work: { kind: 'embed', inputs: ['short', 'x'.repeat(20_000)] } }));
  await clock.advance(20_000);
  expect(got('embed.failed')).toMatchObject([{ lease: 'att_1', code: 'context_length_exceeded', input: 1 }]);
});

test('texts and answers share the slots of a device, and a status counts both', async () => {
  const { agent, clock, got, model, peer } = await warmFixture();
  peer().send(ask(model, { work: long(8_000) }));
  peer().send(exampleAnswer(model, { lease: 'att_2' }));
  peer().send(ask(model, { lease: 'att_3' }));
  await clock.advance(100);
  expect(got('embed.failed')).toMatchObject([{ lease: 'att_3', code: 'device_full' }]);
  expect(agent.state()).toMatchObject({ answering: 2 });
  expect(agent.state().state).toBe('busy');
});

test('a pause, a refusal, a deadline and a death of the engine end what runs, and the hub is told why', async () => {
  const { agent, clock, engineHost, got, model, peer } = await warmFixture();
  peer().send(ask(model, { work: long(8_000) }));
  await clock.advance(50);
  agent.pause('supper');
  peer().send(ask(model, { lease: 'att_2' }));
  await clock.advance(50);
  agent.resume('supper');
  peer().send(ask(model, { lease: 'att_3', work: long(8_000), deadlineMs: 100 }));
  await clock.advance(300);
  peer().send(ask(model, { lease: 'att_4', work: long(8_000) }));
  await clock.advance(50);
  engineHost.engines.get(model)?.kill('for the test');
  peer().send(ask('bafyunknownmodel', { lease: 'att_5' }));
  await clock.advance(50);
  const codes = got('embed.failed').map(({ lease, code }) => `${lease} ${code}`);
  expect(codes.toSorted()).toEqual([
    'att_1 device_paused',
    'att_2 device_paused',
    'att_3 deadline_exceeded',
    'att_4 engine_failed',
    'att_5 model_not_ready',
  ]);
  expect(got('embed.done')).toEqual([]);
});

test('a cancel stops the engine at once, and of a repeated epoch nothing is heard', async () => {
  const { agent, clock, engineHost, got, model, peer } = await warmFixture();
  peer().send(ask(model, { work: long(8_000) }));
  await clock.advance(50);
  expect(engineHost.engines.get(model)?.answering()).toBe(1);
  peer().send({ t: 'cancel', lease: 'att_1', epoch: 1 });
  await clock.advance(50);
  expect(engineHost.engines.get(model)?.answering()).toBe(0);
  expect(agent.state().answering).toBe(0);
  peer().send(ask(model));
  await clock.advance(1_000);
  expect([...got('embed.done'), ...got('embed.failed')]).toEqual([]);
  peer().send(ask(model, { epoch: 2 }));
  await clock.advance(1_000);
  expect(got('embed.done')).toMatchObject([{ epoch: 2 }]);
});
