/** Claims about sockets that want to be something else than a request: over real ones, in this process. */
import { createServer, type RequestListener, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { LIMITS } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { HUB_LIMITS } from '../../limits.ts';
import type { DialledChannel } from '../../session/port.ts';
import { attachDeviceSocket, isDialling } from './device-socket.ts';

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).toReversed()) step();
});

interface Met {
  readonly channel: DialledChannel;
  readonly frames: number[];
  readonly closed: string[];
}

async function listen(options: { readonly shouldUpgradeCallback?: typeof isDialling } = {}) {
  const met: Met[] = [];
  const clock = createFakeClock(async () => {});
  const answer: RequestListener = ({ url }, response) => void response.end(`asked ${url}`);
  const server = createServer(options, answer);
  const accept = (channel: DialledChannel): void => {
    const one: Met = { channel, frames: [], closed: [] };
    met.push(one);
    channel.listen({ onFrame: (frame) => one.frames.push(frame.length), onClose: (why) => one.closed.push(why) });
  };
  const sockets = attachDeviceSocket(server, { binding: { kind: 'loopback' }, clock, crypto: nodeCrypto, accept });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(() => {
    sockets.close();
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { server, port, met, clock };
}

const connectionsOf = (server: Server): Promise<number> =>
  new Promise((resolve) => server.getConnections((_, count) => resolve(count)));

function dial(port: number): { readonly socket: Socket; readonly heard: () => string } {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  undo.push(() => socket.destroy());
  let heard = '';
  socket.on('data', (bytes) => (heard += bytes.toString('latin1')));
  socket.on('error', () => {});
  return { socket, heard: () => heard };
}

async function dialAsDevice(port: number): Promise<{ device: WebSocket; closed: Promise<number> }> {
  const device = new WebSocket(`ws://127.0.0.1:${port}/device`);
  undo.push(() => device.terminate());
  const closed = new Promise<number>((resolve) => device.once('close', resolve));
  device.on('error', () => {});
  await new Promise((resolve) => device.once('open', resolve));
  return { device, closed };
}

const upgrade = (path: string, to = 'websocket'): string =>
  `GET ${path} HTTP/1.1\r\nhost: hub\r\nconnection: upgrade\r\nupgrade: ${to}\r\n\r\n`;

test('who wants a WebSocket elsewhere and hangs up hard ends nothing but his own connection', async () => {
  const { server, port } = await listen();
  for (let round = 0; round < 64; round++) {
    const { socket, heard } = dial(port);
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.write(upgrade('/elsewhere'));
    // Before the answer, and with it.
    if (round % 2 === 0) await expect.poll(heard).toMatch(/^HTTP\/1\.1 404/);
    socket.resetAndDestroy();
  }
  expect(await (await fetch(`http://127.0.0.1:${port}/still`)).text()).toBe('asked /still');
  // One that never hangs up is not waited for.
  dial(port).socket.write(upgrade('/elsewhere'));
  server.closeIdleConnections();
  await expect.poll(() => connectionsOf(server)).toBe(0);
});

test('a wish for another protocol, or for a socket elsewhere, is passed over, and the request answered', async () => {
  const { port, met } = await listen({ shouldUpgradeCallback: isDialling });
  for (const [path, to] of [
    ['/v1/models', 'h2c'],
    ['/v1/models', 'websocket'],
    ['/device', 'h2c'],
    ['/device', 'TLS/1.3, IRC/6.9'],
    ['/t/ter_a/devices', 'websocket'],
  ] as const) {
    const { socket, heard } = dial(port);
    socket.write(upgrade(path, to));
    await expect.poll(heard).toContain(`asked ${path}`);
  }
  expect(met).toEqual([]);
  await dialAsDevice(port);
  expect(met).toHaveLength(1);
});

test('who has not proved who it is may send a handshake, and no more, into however many frames it is cut', async () => {
  const { port, met, clock } = await listen();
  const { device, closed } = await dialAsDevice(port);
  const gone = async (one: Met): Promise<void> => {
    await expect
      .poll(async () => {
        await clock.advance(LIMITS.handshakeMs);
        return one.closed.length;
      })
      .toBe(1);
  };
  for (let sent = 0; sent < HUB_LIMITS.unprovedBytesMax; sent += 0x4000) device.send(new Uint8Array(0x4000));
  const first = met[0] as Met;
  await gone(first);
  expect(await closed).toBe(1009);
  // Besides what was read at once.
  const heardBytes = first.frames.reduce((sum, bytes) => sum + bytes, 0);
  expect(heardBytes).toBeLessThanOrEqual(HUB_LIMITS.unprovedBytesMax + 65_536);
  // In one message that never ends, by somebody who never says goodbye either.
  const stubborn = await dialAsDevice(port);
  stubborn.device.pause();
  for (let sent = 0; sent <= HUB_LIMITS.unprovedBytesMax; sent += 0x1000)
    stubborn.device.send(new Uint8Array(0x1000), { fin: false });
  const second = met[1] as Met;
  await gone(second);
  expect(second.frames).toEqual([]);
});

test('who has proved it sends what devices send', async () => {
  const { port, met } = await listen();
  const { device } = await dialAsDevice(port);
  device.send(new Uint8Array(LIMITS.handshakeFrameBytesMax));
  const { frames, channel } = met[0] as Met;
  await expect.poll(() => frames).toHaveLength(1);
  channel.proved?.();
  for (let count = 0; count < 3; count++) device.send(new Uint8Array(LIMITS.frameBytesMax));
  await expect.poll(() => frames).toHaveLength(4);
});

test('pings are answered to who reads the answers, and are kept for nobody', async () => {
  const { port, met } = await listen();
  const { device } = await dialAsDevice(port);
  const { channel } = met[0] as Met;
  channel.proved?.();
  let pongs = 0;
  device.on('pong', () => pongs++);
  device.ping('still there?');
  await expect.poll(() => pongs).toBe(1);
  device.pause();
  let most = 0;
  const flood = new Uint8Array(125);
  for (let round = 0; round < 60; round++) {
    for (let count = 0; count < 2_000; count++) device.ping(flood);
    await new Promise((resolve) => device.ping(flood, true, resolve));
    most = Math.max(most, channel.bufferedBytes());
  }
  expect(most).toBeLessThan(2 * HUB_LIMITS.usuallyBufferedBytes);
  device.resume();
  await expect.poll(() => channel.bufferedBytes()).toBe(0);
  const before = pongs;
  device.ping('and now?');
  await expect.poll(() => pongs).toBeGreaterThan(before);
});
