/**
 * Giving blobs to other devices, part by part, as the hub asks for them.
 *
 * Answers come first: while one runs, or while the lender allows no work, nothing is given, and the hub is told to come
 * back. Parts are small and few are asked for at a time, so what is on its way when an answer begins is gone before
 * that answer's prompt is read. The lender's bound on uploads is kept by a token bucket. What may be given is not
 * decided here.
 */
import type { Clock, Timer, ToDevice, ToHub } from '@idlewild/protocol';
import { AGENT_LIMITS } from './limits.ts';
import { createRate, type Rate } from './rate.ts';

export type WantMessage = Extract<ToDevice, { t: 'blob.want' }>;

export interface GiverPorts {
  readonly clock: Clock;
  /** 0 is not at all. */
  readonly uploadBytesPerSecondMax: number;
  /** Whether anything may be given now. */
  mayGive(): boolean;
  /** A leaf of a model that is held here: its bytes, `soon` while it is on its way, or nothing. */
  leaf(cid: string): Promise<Uint8Array | 'soon' | undefined>;
  send(message: ToHub): void;
}

export interface Giver {
  want(message: WantMessage): Promise<void>;
  /** What may be given has changed: every leaf is looked up again. */
  forget(): void;
  /** Forgets what it kept; nothing is left that would keep a process. */
  close(): void;
}

export function createGiver(ports: GiverPorts): Giver {
  const { clock, uploadBytesPerSecondMax, send } = ports;
  const rate =
    uploadBytesPerSecondMax > 0 ? createRate(clock, uploadBytesPerSecondMax, AGENT_LIMITS.uploadBurstMs) : undefined;
  const kept = new Map<string, Uint8Array>();
  let forgetting: Timer | undefined;
  let closed = false;
  let giving = 0;

  async function blockOf(cid: string): Promise<Uint8Array | undefined> {
    const known = kept.get(cid);
    if (known !== undefined) return known;
    for (let tries = 0; tries < AGENT_LIMITS.comingTries; tries++) {
      const block = await ports.leaf(cid);
      if (block !== 'soon') {
        if (block !== undefined) keep(cid, block);
        return block;
      }
      await new Promise<void>((resolve) => {
        clock.after(AGENT_LIMITS.comingMs, resolve);
      });
    }
    return undefined;
  }

  function keep(cid: string, block: Uint8Array): void {
    if (kept.has(cid) || closed) return;
    kept.set(cid, block);
    if (kept.size > AGENT_LIMITS.givingMax) kept.delete(kept.keys().next().value as string);
    forgetting?.cancel();
    forgetting = clock.after(AGENT_LIMITS.givenKeptMs, () => kept.clear());
  }

  async function give({ id, cid, offset, length }: WantMessage, bound: Rate): Promise<void> {
    const block = await blockOf(cid);
    if (block === undefined || offset >= block.length) return send({ t: 'blob.have', id });
    const bytes = block.subarray(offset, offset + length);
    // An answer may have begun while the block was read.
    const waitMs = ports.mayGive() ? bound.takeMs(bytes.length) : AGENT_LIMITS.givingBusyMs;
    if (waitMs > 0) return send({ t: 'blob.have', id, busyMs: waitMs });
    send({ t: 'blob.have', id, total: block.length, bytes });
  }

  return {
    async want(message) {
      const { id } = message;
      if (rate === undefined || !ports.mayGive() || giving >= AGENT_LIMITS.givingMax) {
        return send({ t: 'blob.have', id, busyMs: AGENT_LIMITS.givingBusyMs });
      }
      giving += 1;
      try {
        await give(message, rate);
      } catch (error) {
        // The hub asks somebody else at once, and the owner of this device hears of its disk.
        send({ t: 'blob.have', id });
        throw error;
      } finally {
        giving -= 1;
      }
    },
    forget: () => kept.clear(),
    close() {
      closed = true;
      forgetting?.cancel();
      kept.clear();
    },
  };
}
