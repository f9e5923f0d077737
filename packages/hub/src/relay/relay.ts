/**
 * A block from a device, part by part over its channel, verified here before anybody gets it.
 *
 * Two parts are under way at a time: an answer that begins meanwhile waits behind those at most. Whatever goes wrong is
 * an ordinary outcome, with a word for it; nobody waits longer than a part's deadline for a device that is silent.
 */
import { LIMITS, codeOf, verifyBlock, type Clock, type Crypto, type Timer } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import { HUB_LIMITS } from '../limits.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { BlobPart, Sessions } from '../session/sessions.ts';

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
  let nextId = 0;

  /** `undefined` when the device says nothing in time, or is gone. */
  function ask(device: ConnectedDevice, cid: string, offset: number): Promise<BlobPart | undefined> {
    return new Promise((resolve) => {
      const id = nextId++;
      const settle = (part: BlobPart | undefined): void => {
        if (!pending.delete(id)) return;
        timer.cancel();
        resolve(part);
      };
      const timer = clock.after(HUB_LIMITS.relayPartMs, () => settle(undefined));
      pending.set(id, { device, timer, settle });
      sessions.want(device, { id, cid, offset, length: LIMITS.relayBytesMax });
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
      const first = await ask(device, key, 0);
      const { total = 0 } = first ?? {};
      const lengthAt = (offset: number): number => Math.min(LIMITS.relayBytesMax, total - offset);
      const begun = judge(first, first?.bytes === undefined ? undefined : lengthAt(0));
      if (!(begun instanceof Uint8Array)) return begun;
      const bytes = new Uint8Array(total);
      bytes.set(begun);
      for (let offset = begun.length; offset < total; offset += LIMITS.relayBytesMax * HUB_LIMITS.relayPartsMax) {
        const offsets = Array.from(
          { length: HUB_LIMITS.relayPartsMax },
          (_, part) => offset + part * LIMITS.relayBytesMax,
        ).filter((at) => at < total);
        const parts = await Promise.all(offsets.map((at) => ask(device, key, at)));
        for (const [index, at] of offsets.entries()) {
          const part = judge(parts[index], lengthAt(at));
          if (!(part instanceof Uint8Array)) return part;
          bytes.set(part, at);
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
