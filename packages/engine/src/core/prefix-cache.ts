/**
 * Keys and values of sequences that are over, kept for those that will begin alike: the next turn of a conversation is
 * the last one and a few words more.
 *
 * Only who has the same scope gets them, since a prompt that is read faster tells that it was read before. They are
 * given up when memory is needed, the least recently used first, and after a while in any case: what somebody wrote
 * shall not stay in a lent machine for longer than a conversation lasts.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import type { Decoder, Kv } from './decoder.ts';
import { LIMITS } from './limits.ts';

export interface PrefixCache {
  /** The kept sequence that shares most tokens from the start, and how many; it stays the cache's. */
  find(scope: string, tokens: readonly number[]): { readonly kv: Kv; readonly length: number } | undefined;
  /** Takes over `kv`, which holds the first `kv.length` of `tokens`. */
  keep(scope: string, tokens: readonly number[], kv: Kv): void;
  /** Gives up the least recently used but `spared`; false when there is none. */
  evict(spared?: Kv): boolean;
  clear(): void;
  size(): number;
}

interface Entry {
  readonly scope: string;
  readonly tokens: readonly number[];
  readonly kv: Kv;
  usedMs: number;
}

/** How many tokens two sequences have in common from the start. */
export function commonLength(left: readonly number[], right: readonly number[]): number {
  const end = Math.min(left.length, right.length);
  let length = 0;
  while (length < end && left[length] === right[length]) length++;
  return length;
}

export function createPrefixCache(decoder: Decoder, clock: Clock): PrefixCache {
  /** Least recently used first. */
  let entries: Entry[] = [];
  let timer: Timer | undefined;

  function drop(entry: Entry): void {
    entries = entries.filter((each) => each !== entry);
    decoder.release(entry.kv);
  }

  function expire(): void {
    timer = undefined;
    const now = clock.monotonic();
    for (const entry of [...entries]) if (now - entry.usedMs >= LIMITS.prefixKeptMs) drop(entry);
    watch();
  }

  function watch(): void {
    const [oldest] = entries;
    if (oldest === undefined || timer !== undefined) return;
    timer = clock.after(Math.max(1, oldest.usedMs + LIMITS.prefixKeptMs - clock.monotonic()), expire);
  }

  function use(entry: Entry): void {
    entry.usedMs = clock.monotonic();
    entries = [...entries.filter((each) => each !== entry), entry];
  }

  return {
    find(scope, tokens) {
      let best: Entry | undefined;
      let longest = 0;
      for (const entry of entries) {
        const length = entry.scope === scope ? Math.min(commonLength(entry.tokens, tokens), entry.kv.length) : 0;
        if (length > longest) [best, longest] = [entry, length];
      }
      if (best === undefined) return undefined;
      use(best);
      return { kv: best.kv, length: longest };
    },
    keep(scope, tokens, kv) {
      const own = tokens.slice(0, kv.length);
      for (const entry of entries.filter((each) => each.scope === scope)) {
        const common = commonLength(entry.tokens, own);
        if (common === own.length) {
          decoder.release(kv);
          return use(entry);
        }
        if (common === entry.tokens.length) drop(entry);
      }
      entries.push({ scope, tokens: own, kv, usedMs: clock.monotonic() });
      if (entries.length > LIMITS.prefixesMax) drop(entries[0] as Entry);
      watch();
    },
    evict(spared) {
      const oldest = entries.find(({ kv }) => kv !== spared);
      if (oldest === undefined) return false;
      drop(oldest);
      return true;
    },
    clear() {
      for (const entry of [...entries]) drop(entry);
      timer?.cancel();
      timer = undefined;
    },
    size: () => entries.length,
  };
}
