/**
 * How fast a key may ask: requests and tokens per minute, each a bucket.
 *
 * A request takes one request and its estimated tokens when it comes, or nothing and a time to come back. What its
 * answers really used is charged as they end, and the estimate given back when the request is over; the order of the
 * two does not matter. An estimate larger than the whole bucket waits for a full one and then goes: a limit is a speed,
 * and what goes beyond it is a debt that holds up the next request.
 */
import { IdlewildError, type MaybePromise } from '@idlewild/protocol';
import type { KeyLimits } from '../identity/principal.ts';
import { HUB_LIMITS } from '../limits.ts';
import { changed, filled, fullBucket, resized, untilLevelMs, type Bucket } from './bucket.ts';
import type { Buckets, KeyBuckets } from './buckets.ts';

/** What holds for keys that have no limit of their own. */
export interface DefaultLimits {
  readonly requestsPerMinute?: number | undefined;
  readonly tokensPerMinute?: number | undefined;
}

export interface Level {
  readonly perMinute: number;
  /** Whole ones that may be taken now. */
  readonly remaining: number;
  /** Until the bucket is full again. */
  readonly resetMs: number;
}

/** How a key stands; a limit that it does not have is absent. */
export interface Standing {
  readonly requests?: Level;
  readonly tokens?: Level;
}

export interface LimitedKey extends KeyLimits {
  readonly keyId: string;
  /** It is a person's id, and stands for all keys of this person together. */
  readonly isPerson?: boolean;
}

/** What was taken for a request that may run. */
export interface Admission {
  readonly standing: Standing;
  /** The request is over: its estimate is given back. Twice is once. */
  release(): void;
}

export interface Refusal {
  readonly standing: Standing;
  readonly error: IdlewildError;
}

export interface Limits {
  /**
   * Why it may not even look for what it asked before; `undefined` when it may. A repeat takes nothing of the limits,
   * and still costs the hub some statements.
   */
  mayAsk(key: LimitedKey): MaybePromise<IdlewildError | undefined>;
  /** Takes one request and `tokens`, or neither. */
  admit(key: LimitedKey, tokens: number): MaybePromise<Admission | Refusal>;
  /** From now on what the key uses is charged to this person, too; `undefined`: to nobody besides. */
  chargeAlso(keyId: string, person: string | undefined): void;
  /** Tokens that were used, whatever was estimated. */
  charge(keyId: string, tokens: number): void;
  standing(key: LimitedKey): MaybePromise<Standing>;
}

export interface LimitsDeps {
  readonly buckets: Buckets;
  /** For how often keys ask under Idempotency-Keys; of this replica alone. */
  readonly asks: Buckets;
  readonly defaults: DefaultLimits;
  /** A store of buckets that fails must not fail an answer that is over. */
  readonly onFault: (error: unknown) => void;
}

export function createLimits({ buckets, asks, defaults, onFault }: LimitsDeps): Limits {
  const limitOf = (own: number | 'none' | undefined, common: number | undefined): number | undefined =>
    own === 'none' ? undefined : (own ?? common);

  function current(key: LimitedKey, kept: KeyBuckets, nowMs: number): KeyBuckets {
    const requests = limitOf(key.requestsPerMinute, defaults.requestsPerMinute);
    const tokens = limitOf(key.tokensPerMinute, defaults.tokensPerMinute);
    return {
      ...(requests === undefined ? {} : { requests: bucketNow(kept.requests, requests, nowMs) }),
      ...(tokens === undefined ? {} : { tokens: bucketNow(kept.tokens, tokens, nowMs) }),
    };
  }
  /** Most keys have no limit, and must not cost the store anything; nor does an answer of theirs that ends. */
  const unlimited = new Set<string>();
  /** Person of each key whose person is limited. */
  const owners = new Map<string, string>();
  function isLimited({ keyId, requestsPerMinute, tokensPerMinute }: LimitedKey): boolean {
    const has =
      limitOf(requestsPerMinute, defaults.requestsPerMinute) !== undefined ||
      limitOf(tokensPerMinute, defaults.tokensPerMinute) !== undefined;
    if (has) unlimited.delete(keyId);
    else unlimited.add(keyId);
    if (unlimited.size > HUB_LIMITS.unlimitedKeysMax) unlimited.delete(unlimited.values().next().value as string);
    return has;
  }

  /** Outside any request: nobody waits for it, and nobody is told. */
  function change(keyId: string, amount: number): void {
    if (amount === 0 || unlimited.has(keyId)) return;
    void (async () => {
      await buckets.update(keyId, (kept, nowMs) => ({
        buckets: kept.tokens === undefined ? kept : { ...kept, tokens: changed(filled(kept.tokens, nowMs), amount) },
        result: undefined,
      }));
    })().catch(onFault);
  }

  return {
    mayAsk(key) {
      const requests = limitOf(key.requestsPerMinute, defaults.requestsPerMinute);
      if (requests === undefined) return undefined;
      return asks.update(key.keyId, (kept, nowMs) => {
        const bucket = bucketNow(kept.requests, requests * HUB_LIMITS.asksPerRequest, nowMs);
        const missing = firstMissing({ requests: bucket }, 0);
        if (missing === undefined) return { buckets: { requests: changed(bucket, -1) }, result: undefined };
        return { buckets: { requests: bucket }, result: tooManyAsks(missing) };
      });
    },
    admit(key, estimate) {
      if (!isLimited(key)) return { standing: {}, release: () => {} };
      return buckets.update<Admission | Refusal>(key.keyId, (kept, nowMs) => {
        const before = current(key, kept, nowMs);
        const { requests } = before;
        const tokens = Math.min(estimate, before.tokens?.perMinute ?? 0);
        const missing = firstMissing(before, tokens);
        if (missing !== undefined) {
          return { buckets: before, result: { standing: standingOf(before), error: refusal(missing, key) } };
        }
        const after: KeyBuckets = {
          ...(requests === undefined ? {} : { requests: changed(requests, -1) }),
          ...(before.tokens === undefined ? {} : { tokens: changed(before.tokens, -tokens) }),
        };
        let held = tokens;
        const release = (): void => {
          change(key.keyId, held);
          held = 0;
        };
        return { buckets: after, result: { standing: standingOf(after), release } };
      });
    },
    chargeAlso(keyId, person) {
      if (person === undefined) owners.delete(keyId);
      else owners.set(keyId, person);
      if (owners.size > HUB_LIMITS.unlimitedKeysMax) owners.delete(owners.keys().next().value as string);
    },
    charge(keyId, tokens) {
      change(keyId, -tokens);
      const person = owners.get(keyId);
      if (person !== undefined) change(person, -tokens);
    },
    standing(key) {
      if (!isLimited(key)) return {};
      return buckets.read(key.keyId, (kept, nowMs) => standingOf(current(key, kept, nowMs)));
    },
  };
}

const bucketNow = (kept: Bucket | undefined, perMinute: number, nowMs: number): Bucket =>
  kept === undefined ? fullBucket(perMinute, nowMs) : filled(resized(kept, perMinute), nowMs);

const levelOf = (bucket: Bucket): Level => ({
  perMinute: bucket.perMinute,
  remaining: Math.max(0, Math.floor(bucket.level)),
  resetMs: untilLevelMs(bucket, bucket.perMinute),
});

const standingOf = ({ requests, tokens }: KeyBuckets): Standing => ({
  ...(requests === undefined ? {} : { requests: levelOf(requests) }),
  ...(tokens === undefined ? {} : { tokens: levelOf(tokens) }),
});

interface Missing {
  readonly what: 'requests' | 'tokens';
  readonly bucket: Bucket;
  readonly wanted: number;
  readonly waitMs: number;
}

/** What a request has to wait for longest; `undefined` when it may go. */
function firstMissing({ requests, tokens }: KeyBuckets, wanted: number): Missing | undefined {
  const missing: Missing[] = [];
  // A hair of tolerance: sums of fractions may end just below the whole that they stand for.
  const lacks = (bucket: Bucket, amount: number): boolean => bucket.level < amount - 1e-9;
  if (requests !== undefined && lacks(requests, 1)) {
    missing.push({ what: 'requests', bucket: requests, wanted: 1, waitMs: untilLevelMs(requests, 1) });
  }
  if (tokens !== undefined && lacks(tokens, wanted)) {
    missing.push({ what: 'tokens', bucket: tokens, wanted, waitMs: untilLevelMs(tokens, wanted) });
  }
  return missing.toSorted((a, b) => b.waitMs - a.waitMs)[0];
}

function laterOf({ waitMs }: Missing): { readonly retryAfterMs: number; readonly retryAfterSeconds: number } {
  const retryAfterMs = Math.max(1, Math.ceil(waitMs));
  return { retryAfterMs, retryAfterSeconds: Math.ceil(retryAfterMs / 1_000) };
}

function tooManyAsks(missing: Missing): IdlewildError {
  const later = laterOf(missing);
  const message =
    `this key may ask ${missing.bucket.perMinute} times per minute under Idempotency-Keys, repeats included; ` +
    `try again in ${later.retryAfterSeconds} s`;
  return new IdlewildError('rate_limit_exceeded', message, { details: { limit: 'requests', ...later } });
}

function refusal(missing: Missing, { isPerson = false }: LimitedKey): IdlewildError {
  const { what, bucket, wanted } = missing;
  const { retryAfterMs, retryAfterSeconds } = laterOf(missing);
  const asked = what === 'tokens' ? `, this one needs about ${Math.ceil(wanted)}` : '';
  const message =
    `${isPerson ? 'all keys of this person together' : 'this key'} may use ${bucket.perMinute} ${what} per minute ` +
    `and ${isPerson ? 'have' : 'has'} ${Math.max(0, Math.floor(bucket.level))} left${asked}; ` +
    `try again in ${retryAfterSeconds} s`;
  return new IdlewildError('rate_limit_exceeded', message, {
    details: { limit: what, retryAfterMs, retryAfterSeconds },
  });
}
