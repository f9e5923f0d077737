/**
 * The `Transport` port over WebSockets: one binary message is one frame. No compression (it is 10 to 24 times slower
 * for small frames); larger frames than the protocol allows are cut at the socket before they are buffered.
 */
import type { Duplex } from 'node:stream';
import { WebSocket, type RawData } from 'ws';
import {
  IdlewildError,
  LIMITS,
  utf8,
  type Channel,
  type ChannelBinding,
  type Clock,
  type Transport,
} from '@idlewild/protocol';
import { createRate } from '../core/rate.ts';
import { NODE_LIMITS } from './limits.ts';
import { openSocket } from './open-socket.ts';

export function createWsTransport({ clock }: { clock: Clock }): Transport {
  return {
    async dial(url, { spkiPin, signal }) {
      const { socket, binding } = await openSocket(new URL(url), { spkiPin, signal });
      const webSocket = new WebSocket(url, {
        createConnection: () => socket,
        perMessageDeflate: false,
        maxPayload: LIMITS.frameBytesMax + LIMITS.sealBytes,
        followRedirects: false,
        skipUTF8Validation: true,
      });
      webSocket.binaryType = 'nodebuffer';
      await opened(webSocket, url, signal);
      return channelOver(webSocket, socket, binding, clock);
    },
  };
}

function opened(webSocket: WebSocket, url: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => webSocket.terminate();
    signal.addEventListener('abort', onAbort);
    if (signal.aborted) onAbort();
    const fail = (why: string): void => {
      signal.removeEventListener('abort', onAbort);
      reject(new IdlewildError('hub_unreachable', `no session with the hub at ${url}: ${why}`));
    };
    webSocket.on('error', (error) => fail(error.message));
    webSocket.once('close', () => fail('the connection closed'));
    webSocket.once('open', () => {
      signal.removeEventListener('abort', onAbort);
      // Until somebody listens nothing may be read, or the first frames would be lost.
      webSocket.pause();
      webSocket.removeAllListeners('error').removeAllListeners('close');
      webSocket.on('error', () => undefined /* its message comes with `close`, through `channelOver` */);
      resolve();
    });
  });
}

function channelOver(webSocket: WebSocket, socket: Duplex, binding: ChannelBinding, clock: Clock): Channel {
  let failure: string | undefined;
  return {
    binding,
    send(frame) {
      if (webSocket.readyState !== WebSocket.OPEN) return;
      together(socket);
      webSocket.send(frame);
    },
    bufferedBytes: () => webSocket.bufferedAmount,
    close(reason) {
      webSocket.close(1_000, cutText(reason));
      const timer = clock.after(NODE_LIMITS.closeMsMax, () => webSocket.terminate());
      webSocket.once('close', () => timer.cancel());
      webSocket.resume();
    },
    listen({ onFrame, onClose }) {
      webSocket.on('error', (error) => {
        failure = error.message;
      });
      // No frame of ours, so nobody else counts them; a hub needs none of them.
      const signs = createRate(clock, NODE_LIMITS.signsPerSecond, NODE_LIMITS.signsBurstMs);
      const onSign = (): void => {
        if (signs.takeMs(1) === 0) return;
        failure = 'the hub sends more signs of life than a device reads';
        webSocket.terminate();
      };
      webSocket.on('ping', onSign).on('pong', onSign);
      webSocket.once('close', (code, reason) => onClose(failure ?? (reason.toString() || `code ${code}`)));
      webSocket.on('message', (message: RawData, isBinary) => {
        // `nodebuffer` gives one buffer for a whole message; a text message is no frame, and fails to parse as one.
        const buffer = message as Buffer;
        onFrame(isBinary ? new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length) : new Uint8Array());
      });
      webSocket.resume();
    },
  };
}

/** Frames of one turn go out in one write: an engine makes tokens of many answers at a time. */
function together(socket: Duplex): void {
  if (socket.writableCorked > 0) return;
  socket.cork();
  process.nextTick(() => socket.uncork());
}

/** At most the bytes that a close frame carries, at a character's boundary. */
function cutText(text: string): string {
  let cut = text.slice(0, NODE_LIMITS.closeReasonBytesMax);
  while (utf8(cut).length > NODE_LIMITS.closeReasonBytesMax) cut = cut.slice(0, -1);
  return cut;
}
