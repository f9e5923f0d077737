/** Claims about vectors and labels of texts, made with OpenAI's own client, a real hub and two real devices. */
import { join } from 'node:path';
import { createClient } from '@idlewild/client';
import { writeEncoderFolder, type TestEncoder } from '@idlewild/graph/testing';
import OpenAI, { BadRequestError } from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createWorld, MODEL, type DeviceProcess, type HubProcess, type World } from './world.ts';
import { until } from './processes/child.ts';

const SHAPE = { vocab: 1_200, width: 256, layers: 4, heads: 8, feedForward: 768, context: 256 };
const ENCODER: TestEncoder = { shape: SHAPE, seed: 21, pooling: 'mean', matryoshka: [64, 256] };
const CLASSIFIER: TestEncoder = {
  shape: { ...SHAPE, layers: 2, labels: 3 },
  seed: 22,
  labels: ['dull', 'merry', 'mad'],
};
const WORDS = 'shall i compare thee to a summer day thou art more lovely and more temperate'.split(' ');
const TEXTS = Array.from({ length: 300 }, (_, i) =>
  Array.from({ length: 8 + ((i * 7) % 33) }, (__, j) => WORDS[(i * 5 + j * 3 + (i >> 3)) % WORDS.length]).join(' '),
);

interface Note {
  readonly idlewild: { readonly devices: string[]; readonly failovers: number };
}

let world: World;
let hub: HubProcess;
let key: string;
let openai: OpenAI;
const devices = new Map<string, DeviceProcess>();
/** What nobody disturbed. */
let whole: number[][];

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  for (const [name, encoder] of [
    ['minilm', ENCODER],
    ['mood', CLASSIFIER],
  ] as const) {
    writeEncoderFolder(join(world.folder, name), encoder);
    const adding = world.idlewild(hub, ['models', 'add', join(world.folder, name)]);
    if ((await adding.ended).code !== 0) throw new Error(`publishing ${name} failed: ${adding.said()}`);
  }
  await world.publish(hub);
  ({ key } = await hub.client.keys.create({ role: 'caller' }));
  openai = new OpenAI({ apiKey: key, baseURL: `${hub.url}/v1`, maxRetries: 0 });
  await Promise.all(['ada', 'bea'].map((name) => start(name)));
  whole = (await embed()).vectors;
});
afterAll(() => world.end());

async function start(name: string): Promise<void> {
  devices.set(name, await world.startDevice(hub, name));
  const holdsAll = async (): Promise<boolean> =>
    (await hub.client.devices.list()).some((device) => device.name === name && device.models.length === 3);
  await until(holdsAll, `${name} holding all models`);
}

async function embed(
  input: string | string[] = TEXTS,
  more: Partial<OpenAI.EmbeddingCreateParams> = {},
): Promise<{ vectors: number[][]; answer: OpenAI.CreateEmbeddingResponse & Note }> {
  const answer = (await openai.embeddings.create({
    model: 'minilm',
    input,
    ...more,
  })) as OpenAI.CreateEmbeddingResponse & Note;
  expect(answer.data.map(({ index }) => index)).toEqual(answer.data.map((_, i) => i));
  return { vectors: answer.data.map(({ embedding }) => embedding), answer };
}

test('300 texts are shared by two devices; as base64, as numbers and alone they are the same vectors', async () => {
  const { vectors, answer } = await embed();
  expect(vectors).toEqual(whole);
  expect(answer).toMatchObject({ object: 'list', model: 'minilm', idlewild: { failovers: 0 } });
  expect(answer.idlewild.devices.toSorted()).toEqual(['ada', 'bea']);
  expect(answer.usage.prompt_tokens).toBeGreaterThan(300 * 10);
  expect(answer.usage.total_tokens).toBe(answer.usage.prompt_tokens);
  expect(new Set(vectors.map((vector) => vector.join())).size).toBeGreaterThan(200);
  for (const vector of vectors) expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
  const numbers = await embed(TEXTS.slice(0, 40), { encoding_format: 'float' });
  expect(numbers.vectors).toEqual(whole.slice(0, 40));
  const alone = await embed(TEXTS.slice(7, 8));
  expect(alone.vectors).toEqual([whole[7]]);
});

test('whatever else runs, the vectors are the same to the last bit', async () => {
  const chat = openai.completions.create({ model: MODEL, prompt: 'Once more', max_tokens: 60, seed: 3 });
  const [all, backwards] = await Promise.all([embed(), embed(TEXTS.toReversed()), chat]);
  expect(all.vectors).toEqual(whole);
  expect(backwards.vectors.toReversed()).toEqual(whole);
});

test('one of two devices is killed in the middle, and the vectors are those that nobody disturbed', async () => {
  const asked = embed();
  const victim = devices.get('bea') as DeviceProcess;
  const isBusy = async (): Promise<boolean> =>
    (await hub.client.devices.list()).every((device) => device.active > 0) &&
    (await hub.client.devices.list()).length === 2;
  await until(isBusy, 'both devices having parts');
  await victim.kill();
  const { vectors, answer } = await asked;
  expect(vectors).toEqual(whole);
  expect(answer.idlewild.failovers).toBeGreaterThan(0);
  expect(answer.idlewild.devices.toSorted()).toEqual(['ada', 'bea']);
  await start('bea');
});

test('a vector is cut where the model allows it, and is of length 1 again', async () => {
  const { vectors } = await embed(TEXTS.slice(0, 2), { dimensions: 64 });
  for (const [i, vector] of vectors.entries()) {
    expect(vector).toHaveLength(64);
    const head = whole[i]?.slice(0, 64) ?? [];
    const norm = Math.hypot(...head);
    for (const [j, value] of vector.entries()) expect(value).toBeCloseTo((head[j] as number) / norm, 6);
  }
  const refused = await embed('a', { dimensions: 65 }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(BadRequestError);
  expect(refused).toMatchObject({ param: 'dimensions', message: expect.stringContaining('64, 256') as string });
});

test('what cannot be embedded is refused with the number of the text, or the name of the model', async () => {
  const caught = (work: Promise<unknown>): Promise<unknown> => work.catch((error: unknown) => error);
  const long = await caught(embed([...TEXTS.slice(0, 50), 'word '.repeat(400)]));
  expect(long).toBeInstanceOf(BadRequestError);
  expect(long).toMatchObject({
    code: 'context_length_exceeded',
    message: expect.stringContaining('input 50') as string,
  });
  const decoder = await caught(openai.embeddings.create({ model: MODEL, input: 'a' }));
  expect(decoder).toMatchObject({ status: 400, message: expect.stringContaining('needs an encoder') as string });
  const tokens = await caught(openai.embeddings.create({ model: 'minilm', input: [1, 2, 3] }));
  expect(tokens).toMatchObject({ status: 400, code: 'unsupported_field', param: 'input' });
  const chat = await caught(
    openai.chat.completions.create({ model: 'minilm', messages: [{ role: 'user', content: 'a' }] }),
  );
  expect(chat).toMatchObject({ status: 400, message: expect.stringContaining('makes no text') as string });
});

test('a classifier says which label fits a text', async () => {
  const answer = await openai.post<{ data: { index: number; label: string; probs: number[]; num_classes: number }[] }>(
    '/classify',
    { body: { model: 'mood', input: TEXTS.slice(0, 20) } },
  );
  expect(answer.data).toHaveLength(20);
  for (const { label, probs, num_classes: classes } of answer.data) {
    expect(classes).toBe(3);
    expect(probs.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 5);
    expect(label).toBe(['dull', 'merry', 'mad'][probs.indexOf(Math.max(...probs))]);
  }
});

test('the command line makes vectors and labels, as lines for people and as JSON for scripts', async () => {
  const asJson = world.idlewild(hub, ['embed', 'minilm', TEXTS[0] as string, TEXTS[1] as string]);
  await asJson.ended;
  const [line] = asJson.lines as unknown as [{ vectors: number[][]; usage: object }];
  expect(line.vectors).toEqual(whole.slice(0, 2));
  const labels = world.idlewild(hub, ['classify', 'mood', 'I am the merriest of men']);
  expect((await labels.ended).code).toBe(0);
  expect(labels.lines[0]).toMatchObject({ model: 'mood', labels: [{ probs: expect.any(Array) as number[] }] });
});

test('of models of several kinds the one that makes text is asked where none is named', async () => {
  const chat = world.idlewild(hub, ['chat', '--max-tokens', '3', 'What news?']);
  expect({ code: (await chat.ended).code, said: chat.said() }).toMatchObject({ code: 0 });
  expect(chat.lines[0]).toMatchObject({ finish: 'length' });
});

test('a device is told at the speed of its decoder, whatever else it has loaded first', async () => {
  const whole = (await hub.client.devices.list()).filter(({ models }) => models.length === 3);
  expect(whole).not.toEqual([]);
  for (const { tokensPerSecond } of whole) expect(tokensPerSecond).toBeGreaterThan(0);
});

test('what was used is written to the key that asked, and of its texts nothing', async () => {
  const rows = await createClient({ hub: hub.url, key }).requests.list();
  expect(rows.filter(({ state, promptTokens }) => state === 'done' && (promptTokens ?? 0) > 3_000).length).toBe(5);
  expect(rows.every(({ answerTokens }) => (answerTokens ?? 0) <= 60)).toBe(true);
});
