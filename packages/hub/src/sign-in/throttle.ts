/**
 * How often anybody may try to sign in: per address, at all communities that share the buckets together, and per thing
 * that is tried (a link, a passkey, a code), at each.
 *
 * Addresses are kept hashed, and stand for their groups (`gateway/door/address-group.ts`). What is tried is counted
 * whether it exists or not, so nobody learns by being slowed down. It knows no reasons for failing.
 */
import { IdlewildError, type Crypto } from '@idlewild/protocol';
import { changed, filled, fullBucket, untilLevelMs } from '../callers/bucket.ts';
import type { Buckets } from '../callers/buckets.ts';
import { hashOf } from './secret-texts.ts';

export type Throttled = 'address' | 'secret' | 'askers' | 'asks' | 'person' | 'sessions' | 'failures';

/** By address: whoever tries at every community of a hub has no more tries than at one. */
const OF_ADDRESSES: ReadonlySet<Throttled> = new Set(['address', 'askers', 'sessions']);

export interface Throttle {
  /** Whether there is room for one more, or for as many; takes it. */
  take(what: Throttled, subject: string, perMinute: number, many?: number): Promise<{ readonly waitMs: number }>;
  /** The same; throws `rate_limit_exceeded`. */
  check(what: Throttled, subject: string, perMinute: number, many?: number): Promise<void>;
  /** Those tries were good ones: a whole class that signs in at once is no guesser. Never beyond what there was. */
  giveBack(what: Throttled, subject: string, perMinute: number, many: number): Promise<void>;
}

export interface ThrottleDeps {
  readonly buckets: Buckets;
  readonly crypto: Pick<Crypto, 'sha256'>;
}

export function createThrottle({ buckets, crypto }: ThrottleDeps, territory: string): Throttle {
  const placeOf = (what: Throttled): string => (OF_ADDRESSES.has(what) ? 'all' : territory);
  const keyOf = async (what: Throttled, subject: string): Promise<string> =>
    `sign-in ${await hashOf(`idlewild/v1/sign-in ${what}\n${placeOf(what)}\n${subject}`, crypto)}`;

  async function take(
    what: Throttled,
    subject: string,
    perMinute: number,
    many = 1,
  ): Promise<{ readonly waitMs: number }> {
    return buckets.update(await keyOf(what, subject), (kept, nowMs) => {
      const bucket = filled(kept.requests ?? fullBucket(perMinute, nowMs), nowMs);
      const waitMs = untilLevelMs(bucket, many);
      return { buckets: { requests: waitMs > 0 ? bucket : changed(bucket, -many) }, result: { waitMs } };
    });
  }
  return {
    take,
    async giveBack(what, subject, perMinute, many) {
      await buckets.update(await keyOf(what, subject), (kept, nowMs) => {
        const bucket = filled(kept.requests ?? fullBucket(perMinute, nowMs), nowMs);
        return { buckets: { requests: changed(bucket, many) }, result: undefined };
      });
    },
    async check(what, subject, perMinute, many) {
      const { waitMs } = await take(what, subject, perMinute, many);
      if (waitMs === 0) return;
      const retryAfterSeconds = Math.ceil(waitMs / 1_000);
      throw new IdlewildError('rate_limit_exceeded', `too many tries to sign in; try again in ${retryAfterSeconds} s`, {
        details: { retryAfterSeconds, retryAfterMs: Math.ceil(waitMs) },
      });
    },
  };
}
