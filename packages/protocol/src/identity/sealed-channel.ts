/**
 * A session inside a channel: what two ends that have proved themselves seal their frames with, so that whoever carries
 * them (a balancer that ends TLS, a proxy, a network with its own authority) reads nothing and changes nothing.
 *
 *  - Each end brings an X25519 key for this one session: the device's is in `hello`, the hub's in its signed proof, and
 *    the device's proof covers both. The keys are HKDF-SHA-256 over the agreed secret, salted with the hash of both
 *    frames. Both private keys are forgotten: who steals the long-lived keys later opens nothing of what was recorded.
 *  - Each direction has a key and counts its frames; the count is the nonce and is sent nowhere. So a frame that was
 *    changed, dropped, repeated, moved, sent back or added does not open, and ends the channel.
 *  - After `sealFramesPerKey` frames the key is replaced by one that follows from it, and cannot be told from it.
 *
 * The counterparts are TLS 1.3 (RFC 8446: signatures over the transcript, keys from it, key update) and Noise's XX.
 * Who the two ends are is not hidden from who carries the frames: the first two go in the clear.
 */
import { concat, utf8 } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import type { Channel, Crypto, MaybePromise, SessionKeys } from '../ports.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const NOTHING = new Uint8Array();
const NEXT_KEY = utf8('idlewild/v1/session/next');

export type SealableChannel = Channel & Required<Pick<Channel, 'seal'>>;

/**
 * The keys as `end` sees them. `ownKey` is its own private X25519 key, `peerKey` the other's public one; `hello` and
 * `challenge` are the frames as they were carried. Throws `signature_invalid` for a key that agrees on nothing.
 */
export async function sessionKeys(
  input: { end: 'device' | 'hub'; ownKey: Uint8Array; peerKey: Uint8Array; hello: Uint8Array; challenge: Uint8Array },
  crypto: Crypto,
): Promise<SessionKeys> {
  const secret = await crypto.agree(input.ownKey, input.peerKey);
  const transcript = await crypto.sha256(
    concat([await crypto.sha256(input.hello), await crypto.sha256(input.challenge)]),
  );
  const keyFrom = async (end: string): Promise<Uint8Array> =>
    crypto.hkdf(secret, transcript, utf8(`idlewild/v1/session/${end}`), KEY_BYTES);
  const [device, hub] = [await keyFrom('device'), await keyFrom('hub')];
  return input.end === 'device' ? { send: device, receive: hub } : { send: hub, receive: device };
}

/**
 * `inner` as it is until `seal` is called. With a `Crypto` that answers at once frames go out and come in at once;
 * with another they wait in order. A frame that does not open ends the channel for its owner immediately.
 */
export function sealable(inner: Channel, crypto: Crypto): SealableChannel {
  let handlers: Parameters<Channel['listen']>[0] | undefined;
  let sending: Direction | undefined;
  let receiving: Direction | undefined;
  let over = false;
  const end = (reason: string): void => {
    if (over) return;
    over = true;
    handlers?.onClose(reason);
  };
  const fail = (reason: string): void => {
    if (over) return;
    end(reason);
    inner.close(reason);
  };
  return {
    binding: inner.binding,
    send(frame) {
      if (over) return;
      if (sending === undefined) inner.send(frame);
      else sending.push(frame);
    },
    bufferedBytes: () => inner.bufferedBytes() + (sending?.waitingBytes() ?? 0),
    close(reason) {
      if (sending === undefined) inner.close(reason);
      else sending.afterAll(() => inner.close(reason));
    },
    listen(given) {
      handlers = given;
      inner.listen({
        onFrame(frame) {
          if (over) return;
          if (receiving === undefined) given.onFrame(frame);
          else receiving.push(frame);
        },
        onClose(reason) {
          if (receiving === undefined) end(reason);
          else receiving.afterAll(() => end(reason));
        },
      });
    },
    seal(keys) {
      if (sending !== undefined) throw new Error('a channel is sealed once');
      const nextKey = (key: Uint8Array): MaybePromise<Uint8Array> => crypto.hkdf(key, NOTHING, NEXT_KEY, KEY_BYTES);
      sending = createDirection({
        nextKey,
        key: keys.send,
        work: (key, nonce, frame) => crypto.seal(key, nonce, frame, NOTHING),
        deliver: (sealed) => inner.send(sealed),
        failed: () => fail('a frame could not be sealed'),
      });
      receiving = createDirection({
        nextKey,
        key: keys.receive,
        work: (key, nonce, frame) => crypto.open(key, nonce, frame, NOTHING),
        deliver(frame) {
          if (!over) handlers?.onFrame(frame);
        },
        failed: () => fail('a frame was not sealed by the other end: something in between changed or lost one'),
      });
    },
  };
}

interface Direction {
  push(frame: Uint8Array): void;
  /** Bytes of frames that are not done. */
  waitingBytes(): number;
  /** When all that was pushed is done: at once where nothing waits. */
  afterAll(act: () => void): void;
}

/** One key, and the frames that it seals or opens, one after the other. */
function createDirection(options: {
  key: Uint8Array;
  work(key: Uint8Array, nonce: Uint8Array, frame: Uint8Array): MaybePromise<Uint8Array>;
  nextKey(key: Uint8Array): MaybePromise<Uint8Array>;
  deliver(frame: Uint8Array): void;
  failed(): void;
}): Direction {
  const { work, nextKey, deliver, failed } = options;
  let { key } = options;
  let count = 0;
  let waiting = 0;
  let last: Promise<void> | undefined;

  /** The count ends with its key, so no nonce is ever used twice. */
  const keyOfFrame = (): MaybePromise<Uint8Array> => {
    if (count < LIMITS.sealFramesPerKey) return key;
    return then(nextKey(key), (next) => {
      key = next;
      count = 0;
      return key;
    });
  };
  const one = (frame: Uint8Array): MaybePromise<Uint8Array> =>
    then(keyOfFrame(), (of) => work(of, nonceOf(count++), frame));
  const inOrder = (act: () => MaybePromise<void>): void => {
    const own = (last ?? Promise.resolve()).then(act).catch(failed);
    last = own;
    void own.then(() => {
      if (last === own) last = undefined;
    });
  };
  return {
    waitingBytes: () => waiting,
    afterAll(act) {
      if (last === undefined) act();
      else inOrder(act);
    },
    push(frame) {
      let worked: MaybePromise<Uint8Array> | undefined;
      if (last === undefined) {
        try {
          worked = one(frame);
        } catch {
          return failed();
        }
        if (!(worked instanceof Promise)) return deliver(worked);
      }
      waiting += frame.length;
      inOrder(async () => {
        try {
          deliver(await (worked ?? one(frame)));
        } finally {
          waiting -= frame.length;
        }
      });
    },
  };
}

function nonceOf(count: number): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  new DataView(nonce.buffer).setUint32(NONCE_BYTES - 4, count);
  return nonce;
}

const then = <From, To>(value: MaybePromise<From>, work: (value: From) => MaybePromise<To>): MaybePromise<To> =>
  value instanceof Promise ? value.then(work) : work(value);
