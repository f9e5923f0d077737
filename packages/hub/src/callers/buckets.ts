/**
 * Where the buckets of keys are kept: a port, since replicas of a hub have to share them.
 *
 * In memory they are gone when the hub stops, and every key starts with full ones: a restart is rarer than a minute.
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
  };
}
