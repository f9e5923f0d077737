/**
 * Ends of TLS for the tests: a `fetch` that trusts one hub's own certificate and no other, a balancer that ends TLS in
 * front of a hub, and servers that stand where a hub should be and note all that a device tells them.
 */
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, request as httpsRequest } from 'node:https';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { createServer as createTlsServer } from 'node:tls';
import type { Fetch } from '@idlewild/client';
import { WebSocket, WebSocketServer } from 'ws';

/** `data`: the folder of a hub that has made a certificate of its own, by the time of the first request. */
export const fetchTrusting =
  (data: string): Fetch =>
  (input, init = {}) =>
    new Promise((resolve, reject) => {
      const { method = 'GET', body, signal } = init;
      const headers = Object.fromEntries(new Headers(init.headers));
      const ca = readFileSync(join(data, 'tls.crt'));
      const options = { method, headers, ca, ...(signal ? { signal } : {}) };
      const asked = httpsRequest(new URL(typeof input === 'string' ? input : ''), options, (answered) => {
        const { statusCode: status = 500 } = answered;
        if (status === 204) answered.resume();
        const stream = status === 204 ? null : (Readable.toWeb(answered) as ReadableStream<Uint8Array<ArrayBuffer>>);
        resolve(new Response(stream, { status }));
      });
      asked.once('error', reject);
      asked.end(body ?? undefined);
    });

export interface Balancer {
  readonly url: string;
  /** Connections go to this port of loopback from now on. */
  point(port: number): void;
  /** Connections that it has carried. */
  carried(): number;
  close(): void;
}

/** Ends TLS with the certificate that lies in `certificates`, and carries bytes to a hub that never sees it. */
export async function startBalancer(certificates: string): Promise<Balancer> {
  const [cert, key] = ['tls.crt', 'tls.key'].map((file) => readFileSync(join(certificates, file)));
  const sockets = new Set<Socket>();
  let target = 0;
  let carried = 0;
  const server = createTlsServer({ cert, key, ALPNProtocols: ['http/1.1'] }, (near) => {
    carried += 1;
    const far = connect(target, '127.0.0.1');
    sockets.add(near).add(far);
    const over = (): void => void (sockets.delete(near) && sockets.delete(far));
    pipeline(near, far, near, over);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    carried: () => carried,
    point: (port) => {
      target = port;
    },
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

export interface Impostor {
  readonly url: string;
  /** Of its own certificate. */
  readonly pin: Uint8Array;
  /** Every message that a device sent, whole. */
  readonly heard: readonly Buffer[];
  /** Bytes of any kind that came through TLS. */
  bytes(): number;
  close(): void;
}

/** Serves WebSockets with the certificate that lies in `certificates`; `act` has each connection. */
export async function startImpostor(certificates: string, act: (device: WebSocket) => void): Promise<Impostor> {
  const cert = readFileSync(join(certificates, 'tls.crt'));
  const server = createServer({ cert, key: readFileSync(join(certificates, 'tls.key')) });
  const sockets = new WebSocketServer({ server });
  const heard: Buffer[] = [];
  let bytes = 0;
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined /* a device that distrusts it just goes */);
    socket.on('data', (part: Buffer) => {
      bytes += part.length;
    });
  });
  sockets.on('connection', (device) => {
    device.on('message', (message: Buffer) => heard.push(message));
    act(device);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const spki = new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' });
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    heard,
    bytes: () => bytes,
    pin: new Uint8Array(createHash('sha256').update(spki).digest()),
    close() {
      for (const device of sockets.clients) device.terminate();
      sockets.close();
      server.close();
      server.closeAllConnections();
    },
  };
}

/** What somebody in between makes of a message. */
export type Change = (message: Buffer, towards: 'device' | 'hub') => Uint8Array;

/** Passes every message on, both ways, to the hub that it pretends to be. */
export const passingOn =
  (hubUrl: string, change: Change = (message) => message) =>
  (device: WebSocket): void => {
    const hub = new WebSocket(`${hubUrl.replace(/^http/, 'ws')}/device`, { rejectUnauthorized: false });
    const waiting: Uint8Array[] = [];
    device.on('message', (message: Buffer) => {
      const passed = change(message, 'hub');
      if (hub.readyState === hub.OPEN) hub.send(passed);
      else waiting.push(passed);
    });
    hub.on('open', () => {
      for (const message of waiting.splice(0)) hub.send(message);
    });
    hub.on('message', (message: Buffer) => device.send(change(message, 'device')));
    hub.on('close', () => device.close()).on('error', () => device.close());
    device.on('close', () => hub.close());
  };
