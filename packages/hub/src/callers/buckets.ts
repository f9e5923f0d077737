/**
 * Where the buckets of keys are kept: a port, since replicas of a hub have to share them (`database-buckets.ts`).
 *
 * A hub that is alone keeps them in memory. They are gone when it stops, and every key starts with full ones: a restart
 * is rarer than a minute, and two writes to a disk for each request would cost more than what they limit.
 */
import type { Clock, MaybePromise } from '@idlewild/protocol';
import type { Bucket } from './bucket.ts';

/** Of one key; a limit that it does not have has no bucket. */
export interface KeyBuckets {
  readonly requests?: Bucket;
  readonly tokens?: Bucket;
}

export interface Buckets {
  /**
   * Replaces the buckets of a key by what `step` makes of them, and no other step comes between. `nowMs` never goes
   * back within one store. A key that is not known yet has no buckets.
   */
  update<Result>(
    key: string,
    step: (buckets: KeyBuckets, nowMs: number) => { readonly buckets: KeyBuckets; readonly result: Result },
  ): MaybePromise<Result>;
  /** Looks at the buckets of a key and changes nothing. `nowMs` means nothing where there are none. */
  read<Result>(key: string, look: (buckets: KeyBuckets, nowMs: number) => Result): MaybePromise<Result>;
}

export interface MemoryBucketsOptions {
  /** Beyond it the key that was quiet for longest is forgotten. About 300 bytes each. */
  readonly keysMax?: number;
}

export function createMemoryBuckets(
  clock: Pick<Clock, 'monotonic'>,
  { keysMax = 65_536 }: MemoryBucketsOptions = {},
): Buckets {
  /** In the order of their last use. */
  const kept = new Map<string, KeyBuckets>();
  return {
    update(key, step) {
      const { buckets, result } = step(kept.get(key) ?? {}, clock.monotonic());
      kept.delete(key);
      if (buckets.requests !== undefined || buckets.tokens !== undefined) kept.set(key, buckets);
      if (kept.size > keysMax) kept.delete(kept.keys().next().value as string);
      return result;
    },
    read: (key, look) => look(kept.get(key) ?? {}, clock.monotonic()),
  };
}
