/**
 * Devices as givers: which of them may be asked for a leaf now, and what became of asking them.
 *
 * A device is asked when it holds the leaf (its model, or this leaf, which it was given a moment ago), says that it
 * gives, takes work, answers nothing at the moment and has not too much to give already. One that was busy, silent or
 * without the leaf is left alone for a while; one that lied for an hour, whatever its session.
 */
import type { Clock } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import { stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';

export interface Peers {
  /** Somebody who holds the leaf and may be asked now; `full` when that is only a matter of a moment. */
  choose(leaf: string, models: readonly string[], not: ReadonlySet<string>): ConnectedDevice | 'full' | undefined;
  /** The device has been given the leaf. */
  gave(device: string, leaf: string): void;
  /** The device does not have it, although it should. */
  lacks(device: string, leaf: string): void;
  began(device: string): void;
  ended(device: string, bytes: number): void;
  avoid(device: string, forMs: number): void;
  forget(device: string): void;
}

interface Peer {
  asked: number;
  /** Bytes that it gave, so that the burden is shared. */
  bytes: number;
  avoidUntilMs: number;
}

const HOLDING: ReadonlySet<string> = new Set(['held', 'loading', 'warm']);

export function createPeers(clock: Clock, sessions: Pick<Sessions, 'list' | 'get'>): Peers {
  const peers = new Map<string, Peer>();
  /** Leaf → devices that were given it in their present session. */
  const given = new Map<string, Set<string>>();
  /** Model → devices that say that they hold it; looked up again at intervals. */
  let holders = new Map<string, string[]>();
  let holdersAtMs = Number.NEGATIVE_INFINITY;
  let turn = 0;

  const peerOf = (device: string): Peer => {
    const peer = peers.get(device) ?? { asked: 0, bytes: 0, avoidUntilMs: 0 };
    peers.set(device, peer);
    return peer;
  };

  function holdersOf(model: string): readonly string[] {
    const nowMs = clock.monotonic();
    if (nowMs - holdersAtMs >= HUB_LIMITS.holdersReadMs) {
      holdersAtMs = nowMs;
      holders = new Map();
      for (const device of sessions.list()) {
        for (const { cid, state } of device.status.models) {
          if (!HOLDING.has(state)) continue;
          const list = holders.get(cid);
          if (list === undefined) holders.set(cid, [device.id]);
          else list.push(device.id);
        }
      }
    }
    return holders.get(model) ?? [];
  }

  const mayGive = (device: ConnectedDevice): boolean =>
    device.features.includes('relay') &&
    device.status.lent?.uploadBytesPerSecond !== 0 &&
    ['ready', 'busy'].includes(stateOf(device)) &&
    device.leases.size === 0;

  return {
    choose(leaf, models, not) {
      const all = [...new Set([...(given.get(leaf) ?? []), ...models.flatMap(holdersOf)])];
      const from = turn++ % Math.max(1, all.length);
      const nowMs = clock.monotonic();
      let best: { device: ConnectedDevice; peer: Peer } | undefined;
      let isFull = false;
      for (let looked = 0; looked < Math.min(all.length, HUB_LIMITS.peersLookedAtMax); looked++) {
        const id = all[(from + looked) % all.length] as string;
        const device = not.has(id) ? undefined : sessions.get(id);
        if (device === undefined || !mayGive(device)) continue;
        const peer = peerOf(id);
        if (nowMs < peer.avoidUntilMs) continue;
        if (peer.asked >= HUB_LIMITS.relaysPerDeviceMax) {
          isFull = true;
          continue;
        }
        const isBetter =
          best === undefined ||
          peer.asked < best.peer.asked ||
          (peer.asked === best.peer.asked && peer.bytes < best.peer.bytes);
        if (isBetter) best = { device, peer };
      }
      return best?.device ?? (isFull ? 'full' : undefined);
    },
    gave(device, leaf) {
      const devices = given.get(leaf) ?? new Set();
      devices.add(device);
      given.set(leaf, devices);
      if (given.size > HUB_LIMITS.givenLeavesMax) given.delete(given.keys().next().value as string);
    },
    lacks: (device, leaf) => void given.get(leaf)?.delete(device),
    began(device) {
      peerOf(device).asked += 1;
    },
    ended(device, bytes) {
      const peer = peerOf(device);
      peer.asked -= 1;
      peer.bytes += bytes;
    },
    avoid(device, forMs) {
      const peer = peerOf(device);
      peer.avoidUntilMs = Math.max(peer.avoidUntilMs, clock.monotonic() + forMs);
    },
    forget(device) {
      for (const devices of given.values()) devices.delete(device);
      const peer = peers.get(device);
      // Coming back makes nobody honest.
      if (peer !== undefined && peer.asked === 0 && peer.avoidUntilMs <= clock.monotonic()) peers.delete(device);
    },
  };
}
