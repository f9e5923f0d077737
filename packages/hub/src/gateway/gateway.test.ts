/** Claims about the HTTP door, over a real server on loopback, with scripted devices behind it. */
import { equalBytes, digestTokens } from '@idlewild/protocol';
import { createMemoryBlobStore, type KeyPair } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createHub, type Hub } from '../hub.ts';
import { createMemorySecrets } from '../identity/secrets.ts';
import { joinTokenOf } from '@idlewild/protocol';
import { yieldToNode } from '@idlewild/protocol/testing';
import { silentLog } from '../log.ts';
import { aloneAt, testMetrics } from '../testing/test-door.ts';
import { publishTestModel } from '../testing/test-model.ts';
import { answerWith, joinScriptedDevice, warmModel, type ScriptedDevice } from '../testing/scripted-device.ts';
import { createHubServer } from './hub-server.ts';
import { createCarried } from './door/carried.ts';
import type { App } from './server.ts';

let database: OpenDatabase;
let hub: Hub;
let app: App;
let base: string;
let steward: string;
let caller: string;
let cid: string;

beforeAll(async () => {
  database = await openDatabase({ file: ':memory:', clock: systemClock });
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 30 });
  const metrics = testMetrics(() => hub);
  hub = await createHub({
    database,
    store,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    secrets: createMemorySecrets(),
    meter: metrics.meter,
    log: silentLog,
  });
  app = await createHubServer({
    ...aloneAt(hub, database, () => base),
    hub,
    metrics,
    clock: systemClock,
    random: nodeRandom,
    log: silentLog,
  });
  base = await app.listen({ host: '127.0.0.1', port: 0 });
  const keyOf = async (role: 'steward' | 'caller'): Promise<string> =>
    (await hub.keys.create({ territory: hub.territory.id, role, actor: 'test' })).key;
  steward = await keyOf('steward');
  caller = await keyOf('caller');
  cid = await publishTestModel(hub, store, 'jacobean');
});
afterAll(async () => {
  await hub.stop();
  await app.close();
  await database.close();
});

async function join(
  status: Parameters<typeof joinScriptedDevice>[0]['status'] = {},
  key?: KeyPair,
): Promise<ScriptedDevice> {
  const invite = await hub.invites.create({
    territory: hub.territory.id,
    uses: 1,
    expiresInMs: 60_000,
    createdBy: 'test',
  });
  const device = await joinScriptedDevice({
    accept: (channel) => hub.local.accept(channel),
    territory: hub.territory.publicKey,
    clock: systemClock,
    random: nodeRandom,
    crypto: nodeCrypto,
    joinToken: joinTokenOf(invite.secret),
    status: { models: [warmModel(cid)], ...status },
    ...(key === undefined ? {} : { key }),
  });
  await device.joined;
  return device;
}
const leave = async (device: ScriptedDevice): Promise<void> => {
  device.link.cut('test over');
  await yieldToNode();
};
const post = (path: string, body: unknown, key: string | undefined = caller): Promise<Response> =>
  fetch(base + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const chat = (over: object = {}): object => ({
  model: 'jacobean',
  messages: [{ role: 'user', content: 'Speak.' }],
  ...over,
});
const errorOf = async (response: Response): Promise<{ code: string; message: string; param: string | null }> =>
  ((await response.json()) as { error: { code: string; message: string; param: string | null } }).error;
const digest = (ids: readonly number[]): Promise<Uint8Array> => digestTokens(ids, nodeCrypto);

test('a route that names no action of the policy cannot be registered', async () => {
  await expect(createServerWithBareRoute()).rejects.toThrow(/names no action/);
});
async function createServerWithBareRoute(): Promise<unknown> {
  const { createServer } = await import('./server.ts');
  const bare = (scope: App): void => {
    scope.get('/api/secret', async () => 'all of it');
  };
  return createServer(
    {
      ...hub,
      territory: hub.territory.id,
      ...aloneAt(hub, database, () => base),
      version: '0',
      carried: createCarried(nodeRandom),
      clock: systemClock,
      random: nodeRandom,
      log: silentLog,
    },
    [bare],
  );
}

test('without a key, with a wrong or a revoked one there is 401, on every route but the public ones', async () => {
  const document = (await (await fetch(`${base}/api/openapi.json`)).json()) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const open = ['/healthz', '/readyz', '/.well-known/idlewild'];
  // Where people come who have no key; what is sent here says nothing, and no page of the hub sends it.
  const waysIn = ['code', 'code/look', 'passkey', 'passkey/begin', 'programs', 'programs/claim'].map(
    (way) => `/api/sign-in/${way}`,
  );
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const method of Object.keys(methods)) {
      const response = await fetch(base + path.replace(/\{\w+\}/g, 'x'), { method: method.toUpperCase() });
      if (waysIn.includes(path)) {
        expect([400, 403]).toContain(response.status);
        continue;
      }
      expect(`${method} ${path} ${response.status}`).toBe(`${method} ${path} ${open.includes(path) ? 200 : 401}`);
    }
  }
  const { id, key } = await hub.keys.create({ territory: hub.territory.id, role: 'caller', actor: 'test' });
  expect((await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(200);
  await hub.keys.revoke({ territory: hub.territory.id, id, actor: 'test' });
  expect((await fetch(`${base}/v1/models`, { headers: { authorization: `Bearer ${key}` } })).status).toBe(401);
  expect((await fetch(`${base}/no/such/route`)).status).toBe(401);
});

test('a caller is refused what only a steward may, and told what is missing', async () => {
  const response = await post('/api/invites', {});
  expect(response.status).toBe(403);
  expect(await errorOf(response)).toMatchObject({
    code: 'forbidden',
    message: expect.stringMatching(/caller.*createInvite/) as string,
  });
  expect((await post('/api/invites', {}, steward)).status).toBe(201);
});

test('what the body says wrong is named: malformed, wrong type, unknown field, unsupported value', async () => {
  const cases: [unknown, string, string | null][] = [
    ['{"model": ', 'invalid_request', null],
    [chat({ temperature: 'hot' }), 'invalid_request', 'temperature'],
    [chat({ min_p: 0.1 }), 'unsupported_field', 'min_p'],
    [chat({ functions: [] }), 'unsupported_field', 'functions'],
    [chat({ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: 'x' }] }] }), 'invalid_request', null],
    [chat({ messages: [] }), 'invalid_request', 'messages'],
    [chat({ n: 129 }), 'invalid_request', 'n'],
    [{ messages: [{ role: 'user', content: 'x' }] }, 'invalid_request', 'model'],
  ];
  for (const [body, code, param] of cases) {
    const response = await post('/v1/chat/completions', body);
    const error = await errorOf(response);
    expect({ status: response.status, code: error.code }, JSON.stringify(body)).toEqual({ status: 400, code });
    if (param !== null) expect(error.param).toBe(param);
  }
  expect((await post('/v1/chat/completions', chat({ model: 'hamlet' }))).status).toBe(404);
  const noJson = await fetch(`${base}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller}`, 'content-type': 'text/plain' },
    body: 'hi',
  });
  expect(noJson.status).toBe(415);
});

test('a body of 100 MB is refused without being read to its end', async () => {
  const big = new Uint8Array(100 * 2 ** 20);
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${caller}`, 'content-type': 'application/json' },
    body: big,
  }).catch((error: unknown) => error);
  // The server answers 413 and closes; a client in mid-upload sees either the answer or the closed connection.
  if (response instanceof Response) expect(response.status).toBe(413);
  else expect(String((response as Error & { cause?: unknown }).cause)).toMatch(/EPIPE|ECONNRESET|closed/);
});

test('nobody to answer is 503 with the reason and a time to come back', async () => {
  const device = await join({ state: 'paused', pauseReasons: ['the lender said so'] });
  const response = await post('/v1/chat/completions', chat());
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('10');
  expect(await errorOf(response)).toMatchObject({
    code: 'no_device',
    message: '1 device holds this model; it is paused',
  });
  await leave(device);
});

test("a whole answer has OpenAI's shape and says how it was made", async () => {
  const device = await join();
  answerWith(device, ['Good', ' morrow'], nodeCrypto, digest);
  const response = await post('/v1/chat/completions', chat({ seed: 7 }));
  expect(response.status).toBe(200);
  expect(response.headers.get('x-request-id')).toMatch(/^req_/);
  expect(await response.json()).toMatchObject({
    object: 'chat.completion',
    model: 'jacobean',
    choices: [{ index: 0, message: { role: 'assistant', content: 'Good morrow' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 },
    idlewild: { devices: ['scripted'], failovers: 0, seed: 7, exact: true, hub: hub.id },
  });
  await leave(device);
});

test('a stream has one event for each token, ends with [DONE], and leaves nothing in the journal', async () => {
  const device = await join();
  answerWith(device, ['Good', ' morrow', '.'], nodeCrypto, digest);
  const response = await post('/v1/completions', {
    model: 'jacobean',
    prompt: 'x',
    stream: true,
    stream_options: { include_usage: true },
  });
  expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
  const events = (await response.text())
    .split('\n\n')
    .filter((line) => line !== '')
    .map((line) => line.slice('data: '.length));
  expect(events.at(-1)).toBe('[DONE]');
  const chunks = events
    .slice(0, -1)
    .map(
      (event) =>
        JSON.parse(event) as {
          choices: { text: string; finish_reason: string | null }[];
          usage: object | null;
          idlewild?: object;
        },
    );
  expect(chunks.map((chunk) => chunk.choices[0]?.text)).toEqual(['Good', ' morrow', '.', '', undefined]);
  expect(chunks.at(-2)?.choices[0]?.finish_reason).toBe('stop');
  expect(chunks.at(-1)).toMatchObject({ usage: { total_tokens: 10 }, idlewild: { failovers: 0 } });
  await expect.poll(async () => (await database.db.selectFrom('journal').selectAll().execute()).length).toBe(0);
  await expect.poll(async () => (await database.db.selectFrom('receipts').selectAll().execute()).length).toBe(2);
  await leave(device);
});

test("a device's refusal before its first token is a proper status, also for a stream", async () => {
  const device = await join();
  device.onMessage = (message) => {
    if (message.t === 'answer')
      device.send({
        t: 'answer.failed',
        lease: message.lease,
        epoch: message.epoch,
        code: 'context_length_exceeded',
        message: '600 tokens do not fit 512',
      });
  };
  for (const stream of [true, false]) {
    const response = await post('/v1/chat/completions', chat({ stream }));
    expect(response.status).toBe(400);
    expect(await errorOf(response)).toMatchObject({
      code: 'context_length_exceeded',
      message: '600 tokens do not fit 512',
    });
  }
  await leave(device);
});

test('a caller that hangs up cancels its answer on the device', async () => {
  const device = await join();
  const cancelled = new Promise<void>((resolve) => {
    device.onMessage = (message) => {
      if (message.t === 'cancel') resolve();
      if (message.t !== 'answer') return;
      device.send({ t: 'answer.started', lease: message.lease, epoch: message.epoch, promptTokens: 1 });
      device.send({ t: 'answer.token', lease: message.lease, epoch: message.epoch, i: 0, id: 0, s: 'a' });
    };
  });
  const abort = new AbortController();
  const response = await fetch(`${base}/v1/chat/completions`, {
    method: 'POST',
    signal: abort.signal,
    headers: { authorization: `Bearer ${caller}`, 'content-type': 'application/json' },
    body: JSON.stringify(chat({ stream: true })),
  });
  await response.body?.getReader().read();
  abort.abort();
  await cancelled;
  await expect.poll(() => hub.answers.counts().open).toBe(0);
  await leave(device);
});

test('a device fetches blocks with its ticket and nothing else with it', async () => {
  const device = await join();
  const { ticket } = await device.joined;
  const asDevice = { headers: { authorization: `Bearer ${ticket}` } };
  const model = await hub.models.resolve(hub.territory.id, 'jacobean');
  expect((await fetch(`${base}/blobs/${model.cid}`, asDevice)).status).toBe(200);
  expect(
    (await fetch(`${base}/blobs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy`, asDevice)).status,
  ).toBe(404);
  expect((await fetch(`${base}/blobs/nonsense`, asDevice)).status).toBe(400);
  expect((await fetch(`${base}/api/devices`, asDevice)).status).toBe(403);
  expect((await post('/v1/chat/completions', chat(), ticket)).status).toBe(403);
  await leave(device);
  // It may come through another replica, which knows no more than that it was a device's just now.
  expect((await fetch(`${base}/blobs/${model.cid}`, asDevice)).status).toBe(200);
  const [known] = (await hub.devices.list(hub.territory.id)).filter(({ publicKey }) =>
    equalBytes(publicKey, device.key.publicKey),
  );
  await hub.devices.revoke({ territory: hub.territory.id, id: known?.id ?? '', actor: 'test' });
  await expect.poll(async () => (await fetch(`${base}/blobs/${model.cid}`, asDevice)).status).toBe(401);
});

test('when every slot and the queue are full there is 429 with Retry-After', async () => {
  const device = await join({ slots: 1 });
  device.onMessage = () => {};
  const { HUB_LIMITS } = await import('../limits.ts');
  const abort = new AbortController();
  const waiting = Array.from({ length: HUB_LIMITS.queuedAnswersMax + 1 }, () =>
    fetch(`${base}/v1/completions`, {
      method: 'POST',
      signal: abort.signal,
      headers: { authorization: `Bearer ${caller}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'jacobean', prompt: 'x' }),
    }).catch(() => undefined),
  );
  await expect.poll(() => hub.answers.counts().queued).toBe(HUB_LIMITS.queuedAnswersMax);
  const response = await post('/v1/completions', { model: 'jacobean', prompt: 'x' });
  expect(response.status).toBe(429);
  expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0);
  abort.abort();
  await Promise.all(waiting);
  await expect.poll(() => hub.answers.counts().open).toBe(0);
  await leave(device);
});

test('a device that refuses what its status offered is offered nothing more before its next status', async () => {
  const device = await join();
  let offers = 0;
  const refused = new Promise<void>((resolve) => {
    device.onMessage = (message) => {
      if (message.t !== 'answer') return;
      offers++;
      const { lease, epoch } = message;
      device.send({ t: 'answer.failed', lease, epoch, code: 'engine_failed', message: 'the engine died' });
      resolve();
    };
  });
  const response = post('/v1/chat/completions', chat());
  await refused;
  // Long enough for the hub to have asked again and again.
  await expect.poll(() => hub.answers.counts()).toEqual({ open: 1, queued: 1 });
  for (let i = 0; i < 20; i++) await yieldToNode();
  expect(offers).toBe(1);
  answerWith(device, ['Good'], nodeCrypto, digest);
  device.setStatus({});
  expect((await response).status).toBe(200);
  await leave(device);
});
