/**
 * Where devices dial in: one WebSocket each, binary frames only, nothing compressed (deflate costs a factor of ten),
 * and no frame over the limit is ever buffered. Every channel can be sealed: what ends TLS may be in front of the hub.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { LIMITS, sealable, type Channel, type ChannelBinding, type Clock, type Crypto } from '@idlewild/protocol';
import { WebSocketServer, type WebSocket } from 'ws';
import { territoryIn } from './territory-path.ts';

export const DEVICE_PATH = '/device';

const NORMAL_CLOSURE = 1000;
const UNSUPPORTED_DATA = 1003;
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

/** What is written within this turn goes out in one write: a device that is refused gets three things at once. */
function together(socket: Duplex): void {
  socket.cork();
  process.nextTick(() => socket.uncork());
}

/** `territory`: which one the address names; absent: it names none, and `hello` will. */
export interface Accept {
  (channel: Channel, territory: string | undefined): void;
}

/** Takes upgrades to `DEVICE_PATH` on `server`, with a territory in front or none; any other upgrade is refused. */
export function attachDeviceSocket(
  server: Server,
  options: { binding: ChannelBinding; accept: Accept; clock: Clock; crypto: Crypto },
): { close(): void } {
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.frameBytesMax + LIMITS.sealBytes,
    perMessageDeflate: false,
    clientTracking: true,
  });
  const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const { territory, rest } = territoryIn((request.url ?? '').split('?', 1)[0] ?? '');
    if (rest !== DEVICE_PATH) {
      socket.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n');
      return;
    }
    together(socket);
    sockets.handleUpgrade(request, socket, head, (webSocket) =>
      options.accept(sealable(channelOf(webSocket, options.binding, options.clock), options.crypto), territory),
    );
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
