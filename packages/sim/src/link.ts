/**
 * The way between one device and the hub: latency and jitter of its own, cuts, slowness, and partitions in one or both
 * directions, in which frames are swallowed and nobody is told. Frames are shown to the world where they enter and
 * leave the hub. A dead process at either end neither sends nor hears, and its machine tells the other end, unless
 * the power went with it.
 */
import { IdlewildError, type Channel, type Clock, type Transport } from '@idlewild/protocol';
import { createMemoryChannelPair, type MemoryLink } from '@idlewild/protocol/testing';
import type { Chance } from './chance.ts';

export type Direction = 'toHub' | 'toDevice';

/** The hub's door, and the process behind it. */
export interface Door {
  isLive(): boolean;
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
  onToDevice(frame: Uint8Array): void;
  /** A frame reaches the hub: what `handle` causes happens because of it. */
  onToHub(frame: Uint8Array, handle: (frame: Uint8Array) => void): void;
}

export interface Link {
  transportFor(caller: Caller): Transport;
  block(directions: readonly Direction[]): void;
  unblock(): void;
  isBlocked(): boolean;
  /** Added to every frame's way from now on. */
  slowDown(byMs: number): void;
  /** Both ends learn that the connections are closed. */
  cut(reason: string): void;
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
  readonly open: Set<MemoryLink>;
  slowMs: number;
}

export function createLink(deps: LinkDeps): Link {
  const state: LinkState = { deps, blocked: new Set(), open: new Set(), slowMs: 0 };
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
    cut(reason) {
      for (const link of [...state.open]) link.cut(reason);
      state.open.clear();
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
      state.open.add(link);
      door.accept(hubEnd(state, far, door));
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

function hubEnd({ deps: { watch }, blocked }: LinkState, far: Channel, door: Door): Channel {
  const hears = (): boolean => door.isLive() && !blocked.has('toHub');
  return {
    ...far,
    send(frame) {
      if (!door.isLive()) return;
      watch.onToDevice(frame);
      far.send(frame);
    },
    listen: ({ onFrame, onClose }) =>
      far.listen({
        onFrame: (frame) => {
          if (hears()) watch.onToHub(frame, onFrame);
        },
        onClose: (reason) => {
          if (hears()) onClose(reason);
        },
      }),
  };
}
