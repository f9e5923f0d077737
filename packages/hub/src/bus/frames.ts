/**
 * What a message is on a bus that others can read and write: sealed with a key that only replicas of this hub have.
 *
 *     version 1 | sender 16 | number 6 | AES-256-GCM( sent 6 | kind 1 | [ message 6 | index 1 | count 1 ] | payload )
 *
 * Numbers are unsigned, big-endian. Each process draws a random sender's id and derives a key of its own from the
 * hub's secret, so the number alone, which grows by one with each message, is a nonce that never comes twice: random
 * nonces under one shared key would be safe for 2³² messages only (NIST SP 800-38D), which is a few days of a busy hub.
 * The subject is bound in as additional data. Whether a number came before is for `heard.ts`.
 */
import { concat, equalBytes, utf8, type Clock, type Crypto, type MaybePromise, type Random } from '@idlewild/protocol';
import { BUS_LIMITS } from './limits.ts';
import { andThen } from './maybe-promise.ts';

const VERSION = 1;
const SENDER_BYTES = 16;
const NUMBER_BYTES = 6;
const HEAD_BYTES = 1 + SENDER_BYTES + NUMBER_BYTES;
const NONCE_BYTES = 12;
const WHOLE = 0;
const PART = 1;
const WHOLE_BYTES = NUMBER_BYTES + 1;
const PART_BYTES = WHOLE_BYTES + NUMBER_BYTES + 2;
const LABEL = utf8('idlewild bus sender key 1');
const KEY_BYTES = 32;

/** One piece of a message that is too long for one frame. */
export interface Part {
  /** The same in all parts of one message of one sender. */
  readonly message: number;
  readonly index: number;
  readonly count: number;
}

/** A process that has shown that it has the hub's secret. */
export interface Sender {
  readonly id: Uint8Array;
  readonly key: Uint8Array;
  heardMs: number;
}

export interface Frame {
  readonly sender: Sender;
  readonly number: number;
  readonly payload: Uint8Array;
  readonly part: Part | undefined;
}

/** Why a frame is not one: too short or of another version; not sealed by a replica of this hub for this; held back. */
export type Refusal = 'unknown' | 'forged' | 'old';

export interface Frames {
  /** Of this process. */
  readonly id: Uint8Array;
  /** The number that the next `seal` takes. */
  nextNumber(): number;
  seal(bound: Uint8Array, payload: Uint8Array, part?: Part): MaybePromise<Uint8Array>;
  open(bound: Uint8Array, frame: Uint8Array): MaybePromise<Frame | Refusal>;
  /** Told of a sender that will be taken for a new one when it comes back. */
  onForget(listener: (sender: Sender) => void): void;
}

interface Deps {
  /** 32 random bytes. */
  readonly key: Uint8Array;
  readonly crypto: Crypto;
  readonly random: Random;
  /** The same for all replicas within a minute. */
  readonly clock: Clock;
}

export async function createFrames(deps: Deps): Promise<Frames> {
  const { crypto, clock } = deps;
  const id = deps.random.bytes(SENDER_BYTES);
  const keyOf = (sender: Uint8Array): MaybePromise<Uint8Array> => crypto.hkdf(deps.key, sender, LABEL, KEY_BYTES);
  const ownKey = await keyOf(id);
  const senders = createSenders(clock);
  let number = 0;

  const open = (sender: Sender, bound: Uint8Array, frame: Uint8Array): MaybePromise<Frame | Refusal> => {
    const nonce = nonceOf(frame.subarray(1 + SENDER_BYTES, HEAD_BYTES));
    const plain = attempt(() => crypto.open(sender.key, nonce, frame.subarray(HEAD_BYTES), bound));
    return andThen(plain, (opened): Frame | Refusal => {
      if (opened === undefined || opened.length < WHOLE_BYTES) return 'forged';
      // What only looks like a sender's is not taken for its sign of life.
      const known = senders.get(sender.id) ?? sender;
      senders.keep(known);
      if (Math.abs(clock.now() - readNumber(opened, 0)) > BUS_LIMITS.ageMsMax) return 'old';
      return { sender: known, number: readNumber(frame, 1 + SENDER_BYTES), ...contentOf(opened) };
    });
  };

  return {
    id,
    nextNumber: () => number + 1,
    seal(bound, payload, part) {
      const head = new Uint8Array(HEAD_BYTES);
      head[0] = VERSION;
      head.set(id, 1);
      writeNumber(head, 1 + SENDER_BYTES, ++number);
      const plain = plainOf(clock.now(), payload, part);
      const sealed = crypto.seal(ownKey, nonceOf(head.subarray(1 + SENDER_BYTES)), plain, bound);
      return andThen(sealed, (bytes) => concat([head, bytes]));
    },
    open(bound, frame) {
      if (frame.length < HEAD_BYTES || frame[0] !== VERSION) return 'unknown';
      const id = frame.subarray(1, 1 + SENDER_BYTES);
      const known = senders.get(id);
      if (known !== undefined) return open(known, bound, frame);
      return andThen(keyOf(id), (key) => open({ id: id.slice(), key, heardMs: 0 }, bound, frame));
    },
    onForget: (listener) => senders.onForget(listener),
  };
}

interface Senders {
  get(id: Uint8Array): Sender | undefined;
  keep(sender: Sender): void;
  onForget(listener: (sender: Sender) => void): void;
}

/** Those that were heard lately, one per replica; one that ended is forgotten when a new one appears. */
function createSenders(clock: Clock): Senders {
  let known: readonly Sender[] = [];
  const listeners: ((sender: Sender) => void)[] = [];
  const forgetSilent = (): void => {
    const untilMs = clock.monotonic() - BUS_LIMITS.senderMsMax;
    const silent = known.filter(({ heardMs }) => heardMs < untilMs);
    known = known.filter(({ heardMs }) => heardMs >= untilMs);
    for (const sender of silent) for (const listener of listeners) listener(sender);
  };
  return {
    get: (id) => known.find((sender) => equalBytes(sender.id, id)),
    keep(sender) {
      sender.heardMs = clock.monotonic();
      if (known.includes(sender)) return;
      forgetSilent();
      known = [...known, sender];
    },
    onForget: (listener) => void listeners.push(listener),
  };
}

function plainOf(nowMs: number, payload: Uint8Array, part: Part | undefined): Uint8Array {
  const at = part === undefined ? WHOLE_BYTES : PART_BYTES;
  const plain = new Uint8Array(at + payload.length);
  writeNumber(plain, 0, nowMs);
  plain[NUMBER_BYTES] = part === undefined ? WHOLE : PART;
  if (part !== undefined) {
    writeNumber(plain, WHOLE_BYTES, part.message);
    plain[PART_BYTES - 2] = part.index;
    plain[PART_BYTES - 1] = part.count;
  }
  plain.set(payload, at);
  return plain;
}

function contentOf(plain: Uint8Array): Pick<Frame, 'payload' | 'part'> {
  if (plain[NUMBER_BYTES] === WHOLE) return { payload: plain.subarray(WHOLE_BYTES), part: undefined };
  const part = {
    message: readNumber(plain, WHOLE_BYTES),
    index: plain[PART_BYTES - 2] ?? 0,
    count: plain[PART_BYTES - 1] ?? 0,
  };
  return { payload: plain.subarray(PART_BYTES), part };
}

function nonceOf(number: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce.set(number, NONCE_BYTES - NUMBER_BYTES);
  return nonce;
}

function writeNumber(bytes: Uint8Array, at: number, value: number): void {
  let left = Math.floor(value);
  for (let i = at + NUMBER_BYTES - 1; i >= at; i--) {
    bytes[i] = left % 256;
    left = Math.floor(left / 256);
  }
}

function readNumber(bytes: Uint8Array, at: number): number {
  let value = 0;
  for (let i = at; i < at + NUMBER_BYTES; i++) value = value * 256 + (bytes[i] ?? 0);
  return value;
}

/** `undefined` where it throws or rejects: here that means that the seal does not hold. */
function attempt(act: () => MaybePromise<Uint8Array>): MaybePromise<Uint8Array | undefined> {
  try {
    const result = act();
    return result instanceof Promise ? result.catch(() => undefined) : result;
  } catch {
    return undefined;
  }
}
