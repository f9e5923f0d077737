/** Claims about requests that come again under an Idempotency-Key, over a real door with scripted devices. */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AnswerWork } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import OpenAI, { ConflictError, InternalServerError } from 'openai';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../db/open.ts';
import { createMemorySecrets } from '../../identity/secrets.ts';
import type { ScriptedDevice } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';

let door: TestDoor;
let device: ScriptedDevice;
let asked: AnswerWork[];
beforeAll(async () => {
  door = await openTestDoor('jacobean');
});
afterAll(() => door.close());
beforeEach(async () => {
  await door.empty();
  asked = [];
  device = await door.join((work) => {
    asked.push(work);
    return { tokens: ['Good', ' morrow ', String(asked.length)] };
  });
});

const chat = { model: 'jacobean', messages: [{ role: 'user' as const, content: 'Speak.' }] };
const post = (body: object, headers: Record<string, string>, more: RequestInit = {}): Promise<Response> =>
  fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    ...more,
  });
let names = 0;
const freshName = (): string => `name-${++names}`;
const under = (name: string): Record<string, string> => ({ 'idempotency-key': name });
/** Holds every order back until it is told to go on: first a token each, then the rest. */
function byHand(): { begun: Promise<void>; cancelled: Promise<void>; end(): void } {
  const begun = Promise.withResolvers<void>();
  const cancelled = Promise.withResolvers<void>();
  let end = (): void => {};
  device.onMessage = (message) => {
    if (message.t === 'cancel') cancelled.resolve();
    if (message.t !== 'answer') return;
    asked.push(message.work);
    const { lease, epoch } = message;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 7 });
    device.send({ t: 'answer.token', lease, epoch, i: 0, id: 0, s: 'Good' });
    begun.resolve();
    end = () => {
      device.send({ t: 'answer.token', lease, epoch, i: 1, id: 1, s: ' night' });
      const receipt = new Uint8Array(1);
      const counts = { promptTokens: 7, answerTokens: 2 };
      device.send({ t: 'answer.finished', lease, epoch, finish: 'stop', s: '', ...counts, receipt });
    };
  };
  return { begun: begun.promise, cancelled: cancelled.promise, end: () => end() };
}

test('the same request under the same name gets the same answer, and is made once', async () => {
  for (const stream of [false, true]) {
    const name = freshName();
    const before = asked.length;
    const first = await post({ ...chat, stream }, under(name));
    const again = await post({ ...chat, stream }, under(name));
    expect([first.status, again.status]).toEqual([200, 200]);
    expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'));
    expect(await again.text()).toBe(await first.text());
    expect(first.headers.get('idempotent-replayed')).toBeNull();
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(again.headers.get('x-request-id')).not.toBe(first.headers.get('x-request-id'));
    expect(asked.length - before).toBe(1);
  }
});

test('another name, another key and no name are other requests', async () => {
  const other = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'caller', actor: 'test' });
  const name = freshName();
  for (const headers of [
    under(name),
    under(freshName()),
    { ...under(name), authorization: `Bearer ${other.key}` },
    {},
    {},
  ]) {
    await (await post(chat, headers)).text();
  }
  expect(asked).toHaveLength(5);
});

test('the same name with another body, or on another route, is a conflict that no client tries again', async () => {
  const name = freshName();
  await (await post(chat, under(name))).text();
  const openai = new OpenAI({ apiKey: door.key, baseURL: `${door.url}/v1`, maxRetries: 3 });
  const options = { headers: under(name) };
  for (const asking of [
    openai.chat.completions.create({ ...chat, temperature: 0.5 }, options),
    openai.chat.completions.create({ ...chat, stream: true }, options),
    openai.completions.create({ model: 'jacobean', prompt: 'Speak.' }, options),
  ]) {
    const refused: unknown = await asking.catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ConflictError);
    expect(refused).toMatchObject({ code: 'idempotency_conflict', param: 'Idempotency-Key' });
    expect((refused as ConflictError).headers.get('x-should-retry')).toBe('false');
  }
  // White space is not another body.
  const spaced = await fetch(`${door.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${door.key}`, 'content-type': 'application/json', ...under(name) },
    body: JSON.stringify(chat, null, 2),
  });
  expect(spaced.status).toBe(200);
  expect(asked).toHaveLength(1);
});

test('who asks while it runs joins: a stream comes from its first token and goes on', async () => {
  const hand = byHand();
  const name = freshName();
  const first = await post({ ...chat, stream: true }, under(name));
  await hand.begun;
  const second = await post({ ...chat, stream: true }, under(name));
  const reader = (second.body as ReadableStream<Uint8Array>).getReader();
  let heard = '';
  while (!heard.includes('Good')) heard += new TextDecoder().decode((await reader.read()).value);
  expect(heard).not.toContain('night');
  const conflict = await post({ ...chat, stream: true, seed: 3 }, under(name));
  expect(conflict.status).toBe(409);
  hand.end();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    heard += new TextDecoder().decode(value);
  }
  expect(heard).toBe(await first.text());
  expect(heard).toMatch(/Good.*night.*\[DONE\]/s);
  expect(asked).toHaveLength(1);
});

test('many who ask the same at once get one answer', async () => {
  const name = freshName();
  const texts = await Promise.all(Array.from({ length: 20 }, async () => (await post(chat, under(name))).text()));
  expect(new Set(texts).size).toBe(1);
  expect(asked).toHaveLength(1);
});

test('a caller that hangs up and comes again gets the answer that went on', async () => {
  for (const stream of [true, false]) {
    const hand = byHand();
    const name = freshName();
    const before = asked.length;
    const abort = new AbortController();
    const first = post({ ...chat, stream }, under(name), { signal: abort.signal });
    first.catch(() => {});
    await hand.begun;
    abort.abort();
    await first.catch(() => {});
    hand.end();
    const again = await post({ ...chat, stream }, under(name));
    expect(await again.text()).toMatch(/Good.*night/s);
    expect(asked.length - before).toBe(1);
  }
});

const cancel = (name: string, key = door.key): Promise<Response> =>
  fetch(`${door.url}/v1/answers/${encodeURIComponent(name)}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${key}` },
  });

test('a run that is given up is cancelled on its device, streamed or whole, by its own key alone', async () => {
  const other = await door.hub.keys.create({ territory: door.hub.territory.id, role: 'caller', actor: 'test' });
  for (const stream of [true, false]) {
    const hand = byHand();
    const name = `${freshName()} / with what URLs write otherwise`;
    const abort = new AbortController();
    const first = post({ ...chat, stream }, under(name), { signal: abort.signal });
    await hand.begun;
    expect((await cancel(name, other.key)).status).toBe(404);
    expect(door.hub.answers.counts().open).toBe(1);
    expect((await cancel(name)).status).toBe(204);
    await hand.cancelled;
    await expect.poll(() => door.hub.answers.counts().open).toBe(0);
    abort.abort();
    await first.then(
      (response) => response.text().catch(() => 'broken off'),
      () => 'broken off',
    );
    await expect.poll(async () => (await cancel(name)).status).toBe(404);
  }
});

test('what failed in a way that may pass is tried anew', async () => {
  await door.empty();
  const name = freshName();
  const nobody = await post(chat, under(name));
  expect(nobody.status).toBe(503);
  expect(nobody.headers.get('retry-after')).toBe('10');
  device = await door.join(() => ({ tokens: ['Well'] }));
  expect(await (await post(chat, under(name))).text()).toContain('Well');
});

test('a stream that ended in an error is tried anew', async () => {
  const name = freshName();
  device.onMessage = (message) => {
    if (message.t !== 'answer') return;
    const { lease, epoch } = message;
    device.send({ t: 'answer.started', lease, epoch, promptTokens: 1 });
    device.send({ t: 'answer.token', lease, epoch, i: 0, id: 0, s: 'Go' });
    const why = { code: 'context_length_exceeded', message: 'it does not fit' };
    device.send({ t: 'answer.failed', lease, epoch, ...why });
  };
  expect(await (await post({ ...chat, stream: true }, under(name))).text()).toContain('attempts_exhausted');
  await door.empty();
  device = await door.join(() => ({ tokens: ['Well'] }));
  const again = await post({ ...chat, stream: true }, under(name));
  expect(await again.text()).toContain('Well');
  expect(again.headers.get('idempotent-replayed')).toBeNull();
});

test("a repeat costs nothing: not of the key's limit, and not in its usage", async () => {
  const limits = { requestsPerMinute: 10, tokensPerMinute: 10_000 };
  const order = { territory: door.hub.territory.id, role: 'caller', actor: 'test', limits } as const;
  const { key } = await door.hub.keys.create(order);
  const name = freshName();
  const headers = { ...under(name), authorization: `Bearer ${key}` };
  const first = await post(chat, headers);
  expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('9');
  await first.text();
  for (let i = 0; i < 12; i++) {
    const again = await post(chat, headers);
    expect(again.status).toBe(200);
    expect(again.headers.get('x-ratelimit-remaining-requests')).toBe('9');
    await again.text();
  }
  const usage = async (): Promise<unknown> =>
    (await fetch(`${door.url}/api/usage`, { headers: { authorization: `Bearer ${key}` } })).json();
  await expect.poll(usage).toMatchObject([{ requests: 1, promptTokens: 7, answerTokens: 3 }]);
});

test('a refusal of the limit passes through, and the retry is another try', async () => {
  const limits = { tokensPerMinute: 60_000 };
  const order = { territory: door.hub.territory.id, role: 'caller', actor: 'test', limits } as const;
  const { id, key } = await door.hub.keys.create(order);
  const name = freshName();
  await (await post(chat, { authorization: `Bearer ${key}` })).text();
  door.hub.limits.charge(id, 60_200);
  const refused = await post(chat, { ...under(name), authorization: `Bearer ${key}` });
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get('retry-after-ms'))).toBeGreaterThan(0);
  const openai = new OpenAI({ apiKey: key, baseURL: `${door.url}/v1`, maxRetries: 1 });
  const answer = await openai.chat.completions.create(chat, { headers: under(name) });
  expect(answer.choices[0]?.message.content).toMatch(/^Good morrow/);
});

test('a name that is empty or too long is refused, and a body that is wrong is so under any name', async () => {
  for (const name of ['', 'x'.repeat(256)]) {
    const refused = await post(chat, under(name));
    expect(refused.status).toBe(400);
    expect(await refused.json()).toMatchObject({ error: { param: 'Idempotency-Key' } });
  }
  expect((await post(chat, under('x'.repeat(255)))).status).toBe(200);
  expect((await post({ ...chat, temperature: 'hot' }, under(freshName()))).status).toBe(400);
  const openai = new OpenAI({ apiKey: door.key, baseURL: `${door.url}/v1`, maxRetries: 0 });
  await door.empty();
  const refused: unknown = await openai.chat.completions
    .create(chat, { headers: under(freshName()) })
    .catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(InternalServerError);
});

test('after a crash and a restart the same answer is there, and neither it nor the prompt in the clear', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-repeat-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const secrets = createMemorySecrets();
  const database = await openDatabase({ file: join(folder, 'hub.db'), clock: systemClock });
  const before = await openTestDoor('jacobean', { database, secrets });
  await before.join(() => ({ tokens: ['a-thing-that', '-nobody-shall-find'] }));
  const question = { ...chat, messages: [{ role: 'user', content: 'a-question-nobody-shall-find' }] };
  const ask = (url: string): Promise<Response> =>
    fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${before.key}`,
        'content-type': 'application/json',
        'idempotency-key': 'a-name-nobody-shall-find',
      },
      body: JSON.stringify(question),
    });
  const first = await (await ask(before.url)).text();
  const kept = (): Promise<unknown[]> => database.db.selectFrom('kept_answers').select('id').execute();
  await expect.poll(kept).toHaveLength(1);
  const found = (text: string): string[] =>
    readdirSync(folder).filter((name) => readFileSync(join(folder, name)).includes(text));
  for (const text of ['nobody-shall-find', 'that-nobody']) expect(found(text)).toEqual([]);
  // As a killed process leaves it: nothing is said, nothing is flushed.
  database.abandon();
  const reopened = await openDatabase({ file: join(folder, 'hub.db'), clock: systemClock });
  const after = await openTestDoor('jacobean', { database: reopened, secrets, key: before.key });
  onTestFinished(() => after.close());
  const again = await ask(after.url);
  expect(again.headers.get('idempotent-replayed')).toBe('true');
  expect(await again.text()).toBe(first);
});
