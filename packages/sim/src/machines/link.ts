/**
 * The way between one device and the hub: latency and jitter of its own, cuts, slowness, and partitions in one or both
 * directions, in which frames are swallowed and nobody is told. Frames are shown to the world where they enter and
 * leave the hub. A dead process at either end neither sends nor hears, and its machine tells the other end, unless
 * the power went with it.
 */
import { IdlewildError, type Channel, type Clock, type Transport } from '@idlewild/protocol';
import { createMemoryChannelPair, type MemoryLink } from '@idlewild/protocol/testing';
import type { Chance } from '../chance.ts';
import type { HubProcess } from './hub-process.ts';

export type Direction = 'toHub' | 'toDevice';

/** The hub's door, and the process behind it; see `gate.ts`. */
export interface Door {
  readonly process: HubProcess;
  accept(channel: Channel): void;
}

/** One process of a device. */
export interface Caller {
  isLive(): boolean;
  /** What is sent in place of a frame. */
  utter(frame: Uint8Array): readonly Uint8Array[];
}

export interface LinkWatch {
  /** A frame leaves the hub. */
  onToDevice(frame: Uint8Array, process: HubProcess): void;
  /** A frame reaches the hub: what `handle` causes happens because of it. */
  onToHub(frame: Uint8Array, process: HubProcess, handle: (frame: Uint8Array) => void): void;
}

export interface Link {
  transportFor(caller: Caller): Transport;
  block(directions: readonly Direction[]): void;
  unblock(): void;
  isBlocked(): boolean;
  /** Added to every frame's way from now on. */
  slowDown(byMs: number): void;
  /** Both ends learn that the connections are closed: those with this process, or all. */
  cut(reason: string, process?: HubProcess): void;
}

export interface LinkDeps {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly door: () => Door | undefined;
  readonly watch: LinkWatch;
}

interface LinkState {
  readonly deps: LinkDeps;
  readonly blocked: Set<Direction>;
  readonly open: Map<MemoryLink, HubProcess>;
  slowMs: number;
}

export function createLink(deps: LinkDeps): Link {
  const state: LinkState = { deps, blocked: new Set(), open: new Map(), slowMs: 0 };
  return {
    transportFor: (caller) => ({ dial: (url, { signal }) => dial(state, caller, url, signal) }),
    block(directions) {
      for (const direction of directions) state.blocked.add(direction);
    },
    unblock: () => state.blocked.clear(),
    isBlocked: () => state.blocked.size > 0,
    slowDown(byMs) {
      state.slowMs = byMs;
    },
    cut(reason, process) {
      for (const [link, end] of [...state.open]) {
        if (process !== undefined && end !== process) continue;
        state.open.delete(link);
        link.cut(reason);
      }
    },
  };
}

/** After a round trip; in a partition it lasts until the caller gives it up. */
function dial(state: LinkState, caller: Caller, url: string, signal: AbortSignal): Promise<Channel> {
  const { clock, door: findDoor } = state.deps;
  const delayMs = (): number => {
    const { latencyMs, jitterMs, chance } = state.deps;
    return latencyMs + jitterMs * chance.unit() + state.slowMs;
  };
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new IdlewildError('hub_unreachable', `the dialling of ${url} was given up`));
    signal.addEventListener('abort', onAbort);
    clock.after(delayMs() + delayMs(), () => {
      if (signal.aborted || !caller.isLive() || state.blocked.size > 0) return;
      signal.removeEventListener('abort', onAbort);
      const door = findDoor();
      if (door === undefined) return reject(new IdlewildError('hub_unreachable', `no hub answers at ${url}`));
      const { near, far, link } = createMemoryChannelPair(clock, delayMs);
      state.open.set(link, door.process);
      const end = hubEnd(state, far, door.process);
      door.process.take(() => door.accept(end));
      resolve(deviceEnd(state, near, caller, () => state.open.delete(link)));
    });
  });
}

function deviceEnd(state: LinkState, near: Channel, caller: Caller, onClosed: () => void): Channel {
  const hears = (): boolean => caller.isLive() && !state.blocked.has('toDevice');
  return {
    ...near,
    send(frame) {
      if (!caller.isLive()) return;
      for (const uttered of caller.utter(frame)) near.send(uttered);
    },
    listen: ({ onFrame, onClose }) =>
      near.listen({
        onFrame: (frame) => {
          if (hears()) onFrame(frame);
        },
        onClose(reason) {
          onClosed();
          if (hears()) onClose(reason);
        },
      }),
  };
}

function hubEnd({ deps: { watch }, blocked }: LinkState, far: Channel, process: HubProcess): Channel {
  let handlers: Parameters<Channel['listen']>[0] | undefined;
  const hears = (act: () => void): void => {
    if (process.isLive() && !blocked.has('toHub')) process.take(act);
  };
  // Also while the process stands still and has not taken the channel yet.
  far.listen({
    onFrame: (frame) => hears(() => watch.onToHub(frame, process, (heard) => handlers?.onFrame(heard))),
    onClose: (reason) => hears(() => handlers?.onClose(reason)),
  });
  return {
    ...far,
    send: (frame) =>
      process.give(() => {
        watch.onToDevice(frame, process);
        far.send(frame);
      }),
    close: (reason) => process.give(() => far.close(reason)),
    listen(own) {
      handlers = own;
    },
  };
}
