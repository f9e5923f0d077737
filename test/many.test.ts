/** Claims about many at once: each gets an answer or a time to come back, and nobody waits for another's misuse. */
import { existsSync, readFileSync } from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import OpenAI, { RateLimitError } from 'openai';
import { LIMITS } from '@idlewild/protocol';
import { WebSocket } from 'ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hear, LONG } from './answers.ts';
import { until } from './processes/child.ts';
import { createWorld, MODEL, type HubProcess, type World } from './world.ts';

const REQUESTS = 2_000;
const GROWTH_BYTES_MAX = 256 * 2 ** 20;
const SOCKETS = 200;

let world: World;
let hub: HubProcess;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  await Promise.all(['ada', 'bea'].map((name) => world.startDevice(hub, name)));
});
afterAll(() => world.end());

interface Said {
  readonly status: number;
  readonly retryAfter: string | undefined;
  readonly body: string;
}

const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });

function ask(body: object): Promise<Said> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${hub.key}`, 'content-type': 'application/json' };
    const asked = httpRequest(`${hub.url}/v1/completions`, { method: 'POST', headers, agent }, (answered) => {
      let text = '';
      answered.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      answered
        .on('error', reject)
        .on('end', () =>
          resolve({ status: answered.statusCode ?? 0, retryAfter: answered.headers['retry-after'], body: text }),
        );
    });
    asked.on('error', reject);
    asked.end(JSON.stringify(body));
  });
}

/** Of the hub's process; 0 where the system does not say. */
function residentBytes(): number {
  const file = `/proc/${hub.pid}/status`;
  if (!existsSync(file)) return 0;
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(file, 'utf8'))?.[1]) * 1_024;
}

test(`of ${REQUESTS} requests at once each is answered or told when to come back, in bounded memory`, async () => {
  const before = residentBytes();
  let peak = before;
  const watching = setInterval(() => {
    peak = Math.max(peak, residentBytes());
  }, 50);
  const short = { model: MODEL, prompt: 'What', max_tokens: 2, seed: 1 };
  const openai = new OpenAI({ apiKey: hub.key, baseURL: `${hub.url}/v1`, maxRetries: 0 });
  const asked = Array.from({ length: REQUESTS }, () => ask(short));
  // One more of them, with the client of most people.
  const one = openai.completions.create(short).catch((error: unknown) => error);
  const all = await Promise.all(asked);
  clearInterval(watching);

  const answered = all.filter(({ status }) => status === 200);
  const refused = all.filter(({ status }) => status !== 200);
  const texts = answered.map(({ body }) => (JSON.parse(body) as { choices: [{ text: string }] }).choices[0].text);
  expect(new Set(texts).size).toBe(1);
  expect(new Set(refused.map(({ status }) => status))).toEqual(new Set([429]));
  for (const { retryAfter } of refused) expect(Number(retryAfter)).toBeGreaterThan(0);
  // What the queue and the slots hold is answered, not refused.
  expect(answered.length).toBeGreaterThan(250);
  expect(peak - before).toBeLessThan(GROWTH_BYTES_MAX);
  const last = await one;
  expect(last instanceof RateLimitError || (last as OpenAI.Completion).choices.length === 1).toBe(true);
  await until(async () => (await hub.client.status()).answers.open === 0, 'the hub having nothing open');
});

test('callers that ask and do not read cost nobody else anything', async () => {
  const body = JSON.stringify({ model: MODEL, prompt: 'What', max_tokens: 150, stream: true });
  const words = [
    'POST /v1/completions HTTP/1.1',
    'host: hub',
    `authorization: Bearer ${hub.key}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    '',
    body,
  ].join('\r\n');
  const deaf = Array.from({ length: 24 }, () => {
    const socket = connect(hub.port, '127.0.0.1', () => socket.write(words));
    return socket.pause().on('error', () => undefined /* the hub may cut it off */);
  });
  expect((await hear(hub.client)).end.usage.completion_tokens).toBe(LONG.max_tokens);
  await until(async () => (await hub.client.status()).answers.open === 0, 'their answers being over');
  for (const socket of deaf) socket.destroy();
});

test('a caller that does not read a long stream is cut off, and its device is free again', async () => {
  const loud = await world.startHub();
  await world.publish(loud);
  const device = await world.startDevice(loud, 'loud', { wordyCharacters: LIMITS.tokenTextCharactersMax });
  const headers = { authorization: `Bearer ${loud.key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ ...LONG, max_tokens: 480, stream: true });
  const cut = new Promise<string>((resolve) => {
    const asked = httpRequest(`${loud.url}/v1/completions`, { method: 'POST', headers }, (answered) => {
      answered.pause();
      // Cut off while it was not reading, it hears of it when it does.
      void device
        .line((line) => 'state' in line && line.state.answering === 1, 'the answer beginning')
        .then(() => until(async () => (await loud.client.status()).answers.open === 0, 'the answer being over'))
        .then(() => answered.resume());
      answered.on('error', (error) => resolve(error.message)).on('end', () => resolve('ended'));
    });
    asked.on('error', (error) => resolve(error.message));
    asked.end(body);
  });
  expect(await cut).not.toBe('ended');
  // Its end is written a moment after the hub holds it no more.
  const state = async (): Promise<string | undefined> => (await loud.client.requests.list())[0]?.state;
  await until(async () => (await state()) !== 'open', 'its end being written');
  expect(await state()).toBe('cancelled');
  await until(() => device.state().answering === 0, 'the device being free');
  await Promise.all([device.stop(), loud.stop()]);
});

test(`${SOCKETS} sockets of strangers, silent or sending garbage, are let go while answers run on`, async () => {
  const closed: Promise<number>[] = [];
  for (let i = 0; i < SOCKETS; i++) {
    const socket = new WebSocket(`${hub.url.replace('http', 'ws')}/device`, { perMessageDeflate: false });
    closed.push(
      new Promise((resolve) => {
        socket.on('close', resolve);
      }),
    );
    socket.on('error', () => undefined /* its end is told by `close` */);
    socket.on('open', () => {
      if (i % 4 === 1) socket.send(Buffer.from('not a frame at all'));
      if (i % 4 === 2) socket.send(Buffer.alloc(LIMITS.frameBytesMax + LIMITS.sealBytes + 1));
      if (i % 4 === 3) socket.send('{"t":"hello"}');
    });
  }
  const heard = await hear(hub.client);
  expect(heard.end.idlewild).toMatchObject({ failovers: 0, exact: true });
  expect(heard.gapMsMax).toBeLessThan(1_000);
  const codes = await Promise.all(closed);
  // Nothing within the time of a handshake; garbage; more than a frame may hold; no binary frame.
  expect([0, 1, 2, 3].map((kind) => [...new Set(codes.filter((_, i) => i % 4 === kind))])).toEqual([
    [1_000],
    [1_000],
    [1_009],
    [1_003],
  ]);
  expect((await hub.client.devices.list()).map(({ state }) => state)).toEqual(['ready', 'ready']);
});
