/**
 * The `Transport` and `Channel` ports in memory: frames arrive after a delay on a given clock, in order, and a link can
 * be cut or made silent (a partition: nothing arrives and neither end is told).
 */
import { IdlewildError } from '../errors.ts';
import type { Channel, Clock, Transport } from '../ports.ts';

export interface MemoryLink {
  /** Both ends learn that the channel is closed. */
  cut(reason: string): void;
  /** While silent, frames are swallowed and no close is noticed. */
  setSilent(silent: boolean): void;
}

type Handlers = Parameters<Channel['listen']>[0];

interface End {
  handlers: Handlers | undefined;
  closed: boolean;
  reason: string;
  queue: Uint8Array[];
}

/** Two ends of one channel. `delayMs` is asked for each frame; order is kept whatever it says. */
export function createMemoryChannelPair(
  clock: Clock,
  delayMs: () => number,
): { near: Channel; far: Channel; link: MemoryLink } {
  const newEnd = (): End => ({ handlers: undefined, closed: false, reason: '', queue: [] });
  const ends: [End, End] = [newEnd(), newEnd()];
  const lastArrivalMs: [number, number] = [0, 0];
  let silent = false;

  const deliver = (to: 0 | 1, act: () => void): void => {
    const at = Math.max(lastArrivalMs[to], clock.monotonic() + delayMs());
    lastArrivalMs[to] = at;
    clock.after(at - clock.monotonic(), act);
  };
  const closeEnd = (to: 0 | 1, reason: string): void => {
    const end = ends[to];
    if (end.closed) return;
    end.closed = true;
    end.reason = reason;
    end.handlers?.onClose(reason);
  };
  const makeEnd = (self: 0 | 1): Channel => {
    const other = (1 - self) as 0 | 1;
    return {
      binding: { kind: 'loopback' },
      send(frame) {
        if (ends[self].closed || silent) return;
        const copy = frame.slice();
        deliver(other, () => {
          if (ends[other].closed || silent) return;
          if (ends[other].handlers === undefined) ends[other].queue.push(copy);
          else ends[other].handlers.onFrame(copy);
        });
      },
      bufferedBytes: () => 0,
      close(reason) {
        if (ends[self].closed) return;
        closeEnd(self, reason);
        deliver(other, () => {
          if (!silent) closeEnd(other, reason);
        });
      },
      listen(handlers) {
        ends[self].handlers = handlers;
        for (const frame of ends[self].queue.splice(0)) handlers.onFrame(frame);
        if (ends[self].closed) handlers.onClose(ends[self].reason);
      },
    };
  };
  const link: MemoryLink = {
    cut(reason) {
      closeEnd(0, reason);
      closeEnd(1, reason);
    },
    setSilent(value) {
      silent = value;
    },
  };
  return { near: makeEnd(0), far: makeEnd(1), link };
}

/** `accept` gets the server's end; it returns false when nobody listens there. */
export function createMemoryTransport(
  clock: Clock,
  delayMs: () => number,
  accept: (url: string, channel: Channel, link: MemoryLink) => boolean,
): Transport {
  return {
    async dial(url, { signal }) {
      signal.throwIfAborted();
      const { near, far, link } = createMemoryChannelPair(clock, delayMs);
      if (!accept(url, far, link)) throw new IdlewildError('hub_unreachable', `no hub answers at ${url}`);
      return near;
    },
  };
}
