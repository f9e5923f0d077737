/** Claims about those who are slow, or send too much: over real sockets, with short times. */
import type { Server, ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { LIMITS } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { createCarried } from './carried.ts';
import { attachDeviceSocket } from './device-socket.ts';
import { createFront } from './front.ts';
import { PATIENCE, patientServer } from './patience.ts';
import { createServer, principal, typed, type App } from '../server.ts';

// Not shorter: who is quick must be quick enough on a machine that does other things, too.
const SHORT = { tlsMs: 500, headersMs: 500, requestMs: 1_000, lookMs: 50 };
const SLOW_ONES = 64;
let door: TestDoor;
const open = new Set<Socket>();
/** Answers that are under way. */
const streams: ServerResponse[] = [];
beforeAll(async () => void (door = await openTestDoor('any')));
afterAll(() => door.close());
afterEach(() => {
  for (const socket of open) socket.destroy();
  open.clear();
});

interface Caller {
  say(text: string): void;
  /** What came until the other end closed. */
  readonly over: Promise<string>;
}

function dial(server: Server): Caller {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  open.add(socket);
  let heard = '';
  socket.on('data', (bytes) => (heard += bytes.toString('latin1')));
  // Its end says it all.
  socket.on('error', () => {});
  const over = new Promise<string>((resolve) => socket.once('close', () => resolve(heard)));
  return { say: (text) => void socket.write(text), over };
}

/** A small server with the hub's doors, its own or behind the front, and short times. */
async function serve(isBehindFront: boolean): Promise<App> {
  const { hub } = door;
  const routes = (scope: App): void => {
    const schema = { body: z.unknown() };
    typed(scope).route({
      method: 'POST',
      url: '/guarded',
      config: { action: 'listModels' },
      schema,
      handler: (request) => Promise.resolve(principal(request).kind),
    });
    typed(scope).post('/open', { config: { action: 'public' }, schema }, () => Promise.resolve('heard'));
    typed(scope).get('/stream', { config: { action: 'public' } }, (_request, reply) => {
      reply.hijack();
      reply.raw.write('begun');
      streams.push(reply.raw);
    });
  };
  const { isReady: _, ...rooms } = hub;
  const front = createFront({
    db: {} as never,
    clock: systemClock,
    log: silentLog,
    behind: () => [],
    find: () => undefined,
  });
  const app = await createServer(
    {
      ...rooms,
      territory: hub.territory.id,
      isLeaving: () => false,
      refusal: () => undefined,
      tls: undefined,
      patience: SHORT,
      version: '0',
      carried: createCarried(nodeRandom),
      clock: systemClock,
      random: nodeRandom,
      log: silentLog,
      ...(isBehindFront ? { listener: front.listener } : {}),
    },
    [routes],
  );
  await app.listen({ host: '127.0.0.1', port: 0 });
  return app;
}

const headers = (path: string, bytes: number): string =>
  `POST ${path} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer ${door.key}\r\n` +
  `content-type: application/json\r\ncontent-length: ${bytes}\r\n\r\n`;

describe.each([
  ['its own server', false],
  ['the server of the front', true],
])('with %s', (_, isBehindFront) => {
  test('who sends headers or a body too slowly is told 408 and let go; others wait for nobody', async () => {
    const app = await serve(isBehindFront);
    try {
      const slow = Array.from({ length: SLOW_ONES }, (_, index) => {
        const caller = dial(app.server);
        // A third each: nothing but a line of the headers, all headers but not the last line, half of a body.
        if (index % 3 === 0) caller.say('POST /guarded HTTP/1.1\r\nhost:');
        else if (index % 3 === 1) caller.say(headers('/guarded', 2).slice(0, -2));
        else caller.say(`${headers(index % 2 === 0 ? '/guarded' : '/open', 20)}{"half`);
        return caller;
      });
      const quick = dial(app.server);
      quick.say(headers('/guarded', 2).replace('\r\n\r\n', '\r\nconnection: close\r\n\r\n{}'));
      expect(await quick.over).toMatch(/^HTTP\/1\.1 200 [\s\S]*key$/);
      // While it goes on, one byte at a time: that buys nothing.
      const drip = setInterval(() => slow.forEach((caller) => caller.say('x')), 100);
      const told = await Promise.all(slow.map(({ over }) => over)).finally(() => clearInterval(drip));
      expect(new Set(told.map((text) => text.slice(0, 12)))).toEqual(new Set(['HTTP/1.1 408']));
    } finally {
      await app.close();
    }
  });

  test('who has said nothing of himself may send only little, whatever length he claims', async () => {
    const app = await serve(isBehindFront);
    try {
      const claimed = dial(app.server);
      claimed.say(headers('/open', HUB_LIMITS.publicBodyBytesMax + 1));
      const sent = dial(app.server);
      sent.say(
        'POST /open HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n',
      );
      const chunk = `4000\r\n${' '.repeat(0x4000)}\r\n`;
      for (let bytes = 0; bytes <= HUB_LIMITS.publicBodyBytesMax; bytes += 0x4000) sent.say(chunk);
      for (const caller of [claimed, sent]) expect(await caller.over).toMatch(/^HTTP\/1\.1 413 /);
    } finally {
      await app.close();
    }
  });
});

test('a hub has the times of its limits, with TLS, too', () => {
  const times = { headersTimeout: 20_000, requestTimeout: 300_000, connectionsCheckingInterval: 5_000 };
  expect(patientServer(PATIENCE, undefined)).toEqual({ requestTimeout: 300_000, http: times });
  expect(patientServer(PATIENCE, { cert: 'mine' })).toEqual({
    requestTimeout: 300_000,
    https: { ...times, cert: 'mine', handshakeTimeout: 20_000 },
  });
});

function listenForDevices(app: App, frames: number[]): { close(): void } {
  return attachDeviceSocket(app.server, {
    binding: { kind: 'loopback' },
    clock: systemClock,
    crypto: nodeCrypto,
    accept: (channel) => channel.listen({ onFrame: (frame) => void frames.push(frame.length), onClose: () => {} }),
  });
}

async function dialAsDevice(app: App): Promise<{ device: WebSocket; closed: Promise<number> }> {
  const device = new WebSocket(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/device`);
  const closed = new Promise<number>((resolve) => device.once('close', resolve));
  device.on('error', () => {});
  await new Promise((resolve) => device.once('open', resolve));
  return { device, closed };
}

test('answers and devices last as long as they last: who asked in time is not hurried afterwards', async () => {
  const app = await serve(false);
  const frames: number[] = [];
  const sockets = listenForDevices(app, frames);
  try {
    const { device } = await dialAsDevice(app);
    const reader = dial(app.server);
    reader.say('GET /stream HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n');
    await expect.poll(() => streams).toHaveLength(1);
    // Twice: whoever comes after these had all of the time that a request has, and more.
    for (let round = 0; round < 2; round++) {
      const slow = dial(app.server);
      slow.say(`${headers('/open', 20)}{"half`);
      expect(await slow.over).toMatch(/^HTTP\/1\.1 408/);
    }
    device.send(new Uint8Array(7));
    await expect.poll(() => frames).toEqual([7]);
    streams[0]?.end(' and over');
    expect(await reader.over).toMatch(/^HTTP\/1\.1 200 [\s\S]*begun[\s\S]* and over/);
  } finally {
    sockets.close();
    await app.close();
  }
});

test('a frame over the limit is not waited for: the socket of a device closes when its length is read', async () => {
  const app = await serve(false);
  const frames: number[] = [];
  const sockets = listenForDevices(app, frames);
  try {
    const { device, closed } = await dialAsDevice(app);
    device.send(new Uint8Array(LIMITS.frameBytesMax + LIMITS.sealBytes + 1));
    // 1009, message too big.
    expect(await closed).toBe(1_009);
    expect(frames).toEqual([]);
  } finally {
    sockets.close();
    await app.close();
  }
});
