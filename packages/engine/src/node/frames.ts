/**
 * Messages between a host and its engine process: CBOR maps, each after its length as a 32-bit little-endian number,
 * over one pipe.
 *
 * Both ends are this package in one version, so there is no negotiation; what is not a frame is a fault and ends the
 * pipe.
 */
import {
  IdlewildError,
  decodeCbor,
  encodeCbor,
  type AnswerWork,
  type EmbedWork,
  type ErrorCode,
} from '@idlewild/protocol';
import type { Duplex } from 'node:stream';
import type { Embedded, EngineEvent, EngineLimits, EngineModel } from '../core/port.ts';

/** A prompt of the longest that the wire allows, and the tokens of earlier attempts. */
const FRAME_BYTES_MAX = 16_777_216;
const HEAD_BYTES = 4;

/** What an engine says of itself once its model is loaded. */
export interface Loaded {
  readonly engineBuild: string;
  readonly provider: string;
  readonly fingerprint: string;
  readonly memoryBytes: number;
  readonly tokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  readonly sharedCost?: number;
}

export interface Measured {
  readonly engineBuild: string;
  readonly fingerprint: string;
  readonly gflops: number;
  readonly works: boolean;
  readonly reason: string;
}

export type ToEngine =
  | { readonly t: 'load'; readonly model: EngineModel; readonly limits: EngineLimits }
  | { readonly t: 'answer'; readonly n: number; readonly work: AnswerWork }
  | { readonly t: 'embed'; readonly n: number; readonly work: EmbedWork }
  | { readonly t: 'cancel'; readonly n: number }
  | { readonly t: 'measure'; readonly provider: 'cpu' | 'webgpu' }
  | { readonly t: 'throttle'; readonly share: number }
  | { readonly t: 'ping' }
  | { readonly t: 'bye' };

export type FromEngine =
  | { readonly t: 'loaded'; readonly loaded: Loaded }
  | { readonly t: 'measured'; readonly measured: Measured }
  | { readonly t: 'event'; readonly n: number; readonly event: EngineEvent }
  | {
      readonly t: 'embedded';
      readonly n: number;
      readonly vectors: readonly Uint8Array[];
      readonly tokens: readonly number[];
      readonly cpuMs?: number | undefined;
    }
  | {
      readonly t: 'embed.failed';
      readonly n: number;
      readonly code: ErrorCode;
      readonly message: string;
      readonly input?: number | undefined;
    }
  | { readonly t: 'failed'; readonly code: ErrorCode; readonly message: string }
  /** Processor time of the whole process since it started; before each end, and each sign of life. */
  | { readonly t: 'used'; readonly cpuMs: number }
  /** Of the whole process. */
  | { readonly t: 'pong'; readonly residentBytes: number };

/** The message that carries vectors: their bytes as they lie in memory, for both ends are one machine. */
export const embeddedMessage = (n: number, { vectors, tokens, cpuMs }: Embedded): FromEngine => ({
  t: 'embedded',
  n,
  cpuMs,
  vectors: vectors.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength)),
  tokens,
});

export const embeddedOf = (message: Extract<FromEngine, { t: 'embedded' }>): Embedded => ({
  vectors: message.vectors.map((bytes) => new Float32Array(bytes.slice().buffer)),
  tokens: message.tokens,
  ...(message.cpuMs === undefined ? {} : { cpuMs: message.cpuMs }),
});

export interface FramePipe<Out> {
  send(message: Out): void;
}

/** Throws nothing later: a broken pipe is told through `onEnd`, once. */
export function openFramePipe<Out, In>(
  pipe: Duplex,
  onMessage: (message: In) => void,
  onEnd: (reason: string) => void,
): FramePipe<Out> {
  let buffered: Buffer = Buffer.alloc(0);
  let ended = false;
  const end = (reason: string): void => {
    if (ended) return;
    ended = true;
    pipe.destroy();
    onEnd(reason);
  };

  function read(chunk: Buffer): void {
    buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk]);
    let at = 0;
    while (!ended && buffered.length - at >= HEAD_BYTES) {
      const bytes = buffered.readUInt32LE(at);
      if (bytes > FRAME_BYTES_MAX) return end(`a frame of ${bytes} bytes is over the limit of ${FRAME_BYTES_MAX}`);
      if (buffered.length - at - HEAD_BYTES < bytes) break;
      const frame = buffered.subarray(at + HEAD_BYTES, at + HEAD_BYTES + bytes);
      at += HEAD_BYTES + bytes;
      onMessage(decodeCbor(frame, 'a message of the engine process') as In);
    }
    buffered = buffered.subarray(at);
  }

  pipe.on('data', (chunk: Buffer) => {
    try {
      read(chunk);
    } catch (error) {
      end((error as Error).message);
    }
  });
  pipe.on('error', (error) => end(error.message));
  pipe.on('end', () => end('the pipe was closed'));
  pipe.on('close', () => end('the pipe was closed'));
  return {
    send(message) {
      if (ended) return;
      const body = encodeCbor(withoutUndefined(message));
      if (body.length > FRAME_BYTES_MAX) {
        throw new IdlewildError(
          'invalid_request',
          `a request of ${body.length} bytes is over the engine's limit of ${FRAME_BYTES_MAX}`,
        );
      }
      const frame = Buffer.allocUnsafe(HEAD_BYTES + body.length);
      frame.writeUInt32LE(body.length);
      frame.set(body, HEAD_BYTES);
      together(pipe);
      pipe.write(frame);
    },
  };
}

/** CBOR knows `undefined` as a value of its own; in ours it means that a field is not there. */
function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return typeof value[0] === 'object' ? value.map(withoutUndefined) : value;
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, field]) => (field === undefined ? [] : [[name, withoutUndefined(field)]])),
  );
}

/** What is written in one turn goes out in one: a run of an engine makes tokens of many answers. */
function together(pipe: Duplex): void {
  if (pipe.writableCorked > 0) return;
  pipe.cork();
  process.nextTick(() => pipe.uncork());
}
