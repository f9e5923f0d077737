/** Claims about connections and whose they are: over real sockets, with small bounds. */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { Agent, createServer as createTlsServer, request as tlsRequest } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { systemClock } from '@idlewild/protocol/node';
import { afterEach, describe, expect, test } from 'vitest';
import { HUB_LIMITS } from '../../limits.ts';
import { silentLog } from '../../log.ts';
import { ownTls } from '../../node/tls.ts';
import { createConnections } from './connections.ts';
import { createCrowd, type CrowdBounds } from './crowd.ts';

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).toReversed()) step();
});

interface Options {
  readonly bounds?: Partial<CrowdBounds>;
  readonly isBehindBalancer?: boolean;
  readonly isTls?: boolean;
}

async function listen({ bounds = {}, isBehindBalancer = false, isTls = false }: Options = {}) {
  const all = { perAddress: 4, strangers: 8, all: 100, ...bounds };
  const crowd = createCrowd({ clock: systemClock, log: silentLog, bounds: all });
  const connections = createConnections({ crowd, isBehindBalancer });
  const server = isTls ? createTlsServer(await certificate()) : createServer();
  connections.watch(server);
  server.on('request', (request, response) => {
    // As the hub does, once it has looked at the key.
    if (request.headers.authorization !== undefined)
      connections.stands(request.socket, request.headers.authorization === 'right');
    if (request.url !== '/wait') response.end('yes');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(() => {
    crowd.stop();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { server, crowd, port };
}

async function certificate(): Promise<{ readonly cert: string; readonly key: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'door-'));
  undo.push(() => rmSync(folder, { recursive: true }));
  return ownTls(folder, Date.now());
}

interface Line {
  readonly socket: Socket;
  readonly closed: () => boolean;
  ask(path: string, headers?: string): Promise<void>;
}

async function dial(port: number, over: (port: number) => Socket = (to) => connect(to, '127.0.0.1')): Promise<Line> {
  const socket = over(port);
  undo.push(() => socket.destroy());
  let isClosed = false;
  let heard = '';
  socket.on('error', () => {});
  socket.on('close', () => (isClosed = true));
  socket.on('data', (bytes) => (heard += bytes.toString()));
  await new Promise((resolve) => socket.once('connect', resolve));
  return {
    socket,
    closed: () => isClosed,
    async ask(path, headers = '') {
      heard = '';
      socket.write(`GET ${path} HTTP/1.1\r\nhost: hub\r\n${headers}\r\n`);
      if (path !== '/wait') await expect.poll(() => heard).toMatch(/yes$/);
    },
  };
}

const dialMany = (port: number, count: number): Promise<Line[]> =>
  Promise.all(Array.from({ length: count }, () => dial(port)));
const closedOf = (lines: readonly Line[]): number => lines.filter(({ closed }) => closed()).length;
const openIn = (server: Server): Promise<number> =>
  new Promise((resolve) => server.getConnections((_, count) => resolve(count)));

test('a thousand who say nothing push out each other, and nobody who is known or is being answered', async () => {
  const { server, port, crowd } = await listen({ bounds: { strangers: 50 } });
  const known = await dial(port);
  await known.ask('/', 'authorization: right\r\n');
  const working = await dial(port);
  await working.ask('/wait', 'authorization: right\r\n');
  const speaking = await dial(port);
  await speaking.ask('/wait');
  await expect.poll(() => crowd.counts()).toEqual({ strangers: 1, known: 2 });
  const silent = await dialMany(port, 1_000);
  await expect.poll(() => closedOf(silent)).toBe(951);
  expect(await openIn(server)).toBe(52);
  expect(closedOf([known, working, speaking])).toBe(0);
  // And whoever comes now is heard.
  expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe('yes');
});

test('of a thousand requests in one breath a few are begun, and the connection is closed', async () => {
  const { server, port, crowd } = await listen();
  let begun = 0;
  server.on('request', ({ socket }) => void (begun += socket.destroyed ? 0 : 1));
  const { socket, closed } = await dial(port);
  socket.write('GET /wait HTTP/1.1\r\nhost: hub\r\n\r\n'.repeat(1_000));
  await expect.poll(closed).toBe(true);
  expect(begun).toBe(HUB_LIMITS.pipelinedMax);
  expect(crowd.counts()).toEqual({ strangers: 0, known: 0 });
});

test('who showed a key that does not work any more is a stranger again', async () => {
  const { port, crowd } = await listen();
  const line = await dial(port);
  await line.ask('/', 'authorization: right\r\n');
  await expect.poll(() => crowd.counts()).toEqual({ strangers: 0, known: 1 });
  await line.ask('/');
  expect(crowd.counts()).toEqual({ strangers: 0, known: 1 });
  await line.ask('/', 'authorization: revoked\r\n');
  expect(crowd.counts()).toEqual({ strangers: 1, known: 0 });
  line.socket.end();
  await expect.poll(() => crowd.counts()).toEqual({ strangers: 0, known: 0 });
});

test('this very machine has no bound of its own; behind a balancer whom it asks for has', async () => {
  const { port, crowd } = await listen();
  const lines = await dialMany(port, 8);
  await expect.poll(() => crowd.counts().strangers).toBe(8);
  expect(closedOf(lines)).toBe(0);
  const balanced = await listen({ isBehindBalancer: true });
  const from = (address: string): string => `x-forwarded-for: ${address}\r\n`;
  const asking = await dialMany(balanced.port, 8);
  for (const line of asking.slice(0, 5)) await line.ask('/', from('198.51.100.1, 192.0.2.7'));
  for (const line of asking.slice(5)) await line.ask('/', from('192.0.2.7, 198.51.100.1'));
  await expect.poll(() => closedOf(asking)).toBe(1);
  expect(closedOf(asking.slice(0, 5))).toBe(1);
});

describe('with TLS', () => {
  test('who does not get as far as a handshake counts, and goes for who does', async () => {
    const { port, crowd, server } = await listen({ isTls: true, bounds: { strangers: 20 } });
    const halfOpen = await dialMany(port, 30);
    for (const { socket } of halfOpen) socket.write(Buffer.from([0x16, 0x03, 0x01]));
    await expect.poll(() => closedOf(halfOpen)).toBe(10);
    const agent = new Agent({ keepAlive: true, rejectUnauthorized: false });
    undo.push(() => agent.destroy());
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: 'right' };
      const asked = tlsRequest({ host: '127.0.0.1', port, agent, headers }, (response) => {
        response.resume();
        response.once('end', () => resolve(response.statusCode));
      });
      asked.once('error', reject);
      asked.end();
    });
    expect(status).toBe(200);
    await expect.poll(() => crowd.counts()).toEqual({ strangers: 19, known: 1 });
    expect(await openIn(server)).toBe(20);
    // Gone is gone, on either side of the handshake.
    agent.destroy();
    for (const { socket } of halfOpen) socket.destroy();
    await expect.poll(() => crowd.counts()).toEqual({ strangers: 0, known: 0 });
  });

  test('who is let go after his handshake hears of it', async () => {
    const { port } = await listen({ isTls: true, bounds: { strangers: 1 } });
    const secure = (to: number): Socket => connectTls({ port: to, host: '127.0.0.1', rejectUnauthorized: false });
    const line = await dial(port, secure);
    await line.ask('/');
    await dial(port);
    await expect.poll(line.closed).toBe(true);
  });
});
