/**
 * Something between a device, or a caller, and a hub: HTTP on loopback that is passed on, WebSockets too, with every
 * request counted and any of them held for as long as a test likes.
 */
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';

export interface Relay {
  readonly url: string;
  /** `GET /blobs/bafk…`, oldest first. */
  readonly seen: readonly string[];
  /** Requests of the same form that wait at the hold. */
  readonly held: readonly string[];
  /** Holds every request from now on that passes; the rest goes through. */
  hold(passes: (request: string) => boolean): void;
  close(): Promise<void>;
}

export async function startRelay(hub: { readonly port: number }): Promise<Relay> {
  const seen: string[] = [];
  const held: string[] = [];
  const sockets = new Set<Duplex>();
  let holds: (request: string) => boolean = () => false;
  const server = createServer((asked, answer) => {
    const name = nameOf(asked);
    if (holds(name)) return void held.push(name);
    seen.push(name);
    const { method, url: path, headers } = asked;
    const passed = httpRequest({ host: '127.0.0.1', port: hub.port, method, path, headers }, (answered) => {
      answer.writeHead(answered.statusCode ?? 500, answered.headers);
      answered.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    asked.pipe(passed);
  });
  server.on('upgrade', (asked: IncomingMessage, socket, head) => {
    sockets.add(socket);
    const far = connect(hub.port, '127.0.0.1', () => {
      const lines = asked.rawHeaders.flatMap((word, i, all) => (i % 2 === 0 ? [`${word}: ${all[i + 1]}`] : []));
      far.write([`GET ${asked.url} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
      far.write(head);
      far.pipe(socket).pipe(far);
    });
    far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket
      .on('error', () => far.destroy())
      .on('close', () => {
        sockets.delete(socket);
        far.destroy();
      });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    held,
    hold(passes) {
      holds = passes;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
        for (const socket of sockets) socket.destroy();
      }),
  };
}

const nameOf = ({ method, url }: IncomingMessage): string => `${method} ${url}`;
