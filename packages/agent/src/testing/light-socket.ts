/**
 * The `Transport` port over plain TCP to a hub on this machine, as small as WebSockets (RFC 6455) allow: for thousands
 * of devices in one process. It speaks to our hub only: no TLS, no extensions, no fragments. Frames are masked with
 * zeros, which is legal and free.
 */
import { connect, type Socket } from 'node:net';
import { IdlewildError, LIMITS, type Channel, type Transport } from '@idlewild/protocol';

const TEXT_END = '\r\n\r\n';
const ANSWER_BYTES_MAX = 8_192;
const OPCODE = { binary: 2, close: 8, ping: 9, pong: 10 } as const;

export const lightTransport: Transport = {
  dial(url, { signal }) {
    const { hostname, port, pathname, host, protocol } = new URL(url);
    if (protocol !== 'ws:') throw new IdlewildError('usage', `light devices speak plain TCP only, not ${protocol}`);
    return new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      const fail = (why: string): void => {
        signal.removeEventListener('abort', onAbort);
        socket.removeAllListeners().on('error', () => undefined);
        socket.destroy();
        reject(new IdlewildError('hub_unreachable', `no session with the hub at ${url}: ${why}`));
      };
      const onAbort = (): void => fail('it was called off');
      signal.addEventListener('abort', onAbort);
      socket.on('error', (error) => fail(error.message));
      socket.on('close', () => fail('the connection closed'));
      socket.write(
        `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
          `Sec-WebSocket-Key: bGlnaHQgb2YgZGV2aWNlcw==\r\nSec-WebSocket-Version: 13${TEXT_END}`,
      );
      let answer: Buffer = Buffer.alloc(0);
      socket.on('data', (chunk: Buffer) => {
        answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
        const end = answer.indexOf(TEXT_END);
        if (end < 0 && answer.length < ANSWER_BYTES_MAX) return;
        const status = answer.toString('latin1', 0, 12);
        if (end < 0 || status !== 'HTTP/1.1 101') return fail(`it answered ${status}`);
        signal.removeEventListener('abort', onAbort);
        socket.removeAllListeners();
        // Nothing is read until somebody listens, or the first frames would be lost.
        socket.pause();
        resolve(channelOver(socket, answer.subarray(end + TEXT_END.length)));
      });
    });
  },
};

function channelOver(socket: Socket, first: Buffer): Channel {
  let failure = '';
  socket.on('error', (error) => {
    failure = error.message;
  });
  return {
    binding: { kind: 'loopback' },
    send(frame) {
      if (socket.writable) socket.write(framed(OPCODE.binary, frame));
    },
    bufferedBytes: () => socket.writableLength,
    close(reason) {
      const code = Buffer.from([3, 232]);
      socket.end(framed(OPCODE.close, Buffer.concat([code, Buffer.from(reason.slice(0, 40))])));
      socket.resume();
    },
    listen({ onFrame, onClose }) {
      let waiting: Buffer = Buffer.alloc(0);
      const onData = (chunk: Buffer): void => {
        waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
        for (let message = take(waiting); message !== undefined; message = take(waiting)) {
          waiting = waiting.subarray(message.end);
          if (message.opcode === OPCODE.binary) onFrame(message.payload);
          else if (message.opcode === OPCODE.ping) socket.write(framed(OPCODE.pong, message.payload));
          else if (message.opcode === OPCODE.close) {
            failure = message.payload.toString('utf8', 2) || 'the hub closed the channel';
            socket.end(framed(OPCODE.close, message.payload.subarray(0, 2)));
          }
        }
        // A slice of a chunk would keep all of it.
        waiting = waiting.length === 0 ? Buffer.alloc(0) : Buffer.from(waiting);
        if (waiting.length > LIMITS.frameBytesMax + ANSWER_BYTES_MAX) socket.destroy();
      };
      socket.on('data', onData);
      socket.once('close', () => onClose(failure || 'the connection closed'));
      if (first.length > 0) onData(first);
      socket.resume();
    },
  };
}

function framed(opcode: number, payload: Uint8Array): Buffer {
  const { length } = payload;
  const headBytes = length < 126 ? 6 : length < 65_536 ? 8 : 14;
  const frame = Buffer.alloc(headBytes + length);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (length >= 65_536) frame.writeUInt32BE(length, 6);
  else if (length >= 126) frame.writeUInt16BE(length, 2);
  frame.set(payload, headBytes);
  return frame;
}

/** The first whole frame in `bytes`, or `undefined`. */
function take(bytes: Buffer): { opcode: number; payload: Buffer; end: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] as number) & 0x7f;
  const headBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
  if (bytes.length < headBytes) return undefined;
  const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : bytes.readUInt32BE(6);
  const end = headBytes + length;
  if (bytes.length < end) return undefined;
  return { opcode: (bytes[0] as number) & 0x0f, payload: bytes.subarray(headBytes, end), end };
}
