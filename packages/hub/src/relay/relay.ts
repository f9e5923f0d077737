/**
 * A block from a device, part by part over its channel, verified here before anybody gets it.
 *
 * Two parts are under way at a time: an answer that begins meanwhile waits behind those at most, and on a slow line
 * they are small. Whatever goes wrong is an ordinary outcome, with a word for it; nobody waits longer than a part's
 * deadline for a device that is silent.
 */
import { LIMITS, codeOf, verifyBlock, type Clock, type Crypto, type Timer } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import { HUB_LIMITS } from '../limits.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { BlobPart, Sessions } from '../session/port.ts';

export type RelayOutcome =
  | { readonly t: 'bytes'; readonly bytes: Uint8Array }
  | { readonly t: 'absent' | 'silent' | 'lied' }
  | { readonly t: 'busy'; readonly forMs: number };

export interface Relay {
  fetch(device: ConnectedDevice, cid: CID): Promise<RelayOutcome>;
  onPart(device: ConnectedDevice, part: BlobPart): void;
  onGone(device: ConnectedDevice): void;
}

interface Pending {
  readonly device: ConnectedDevice;
  readonly timer: Timer;
  settle(part: BlobPart | undefined): void;
}

export function createRelay(deps: {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly sessions: Pick<Sessions, 'want'>;
}): Relay {
  const { clock, crypto, sessions } = deps;
  const pending = new Map<number, Pending>();
  /** Bytes of the parts that a device is asked for, by what its line took for the last ones. */
  const partBytes = new WeakMap<ConnectedDevice, number>();
  let nextId = 0;

  const sizeFor = (device: ConnectedDevice): number => partBytes.get(device) ?? LIMITS.relayBytesMax;
  function learn(device: ConnectedDevice, tookMs: number): void {
    const lineMs = tookMs - (device.status.roundTripMs ?? 0);
    const size = sizeFor(device);
    if (lineMs > HUB_LIMITS.relayLineMsMax) partBytes.set(device, Math.max(HUB_LIMITS.relayPartBytesMin, size / 2));
    else if (lineMs < HUB_LIMITS.relayLineMsMax / 3) partBytes.set(device, Math.min(LIMITS.relayBytesMax, size * 2));
  }

  /** `undefined` when the device says nothing in time, or is gone. */
  function ask(device: ConnectedDevice, cid: string, offset: number, length: number): Promise<BlobPart | undefined> {
    return new Promise((resolve) => {
      const id = nextId++;
      const settle = (part: BlobPart | undefined): void => {
        if (!pending.delete(id)) return;
        timer.cancel();
        resolve(part);
      };
      const timer = clock.after(HUB_LIMITS.relayPartMs, () => settle(undefined));
      pending.set(id, { device, timer, settle });
      sessions.want(device, { id, cid, offset, length });
    });
  }

  /** The part, or why there is none. */
  function judge(part: BlobPart | undefined, length: number | undefined): Uint8Array | RelayOutcome {
    if (part === undefined) return { t: 'silent' };
    if (part.bytes === undefined) {
      return part.busyMs === undefined ? { t: 'absent' } : { t: 'busy', forMs: part.busyMs };
    }
    return length === undefined || part.bytes.length === length ? part.bytes : { t: 'lied' };
  }

  return {
    async fetch(device, cid) {
      const key = cid.toString();
      const size = sizeFor(device);
      const first = await ask(device, key, 0, size);
      const { total = 0 } = first ?? {};
      const begun = judge(first, first?.bytes === undefined ? undefined : Math.min(size, total));
      if (!(begun instanceof Uint8Array)) return begun;
      const bytes = new Uint8Array(total);
      bytes.set(begun);
      for (let offset = begun.length; offset < total;) {
        const wishes = cut(offset, total, sizeFor(device));
        const askedAtMs = clock.monotonic();
        const parts = await Promise.all(wishes.map(({ at, length }) => ask(device, key, at, length)));
        learn(device, clock.monotonic() - askedAtMs);
        for (const [index, { at, length }] of wishes.entries()) {
          const part = judge(parts[index], length);
          if (!(part instanceof Uint8Array)) return part;
          bytes.set(part, at);
          offset = at + length;
        }
      }
      try {
        await verifyBlock(cid, bytes, crypto);
      } catch (error) {
        if (codeOf(error) === 'blob_mismatch' || codeOf(error) === 'blob_too_large') return { t: 'lied' };
        throw error;
      }
      return { t: 'bytes', bytes };
    },
    onPart(device, part) {
      const asked = pending.get(part.id);
      // What nobody asked of this device, or what comes too late, changes nothing.
      if (asked?.device === device) asked.settle(part);
    },
    onGone(device) {
      for (const asked of [...pending.values()]) if (asked.device === device) asked.settle(undefined);
    },
  };
}

/** The parts that are asked for together. */
function cut(from: number, total: number, size: number): { readonly at: number; readonly length: number }[] {
  const parts = [];
  for (let at = from; at < total && parts.length < HUB_LIMITS.relayPartsMax; at += size) {
    parts.push({ at, length: Math.min(size, total - at) });
  }
  return parts;
}
