/** Claims about /v1/embeddings and /v1/classify over HTTP, with scripted devices behind them. */
import type { Manifest } from '@idlewild/protocol';
import { expect, onTestFinished, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { openTestDoor } from '../../testing/test-door.ts';

interface Answer {
  readonly status: number;
  readonly body: Record<string, unknown> & {
    readonly error?: { readonly code: string; readonly message: string; readonly param: string };
  };
}

/** A door whose one device gives [length, 3, 4, 12] for a text, and tokens as many as characters. */
async function open(
  manifest: Partial<Manifest>,
): Promise<(path: string, body: object, headers?: Readonly<Record<string, string>>) => Promise<Answer>> {
  const door = await openTestDoor('minilm', { manifest });
  onTestFinished(() => door.close());
  const device = await door.join(undefined, { features: ['embed'] });
  device.onMessage = (message) => {
    if (message.t !== 'embed') return;
    const { lease, epoch, work } = message;
    const vectors = work.inputs.map((text) => new Uint8Array(Float32Array.of(text.length, 3, 4, 12).buffer));
    device.send({ t: 'embed.done', lease, epoch, vectors, tokens: work.inputs.map((text) => text.length) });
  };
  return async (path, body, headers = {}) => {
    const response = await fetch(`${door.url}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ model: 'minilm', ...body }),
    });
    return { status: response.status, body: (await response.json()) as Answer['body'] };
  };
}

const ENCODER: Partial<Manifest> = { kind: 'encoder', dimensions: 4 };

test('vectors come as numbers or as base64, in order, with usage and the note of how they were made', async () => {
  const ask = await open(ENCODER);
  const one = await ask('/v1/embeddings', { input: 'abc', user: 'somebody' });
  expect(one).toMatchObject({
    status: 200,
    body: {
      object: 'list',
      model: 'minilm',
      data: [{ object: 'embedding', index: 0, embedding: [3, 3, 4, 12] }],
      usage: { prompt_tokens: 3, total_tokens: 3 },
      idlewild: { devices: ['scripted'], failovers: 0 },
    },
  });
  const input = Array.from({ length: 40 }, (_, i) => 'x'.repeat(i + 1));
  const { body } = await ask('/v1/embeddings', { input, encoding_format: 'base64' });
  const data = body['data'] as { index: number; embedding: string }[];
  const first = data.map(({ embedding }) => Buffer.from(embedding, 'base64').readFloatLE(0));
  expect(first).toEqual(input.map((text) => text.length));
  expect(data.map(({ index }) => index)).toEqual(input.map((_, i) => i));
});

test('a vector is cut, and of length 1 again, for a model that allows it; for others that is refused', async () => {
  const refused = await (await open(ENCODER))('/v1/embeddings', { input: 'abc', dimensions: 2 });
  expect(refused).toMatchObject({ status: 400, body: { error: { code: 'invalid_request', param: 'dimensions' } } });
  expect(refused.body.error?.message).toContain('cannot be cut');
  const ask = await open({ ...ENCODER, matryoshka: [3, 4] });
  const cut = await ask('/v1/embeddings', { input: 'xxxxxxxxxxxx', dimensions: 3 });
  const [{ embedding }] = cut.body['data'] as [{ embedding: number[] }];
  expect(embedding).toEqual([12 / 13, 3 / 13, 4 / 13].map(Math.fround));
  expect(await ask('/v1/embeddings', { input: 'x', dimensions: 4 })).toMatchObject({ status: 200 });
  const wrong = await ask('/v1/embeddings', { input: 'x', dimensions: 2 });
  expect(wrong.body.error?.message).toContain('can be cut to 3, 4');
});

test.each<[string, object, string]>([
  ['an empty text', { input: '' }, 'invalid_request'],
  ['an empty list', { input: [] }, 'invalid_request'],
  ['an empty text among others', { input: ['a', ''] }, 'invalid_request'],
  ['tokens', { input: [1, 2, 3] }, 'unsupported_field'],
  ['lists of tokens', { input: [[1, 2], [3]] }, 'unsupported_field'],
  ['too many texts', { input: Array<string>(HUB_LIMITS.embedInputsMax + 1).fill('a') }, 'invalid_request'],
  ['a text larger than any order', { input: 'x'.repeat(600_000) }, 'body_too_large'],
  ['another encoding', { input: 'a', encoding_format: 'hex' }, 'invalid_request'],
  ['a field that there is not', { input: 'a', truncate: true }, 'unsupported_field'],
  ['a model that there is not', { input: 'a', model: 'hamlet' }, 'model_not_found'],
])('%s is refused by name', async (_, request, code) => {
  const ask = await open(ENCODER);
  const { body } = await ask('/v1/embeddings', request);
  expect(body.error).toMatchObject({ code });
});

test('a classifier says which label fits, with the probability of each', async () => {
  const ask = await open({ kind: 'classifier', labels: ['a', 'b', 'c', 'd'] });
  expect(await ask('/v1/classify', { input: ['xyz', 'y'.repeat(20)] })).toMatchObject({
    status: 200,
    body: {
      object: 'list',
      data: [
        { index: 0, label: 'd', probs: [3, 3, 4, 12], num_classes: 4 },
        { index: 1, label: 'a', probs: [20, 3, 4, 12], num_classes: 4 },
      ],
      usage: { prompt_tokens: 23, total_tokens: 23, completion_tokens: 0 },
    },
  });
});

test('a model is asked only for what it makes', async () => {
  const told = async (manifest: Partial<Manifest>, path: string, body: object): Promise<unknown> =>
    (await (await open(manifest))(path, body)).body.error?.message;
  const input = { input: 'a' };
  expect(await told({}, '/v1/embeddings', input)).toBe('"minilm" makes text; /v1/embeddings needs an encoder');
  expect(await told(ENCODER, '/v1/classify', input)).toBe('"minilm" makes vectors; /v1/classify needs a classifier');
  const labels: Partial<Manifest> = { kind: 'classifier', labels: ['a'] };
  expect(await told(labels, '/v1/embeddings', input)).toContain('makes labels');
  expect(await told(ENCODER, '/v1/completions', { prompt: 'a' })).toContain('makes no text');
});

test('a request that comes again under its Idempotency-Key gets the same answer', async () => {
  const ask = await open(ENCODER);
  const key = { 'idempotency-key': 'twice' };
  const first = await ask('/v1/embeddings', { input: 'abc' }, key);
  expect(first.status).toBe(200);
  expect(await ask('/v1/embeddings', { input: 'abc' }, key)).toEqual(first);
});
