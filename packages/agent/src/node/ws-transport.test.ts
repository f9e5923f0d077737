import { createServer as createHttpServer, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocketServer, type WebSocket } from 'ws';
import { LIMITS, codeOf, type Channel } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { yieldToNode } from '@idlewild/protocol/testing';
import { createSelfSigned, type SelfSigned } from './testing/self-signed.ts';
import { createWsTransport } from './ws-transport.ts';

const transport = createWsTransport({ clock: systemClock });
const never = new AbortController().signal;

interface Listening {
  readonly url: string;
  readonly upgrades: string[];
  readonly connections: number;
  close(): Promise<void>;
}

/** A WebSocket server on loopback that does what `act` says with each connection. */
async function serve(act: (socket: WebSocket) => void, tls?: SelfSigned, compress = false): Promise<Listening> {
  const server: Server = tls === undefined ? createHttpServer() : createHttpsServer(tls);
  const sockets = new WebSocketServer({ server, path: '/device', perMessageDeflate: compress });
  const upgrades: string[] = [];
  let connections = 0;
  server.on(tls === undefined ? 'connection' : 'secureConnection', () => {
    connections += 1;
  });
  server.on('upgrade', (request) => upgrades.push(request.headers['sec-websocket-extensions'] ?? 'none'));
  sockets.on('connection', act);
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      for (const client of sockets.clients) client.terminate();
      sockets.close();
      server.close(() => resolve());
      server.closeAllConnections();
    });
  onTestFinished(close);
  const { port } = server.address() as AddressInfo;
  const url = `${tls === undefined ? 'ws' : 'wss'}://127.0.0.1:${port}/device`;
  return {
    url,
    upgrades,
    close,
    get connections() {
      return connections;
    },
  };
}

const closedOf = (channel: Channel, onFrame: (frame: Uint8Array) => void = () => undefined): Promise<string> =>
  new Promise((resolve) => {
    channel.listen({ onFrame, onClose: resolve });
  });

const nextFrame = (channel: Channel): Promise<Uint8Array> =>
  new Promise((resolve) => {
    channel.listen({ onFrame: resolve, onClose: () => undefined });
  });

const echo = (socket: WebSocket): void => {
  socket.on('message', (message: Buffer) => socket.send(message));
};

const refusalOf = (dialled: Promise<Channel>): Promise<unknown> => dialled.then(() => 'dialled', codeOf);

test('frames go both ways in order over loopback, uncompressed even where the server offers it', async () => {
  const { url, upgrades } = await serve(echo, undefined, true);
  const channel = await transport.dial(url, { signal: never });
  expect(channel.binding).toEqual({ kind: 'loopback' });
  const got: number[] = [];
  const all = new Promise<void>((resolve) => {
    channel.listen({
      onFrame(frame) {
        expect(frame).toBeInstanceOf(Uint8Array);
        got.push(frame[0] as number);
        if (got.length === 100) resolve();
      },
      onClose: () => undefined,
    });
  });
  for (let index = 0; index < 100; index++) channel.send(Uint8Array.of(index, 1, 2));
  await all;
  expect(got).toEqual(Array.from({ length: 100 }, (_, index) => index));
  expect(upgrades).toEqual(['none']);
  channel.close('done');
});

test('a frame that comes before anybody listens is not lost', async () => {
  const { url } = await serve((socket) => socket.send(Uint8Array.of(7)));
  const channel = await transport.dial(url, { signal: never });
  await yieldToNode();
  const frame = await nextFrame(channel);
  expect(frame).toEqual(Uint8Array.of(7));
  channel.close('done');
});

test("over TLS with the right pin the binding is the server's key", async () => {
  const tls = await createSelfSigned();
  const { url } = await serve(echo, tls);
  const channel = await transport.dial(url, { spkiPin: tls.pin, signal: never });
  expect(channel.binding).toEqual({ kind: 'tls', spki: tls.pin });
  const frame = nextFrame(channel);
  channel.send(Uint8Array.of(9));
  expect(await frame).toEqual(Uint8Array.of(9));
  channel.close('done');
});

test('with a wrong pin nothing is sent, not even the request', async () => {
  const hub = await serve(echo, await createSelfSigned());
  expect(await refusalOf(transport.dial(hub.url, { spkiPin: new Uint8Array(32), signal: never }))).toBe('pin_mismatch');
  expect(hub.upgrades).toEqual([]);
});

test('without a pin a certificate that no authority vouches for is refused', async () => {
  const hub = await serve(echo, await createSelfSigned());
  expect(await refusalOf(transport.dial(hub.url, { signal: never }))).toBe('hub_untrusted');
  expect(hub.upgrades).toEqual([]);
});

test('a pin is never satisfied without TLS', async () => {
  const hub = await serve(echo);
  expect(await refusalOf(transport.dial(hub.url, { spkiPin: new Uint8Array(32), signal: never }))).toBe('pin_mismatch');
  expect(hub.upgrades).toEqual([]);
});

const outward = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === 'IPv4' && !each.internal);

test.skipIf(outward === undefined)('plain WebSockets to an address off loopback are refused', async () => {
  // Whatever answers there or not: it is never spoken to in the clear.
  const code = await refusalOf(transport.dial(`ws://${outward?.address}:9/device`, { signal: never }));
  expect(['hub_untrusted', 'hub_unreachable']).toContain(code);
});

test('an oversized frame closes the channel and is never delivered', async () => {
  const { url } = await serve((socket) => socket.send(new Uint8Array(LIMITS.frameBytesMax + LIMITS.sealBytes + 1)));
  const channel = await transport.dial(url, { signal: never });
  const frames: Uint8Array[] = [];
  expect(await closedOf(channel, (frame) => frames.push(frame))).toContain('payload');
  expect(frames).toEqual([]);
});

test('the largest frame passes', async () => {
  const { url } = await serve((socket) => socket.send(new Uint8Array(LIMITS.frameBytesMax)));
  const channel = await transport.dial(url, { signal: never });
  const frame = await nextFrame(channel);
  expect(frame).toHaveLength(LIMITS.frameBytesMax);
  channel.close('done');
});

test('a text message arrives as a frame that cannot be parsed', async () => {
  const { url } = await serve((socket) => socket.send('{"t":"welcome"}'));
  const channel = await transport.dial(url, { signal: never });
  const frame = await nextFrame(channel);
  expect(frame).toHaveLength(0);
  channel.close('done');
});

test('the end of the server is noticed, with its reason', async () => {
  const { url } = await serve((socket) => socket.close(1_001, 'the hub is stopping'));
  const channel = await transport.dial(url, { signal: never });
  expect(await closedOf(channel)).toBe('the hub is stopping');
});

test('closing from here is told there, and a long reason is cut to what a close frame holds', async () => {
  const told = Promise.withResolvers<string>();
  const { url } = await serve((socket) => socket.on('close', (_code, reason) => told.resolve(reason.toString())));
  const channel = await transport.dial(url, { signal: never });
  const closed = closedOf(channel);
  channel.close('é'.repeat(200));
  expect(await told.promise).toBe('é'.repeat(61));
  await closed;
});

test('nobody there, the wrong path, and a dial that is called off', async () => {
  const { url, close } = await serve(echo);
  expect(await refusalOf(transport.dial(url.replace('/device', '/other'), { signal: never }))).toBe('hub_unreachable');
  const abort = new AbortController();
  const dialled = refusalOf(transport.dial(url, { signal: abort.signal }));
  abort.abort();
  expect(await dialled).toBe('hub_unreachable');
  await close();
  expect(await refusalOf(transport.dial(url, { signal: never }))).toBe('hub_unreachable');
});

test.each(['ping', 'pong'] as const)(
  'a hub that sends one %s after the other is left, and a few are none too many',
  async (kind) => {
    const patient = await serve((socket) => {
      for (let times = 0; times < 20; times++) socket[kind]();
      socket.send('whole');
    });
    const channel = await transport.dial(patient.url, { signal: never });
    await nextFrame(channel);
    channel.close('done');
    const { url } = await serve((socket) => {
      const again = (): void => {
        if (socket.readyState === socket.OPEN) socket[kind]('', false, () => setImmediate(again));
      };
      again();
    });
    expect(await closedOf(await transport.dial(url, { signal: never }))).toMatch(/signs of life/);
  },
);
