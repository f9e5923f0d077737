/** Claims about limits and usage of keys and about ids of requests, over a real door, with OpenAI's own client. */
import OpenAI, { RateLimitError } from 'openai';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Log } from '../../log.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { durationText } from './caller-hooks.ts';
import { estimateTokens } from './token-estimate.ts';

let door: TestDoor;
const logged: { readonly fields: Readonly<Record<string, unknown>>; readonly message: string }[] = [];
const write = (fields: Readonly<Record<string, unknown>>, message: string): void => {
  logged.push({ fields, message });
};
const log: Log = { debug: () => {}, info: write, warn: write, error: write };

beforeAll(async () => {
  door = await openTestDoor('jacobean', { log });
  await door.join(() => ({ tokens: ['Good', ' morrow'], cachedTokens: 3 }));
});
afterAll(() => door.close());
beforeEach(() => {
  logged.length = 0;
});

const chat = { model: 'jacobean', messages: [{ role: 'user' as const, content: 'Speak.' }], max_tokens: 20 };
async function keyWith(limits: object = {}): Promise<{ id: string; key: string }> {
  return door.hub.keys.create({ territory: door.hub.territory.id, role: 'caller', actor: 'test', limits });
}
const openai = (apiKey: string, maxRetries = 0): OpenAI =>
  new OpenAI({ apiKey, baseURL: `${door.url}/v1`, maxRetries });
const post = (key: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
const standing = (headers: Headers): Record<string, string> =>
  Object.fromEntries([...headers].filter(([name]) => name.startsWith('x-ratelimit-')));

test('a key without limits is told of none', async () => {
  expect(standing((await post(door.key, chat)).headers)).toEqual({});
});

test("every answer under /v1 says how the key stands, in OpenAI's headers: whole, streamed, refused", async () => {
  const { key } = await keyWith({ requestsPerMinute: 10, tokensPerMinute: 6_000 });
  const whole = await post(key, chat);
  expect(whole.status).toBe(200);
  // Two tokens of a prompt of 10 characters (role and content), and 20 of an answer.
  expect(standing(whole.headers)).toEqual({
    'x-ratelimit-limit-requests': '10',
    'x-ratelimit-remaining-requests': '9',
    'x-ratelimit-reset-requests': '6s',
    'x-ratelimit-limit-tokens': '6000',
    'x-ratelimit-remaining-tokens': '5977',
    'x-ratelimit-reset-tokens': '230ms',
  });
  const stream = await post(key, { ...chat, stream: true });
  expect(stream.headers.get('content-type')).toMatch(/event-stream/);
  expect(stream.headers.get('x-ratelimit-remaining-requests')).toBe('8');
  await stream.text();
  const malformed = await post(key, { ...chat, temperature: 'hot' });
  expect(malformed.status).toBe(400);
  expect(malformed.headers.get('x-ratelimit-remaining-requests')).toBe('7');
  const models = await fetch(`${door.url}/v1/models`, { headers: { authorization: `Bearer ${key}` } });
  expect(models.headers.get('x-ratelimit-remaining-requests')).toBe('7');
  const elsewhere = await fetch(`${door.url}/api/status`, { headers: { authorization: `Bearer ${key}` } });
  expect(standing(elsewhere.headers)).toEqual({});
});

test('over the limit there is 429 with the time to come back, and what is short of', async () => {
  const { key } = await keyWith({ requestsPerMinute: 2 });
  await post(key, chat);
  await post(key, chat);
  const refused = await post(key, chat);
  expect(refused.status).toBe(429);
  const afterMs = Number(refused.headers.get('retry-after-ms'));
  expect(afterMs).toBeGreaterThan(29_000);
  expect(afterMs).toBeLessThanOrEqual(30_000);
  expect(refused.headers.get('retry-after')).toBe(String(Math.ceil(afterMs / 1_000)));
  expect(standing(refused.headers)).toMatchObject({ 'x-ratelimit-remaining-requests': '0' });
  const { error } = (await refused.json()) as { error: object };
  expect(error).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded', param: null });
  await expect(openai(key).chat.completions.create(chat)).rejects.toBeInstanceOf(RateLimitError);
});

test("OpenAI's own client waits as it is told, and succeeds", async () => {
  const { id, key } = await keyWith({ tokensPerMinute: 60_000 });
  expect((await post(key, chat)).status).toBe(200);
  // As if it had used all of it, and a fifth of a second of what is to come.
  door.hub.limits.charge(id, 60_200);
  await expect(openai(key).chat.completions.create(chat)).rejects.toMatchObject({
    type: 'tokens',
    code: 'rate_limit_exceeded',
  });
  const answer = await openai(key, 1).chat.completions.create(chat);
  expect(answer.choices[0]?.message.content).toBe('Good morrow');
});

test('an answer costs what it used, not what it might have had, whole and streamed', async () => {
  const limits = { tokensPerMinute: 140_000 };
  const { id, key } = await keyWith(limits);
  const remaining = async () => (await door.hub.limits.standing({ keyId: id, ...limits })).tokens?.remaining ?? 0;
  const greedy = { ...chat, max_tokens: 130_000 };
  const client = openai(key);
  const ask = [
    async () => client.chat.completions.create(greedy),
    async () => {
      for await (const _ of await client.chat.completions.create({ ...greedy, stream: true }));
    },
    async () => client.chat.completions.create(greedy),
  ];
  for (const one of ask) {
    await one();
    await expect.poll(remaining).toBeGreaterThan(139_900);
  }
  // 7 tokens of the prompt and 2 of the answer: there is no room left for what came in between.
  door.hub.limits.charge(id, 139_990);
  await expect(client.chat.completions.create(greedy)).rejects.toMatchObject({ status: 429 });
});

test('what usage sums is what the client was told, for whole answers, streams and several choices', async () => {
  const { id, key } = await keyWith();
  const told = { requests: 0, promptTokens: 0, cachedTokens: 0, answerTokens: 0 };
  const add = (usage: OpenAI.CompletionUsage | null | undefined): void => {
    told.requests++;
    told.promptTokens += usage?.prompt_tokens ?? 0;
    told.cachedTokens += usage?.prompt_tokens_details?.cached_tokens ?? 0;
    told.answerTokens += usage?.completion_tokens ?? 0;
  };
  const client = openai(key);
  add((await client.chat.completions.create(chat)).usage);
  add((await client.chat.completions.create({ ...chat, n: 3 })).usage);
  add((await client.completions.create({ model: 'jacobean', prompt: 'x' })).usage);
  const options = { stream: true, stream_options: { include_usage: true } } as const;
  for await (const chunk of await client.chat.completions.create({ ...chat, ...options }))
    if (chunk.usage !== undefined && chunk.usage !== null) add(chunk.usage);
  expect(told).toEqual({ requests: 4, promptTokens: 28, cachedTokens: 12, answerTokens: 12 });
  const usage = async (): Promise<object[]> => {
    const response = await fetch(`${door.url}/api/usage`, { headers: { authorization: `Bearer ${key}` } });
    return (await response.json()) as object[];
  };
  await expect.poll(usage).toMatchObject([{ key: id, model: 'jacobean', failed: 0, cancelled: 0, ...told }]);
});

test('an answer that its caller cut off counts with the tokens that were made', async () => {
  const { key } = await keyWith();
  await door.empty();
  const device = await door.join();
  device.onMessage = (message) => {
    if (message.t !== 'answer') return;
    const { lease, epoch } = message;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 9 });
    for (const i of [0, 1]) device.send({ t: 'answer.token', lease, epoch, i, id: i, s: 'a' });
  };
  const stream = await openai(key).chat.completions.create({ ...chat, stream: true });
  let pieces = 0;
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content === 'a' && ++pieces === 2) break;
  const usage = async (): Promise<unknown> =>
    (await fetch(`${door.url}/api/usage`, { headers: { authorization: `Bearer ${key}` } })).json();
  await expect
    .poll(usage)
    .toMatchObject([{ requests: 1, cancelled: 1, failed: 0, promptTokens: 9, answerTokens: 2, cachedTokens: 0 }]);
  await door.empty();
  await door.join(() => ({ tokens: ['Good', ' morrow'] }));
});

test("a caller sees its own usage, a steward everybody's, and a day or a key or a model of it", async () => {
  const [one, other] = [await keyWith(), await keyWith()];
  for (const { key } of [one, other]) await openai(key).chat.completions.create(chat);
  const steward = (
    await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test', name: 'S' })
  ).key;
  const keysIn = async (asker: string, query = ''): Promise<string[]> => {
    const headers = { authorization: `Bearer ${asker}` };
    const rows = (await (await fetch(`${door.url}/api/usage${query}`, { headers })).json()) as { key: string }[];
    return rows.map((row) => row.key);
  };
  await expect.poll(() => keysIn(steward)).toEqual(expect.arrayContaining([one.id, other.id]));
  await expect.poll(() => keysIn(one.key)).toEqual([one.id]);
  expect(await keysIn(steward, `?key=${other.id}`)).toEqual([other.id]);
  expect(await keysIn(one.key, `?key=${one.id}&model=jacobean`)).toEqual([one.id]);
  expect(await keysIn(one.key, '?from=2001-01-01&to=2001-02-01')).toEqual([]);
  const peeking = await fetch(`${door.url}/api/usage?key=${other.id}`, {
    headers: { authorization: `Bearer ${one.key}` },
  });
  expect(peeking.status).toBe(403);
  const nonsense = await fetch(`${door.url}/api/usage?from=yesterday`, {
    headers: { authorization: `Bearer ${one.key}` },
  });
  expect(nonsense.status).toBe(400);
});

test('a steward limits a key, sees it in the list, and it holds from the next request on', async () => {
  const { id, key } = await keyWith();
  const steward = (await door.hub.keys.create({ territory: door.hub.territory.id, role: 'steward', actor: 'test' }))
    .key;
  const patch = (asker: string, body: object, of = id): Promise<Response> =>
    fetch(`${door.url}/api/keys/${of}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${asker}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  expect((await post(key, chat)).status).toBe(200);
  expect((await patch(key, { requestsPerMinute: 1_000 })).status).toBe(403);
  const limited = await patch(steward, { requestsPerMinute: 1, tokensPerMinute: 'none' });
  expect(await limited.json()).toMatchObject({ id, requestsPerMinute: 1, tokensPerMinute: 'none' });
  expect((await post(key, chat)).status).toBe(200);
  expect((await post(key, chat)).status).toBe(429);
  const list = (await (
    await fetch(`${door.url}/api/keys`, { headers: { authorization: `Bearer ${steward}` } })
  ).json()) as { id: string }[];
  expect(list.find((entry) => entry.id === id)).toMatchObject({ requestsPerMinute: 1, tokensPerMinute: 'none' });
  await patch(steward, { requestsPerMinute: 'default' });
  expect((await post(key, chat)).status).toBe(200);
  expect((await patch(steward, {})).status).toBe(400);
  expect((await patch(steward, { requestsPerMinute: 0 })).status).toBe(400);
  expect((await patch(steward, { requestsPerMinute: 1 }, 'key_nobody')).status).toBe(404);
});

test("a caller's own id of a request stands in the log beside ours, and one that is none is refused", async () => {
  const response = await post(door.key, chat, { 'x-client-request-id': 'ticket 7/a' });
  await response.text();
  const ours = response.headers.get('x-request-id');
  await expect
    .poll(() => logged.map(({ fields }) => fields))
    .toContainEqual(
      expect.objectContaining({
        request: ours,
        clientRequest: 'ticket 7/a',
        route: 'POST /v1/chat/completions',
        status: 200,
      }),
    );
  for (const id of ['x'.repeat(513), 'caf\u00e9']) {
    const refused = await post(door.key, chat, { 'x-client-request-id': id });
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: 'X-Client-Request-Id' } });
  }
  expect((await post(door.key, chat, { 'x-client-request-id': 'x'.repeat(512) })).status).toBe(200);
});

test('every response has an id of ours: streams, refusals and what is not there', async () => {
  const ids = await Promise.all(
    [
      post(door.key, { ...chat, stream: true }),
      post(door.key, { nonsense: 1 }),
      post('iw_wrong', chat),
      fetch(`${door.url}/nowhere`, { headers: { authorization: `Bearer ${door.key}` } }),
      fetch(`${door.url}/healthz`),
    ].map(async (asked) => {
      const response = await asked;
      await response.text();
      return response.headers.get('x-request-id');
    }),
  );
  for (const id of ids) expect(id).toMatch(/^req_[a-z2-7]{26}$/);
  expect(new Set(ids).size).toBe(ids.length);
});

test.each([
  [0, '0s'],
  [0.2, '1ms'],
  [20, '20ms'],
  [999.5, '1s'],
  [8_640, '8.64s'],
  [60_000, '1m0s'],
  [86_400, '1m26.4s'],
  [360_000, '6m0s'],
  [3_600_000, '1h0m0s'],
])('%d ms is written %s', (ms, text) => {
  expect(durationText(ms)).toBe(text);
});

test('a request is taken for the texts of its prompt and the most that it lets its answers have', () => {
  const path = '/v1/completions';
  expect(estimateTokens(path, { prompt: 'x'.repeat(40), max_tokens: 5 })).toBe(15);
  expect(estimateTokens(path, { prompt: 'x'.repeat(40), max_tokens: 5, n: 3 })).toBe(25);
  expect(estimateTokens(path, { prompt: ['x'.repeat(20), 'x'.repeat(20)], max_tokens: 5 })).toBe(20);
  expect(estimateTokens('/v1/responses', { input: 'x'.repeat(40), max_output_tokens: 7 })).toBe(17);
  expect(estimateTokens('/v1/embeddings', { input: ['x'.repeat(40), 'x'.repeat(40)] })).toBe(20);
  expect(estimateTokens(path, { prompt: [1, 2, 3], max_tokens: 1 })).toBe(4);
  for (const body of [undefined, null, 'text', [], {}, { n: -1, max_tokens: 'many' }, { prompt: null }])
    expect(estimateTokens(path, body)).toBeLessThanOrEqual(200);
  const deep = JSON.parse(`${'['.repeat(100_000)}"abcd"${']'.repeat(100_000)}`) as unknown;
  expect(estimateTokens(path, { messages: deep, max_tokens: 1 })).toBe(2);
});
