/**
 * Beginnings that sequences have in common: taken over from sequences that are over, or from one that is being read.
 *
 * Several answers to one prompt arrive together; the first reads it, and the others follow it and go on from where it
 * is. Whoever follows waits; should its leader leave, it goes on with what there is.
 */
import type { Active } from './active.ts';
import type { Decoder, Kv } from './decoder.ts';
import { LIMITS } from './limits.ts';
import { commonLength, type PrefixCache } from './prefix-cache.ts';

export interface Sharing {
  /** For a sequence of these tokens: a beginning of its own to go on from, or one to wait for. */
  find(scope: string, tokens: readonly number[]): { readonly kv: Kv; readonly follows: Active['follows'] } | undefined;
  /** False while it waits for another; takes the beginning over when that is there. */
  isReady(active: Active): boolean;
  /** It has left: followers take what it has, and the cache keeps it. */
  leave(gone: Active): void;
  /** Gives memory back; false when nothing is kept. */
  evict(): boolean;
}

export function createSharing(decoder: Decoder, prefixes: PrefixCache, active: readonly Active[]): Sharing {
  /** The beginning of `from`, at the cost of what else is kept; nothing where there is no room even so. */
  function fork(from: Kv, length: number): Kv {
    for (;;) {
      const kv = decoder.fork(from, length);
      if (kv !== undefined) return kv;
      if (!prefixes.evict(from)) return decoder.open();
    }
  }

  function take(own: Active, leader: Active, length: number): void {
    own.follows = undefined;
    decoder.release(own.kv);
    own.kv = fork(leader.kv, Math.min(length, leader.kv.length));
    own.sequence.restart(own.kv.length);
  }

  return {
    find(scope, tokens) {
      const most = tokens.length - 1;
      const kept = prefixes.find(scope, tokens);
      const keptLength = Math.min(kept?.length ?? 0, most);
      let leader: Active | undefined;
      let longest = Math.max(keptLength, LIMITS.prefixTokensMin - 1);
      for (const other of active) {
        if (other.scope !== scope || other.sequence.isOver) continue;
        const length = Math.min(commonLength(other.sequence.tokens(), tokens), most);
        if (length > longest) [leader, longest] = [other, length];
      }
      if (leader !== undefined) {
        if (leader.kv.length >= longest) return { kv: fork(leader.kv, longest), follows: undefined };
        return { kv: decoder.open(), follows: { leader, length: longest } };
      }
      if (kept === undefined || keptLength < LIMITS.prefixTokensMin) return undefined;
      return { kv: fork(kept.kv, keptLength), follows: undefined };
    },
    isReady(own) {
      if (own.follows === undefined) return true;
      const { leader, length } = own.follows;
      if (leader.kv.length < length && active.includes(leader)) return false;
      take(own, leader, length);
      return true;
    },
    leave(gone) {
      for (const other of active) if (other.follows?.leader === gone) take(other, gone, other.follows.length);
      if (gone.scope === undefined || gone.kv.length < LIMITS.prefixTokensMin) return decoder.release(gone.kv);
      prefixes.keep(gone.scope, gone.sequence.tokens(), gone.kv);
    },
    evict: () => prefixes.evict(),
  };
}
