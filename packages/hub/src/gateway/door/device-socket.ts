/**
 * Where devices dial in: one WebSocket each, binary frames only, nothing compressed (deflate costs a factor of ten),
 * and no frame over the limit is ever buffered. Every channel can be sealed: what ends TLS may be in front of the hub.
 *
 * Until a device has proved who it is, all that it sends together is bounded, whatever it is cut into. Pings are
 * answered to who reads the answers. A wish for any other protocol is passed over: the request is one like others.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { LIMITS, sealable, type Channel, type ChannelBinding, type Clock, type Crypto } from '@idlewild/protocol';
import { WebSocketServer, type WebSocket } from 'ws';
import { HUB_LIMITS } from '../../limits.ts';
import type { DialledChannel } from '../../session/port.ts';
import type { Connections } from './connections.ts';
import { territoryIn } from './territory-path.ts';

export const DEVICE_PATH = '/device';

const NORMAL_CLOSURE = 1000;
const UNSUPPORTED_DATA = 1003;
const TOO_BIG = 1009;
/** Reasons travel in a control frame of at most 125 bytes. */
const REASON_CHARACTERS_MAX = 40;

function channelOf(socket: WebSocket, binding: ChannelBinding, clock: Clock): Channel {
  let handlers: Parameters<Channel['listen']>[0] | undefined;
  let closed = false;
  const over = (reason: string): void => {
    if (closed) return;
    closed = true;
    handlers?.onClose(reason);
  };
  socket.on('message', (message: Buffer, isBinary: boolean) => {
    if (closed) return;
    if (!isBinary) return socket.close(UNSUPPORTED_DATA, 'frames are binary');
    handlers?.onFrame(new Uint8Array(message.buffer, message.byteOffset, message.byteLength));
  });
  socket.on('close', (_code, reason) => over(reason.toString()));
  socket.on('error', (error) => over(error.message));
  // Whoever asks and does not read would fill the memory with answers.
  socket.on('ping', (asked) => {
    if (socket.bufferedAmount <= HUB_LIMITS.usuallyBufferedBytes) socket.pong(asked);
  });
  return {
    binding,
    send(frame) {
      if (socket.readyState === socket.OPEN) socket.send(frame);
    },
    bufferedBytes: () => socket.bufferedAmount,
    close(reason) {
      socket.close(NORMAL_CLOSURE, reason.replace(/[^\x20-\x7e]/g, '?').slice(0, REASON_CHARACTERS_MAX));
      // A peer that never answers the close must not keep its socket.
      if (socket.readyState === socket.CLOSED) return;
      const abandon = clock.after(LIMITS.handshakeMs, () => socket.terminate());
      socket.once('close', () => abandon.cancel());
    },
    listen(given) {
      handlers = given;
    },
  };
}

/** Lets go of who sends more than a handshake before its device has proved itself; the answer says that it has. */
function boundUnproved(webSocket: WebSocket, socket: Duplex, clock: Clock): () => void {
  let bytes = 0;
  const proved = (): void => void socket.off('data', count);
  function count(chunk: Buffer): void {
    bytes += chunk.length;
    if (bytes <= HUB_LIMITS.unprovedBytesMax || webSocket.readyState !== webSocket.OPEN) return;
    proved();
    webSocket.close(TOO_BIG, 'too much before a proof');
    // Nothing more is taken in from somebody who may never answer that.
    webSocket.pause();
    const abandon = clock.after(LIMITS.handshakeMs, () => webSocket.terminate());
    webSocket.once('close', () => abandon.cancel());
  }
  socket.on('data', count);
  return proved;
}

/** What is written within this turn goes out in one write: a device that is refused gets three things at once. */
function together(socket: Duplex): void {
  socket.cork();
  process.nextTick(() => socket.uncork());
}

/** `territory`: which one the address names; absent: it names none, and `hello` will. */
export interface Accept {
  (channel: DialledChannel, territory: string | undefined): void;
}

const placeOf = ({ url = '' }: IncomingMessage) => territoryIn(url.split('?', 1)[0] ?? '');

export interface DeviceSocketOptions {
  readonly binding: ChannelBinding;
  readonly accept: Accept;
  readonly clock: Clock;
  readonly crypto: Crypto;
  /** Told who comes and who turns out to be known; absent: nobody counts them. */
  readonly connections?: Pick<Connections, 'asks' | 'stands'>;
}

/**
 * Whether a request becomes a device's socket. Many HTTP clients wish for HTTP/2 in passing (`Upgrade: h2c`), and are
 * to be answered as if they did not.
 */
export const isDialling = (request: IncomingMessage): boolean =>
  placeOf(request).rest === DEVICE_PATH && request.headers.upgrade?.toLowerCase() === 'websocket';

/** Takes upgrades to `DEVICE_PATH` on `server`, with a territory in front or none; any other upgrade is refused. */
export function attachDeviceSocket(server: Server, options: DeviceSocketOptions): { close(): void } {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.frameBytesMax + LIMITS.sealBytes,
    perMessageDeflate: false,
    clientTracking: true,
    autoPong: false,
  });
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const { territory, rest } = placeOf(request);
    if (rest !== DEVICE_PATH) {
      // The server has let go of it: who hangs up, or never does, is ours.
      socket.on('error', () => socket.destroy());
      socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n', () => socket.destroy());
      return;
    }
    options.connections?.asks(request);
    together(socket);
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const freed = boundUnproved(webSocket, socket, options.clock);
      const proved = (): void => {
        freed();
        options.connections?.stands(socket, true);
      };
      const channel = sealable(channelOf(webSocket, options.binding, options.clock), options.crypto);
      options.accept({ ...channel, proved }, territory);
    });
  };
  server.on('upgrade', onUpgrade);
  return {
    close() {
      server.off('upgrade', onUpgrade);
      for (const webSocket of sockets.clients) webSocket.terminate();
      sockets.close();
    },
  };
}
