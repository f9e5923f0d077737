/**
 * Secrets that are unknown here, counted for each address: a flood of guesses is told to wait, and nothing that it
 * sends is looked up meanwhile. 256 bits are guessed by nobody; this bounds what trying costs, and shows who tries.
 *
 * A secret that has worked here goes on working from wherever, so nobody locks out those who share his address. What is
 * not even shaped like a secret is no guess, and neither is one that expired or was revoked. Counted by each replica
 * for itself, in bounded memory. It keeps digests, and compares nothing: a secret is found by its digest or not at all,
 * so how long that takes tells nothing of how near a guess came.
 */
import { hash } from 'node:crypto';
import { IdlewildError, codeOf, holdsSecret, type Clock } from '@idlewild/protocol';
import { changed, filled, fullBucket, untilLevelMs, type Bucket } from '../../callers/bucket.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';

export interface Guesses {
  /**
   * Lets `act` find out whose `shown` is, the secret alone: a header may be written in many ways. Throws what it
   * throws, and `rate_limit_exceeded` without asking it where the address has guessed too often.
   */
  watch<Result>(address: string, shown: string, act: () => Promise<Result>): Promise<Result>;
}

interface Guesser {
  readonly bucket: Bucket;
  /** Somebody who looks after the hub was told. */
  readonly isTold: boolean;
}

const { wrongSecretsPerMinute: PER_MINUTE, guessersMax: GUESSERS_MAX, workedMax: WORKED_MAX } = HUB_LIMITS;

export function createGuesses({
  clock,
  log,
}: {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
}): Guesses {
  /** Both in the order of their last use. */
  const guessers = new Map<string, Guesser>();
  const worked = new Set<string>();

  const guesserAt = (address: string): Guesser => {
    const known = guessers.get(address);
    const nowMs = clock.monotonic();
    if (known === undefined) return { bucket: fullBucket(PER_MINUTE, nowMs), isTold: false };
    const bucket = filled(known.bucket, nowMs);
    return { bucket, isTold: known.isTold && bucket.level < PER_MINUTE / 2 };
  };

  function check(address: string): void {
    const waitMs = untilLevelMs(guesserAt(address).bucket, 1);
    if (waitMs === 0) return;
    const retryAfterSeconds = Math.ceil(waitMs / 1_000);
    throw new IdlewildError(
      'rate_limit_exceeded',
      `too many unknown keys came from this address; try again in ${retryAfterSeconds} s`,
      { details: { retryAfterSeconds, retryAfterMs: Math.ceil(waitMs) } },
    );
  }

  function count(address: string): void {
    const { bucket, isTold } = guesserAt(address);
    const left = changed(bucket, -1);
    const isDry = left.level < 1;
    if (isDry && !isTold) log.warn({ address }, 'many unknown keys come from one address; it has to wait');
    guessers.delete(address);
    guessers.set(address, { bucket: left, isTold: isTold || isDry });
    if (guessers.size > GUESSERS_MAX) guessers.delete(guessers.keys().next().value as string);
  }

  function remember(digest: string): void {
    worked.delete(digest);
    worked.add(digest);
    if (worked.size > WORKED_MAX) worked.delete(worked.values().next().value as string);
  }

  return {
    async watch(address, shown, act) {
      if (!holdsSecret(shown)) return act();
      const digest = hash('sha256', shown);
      if (!worked.has(digest)) check(address);
      try {
        const found = await act();
        remember(digest);
        return found;
      } catch (thrown) {
        if (codeOf(thrown) === 'unauthenticated' && !isKnown(thrown as IdlewildError)) count(address);
        throw thrown;
      }
    },
  };
}

/** It was somebody's, and is over. */
const isKnown = ({ details }: IdlewildError): boolean => details.keyId !== undefined || details.session !== undefined;
