/**
 * Secrets that are unknown here, counted for each address: a flood of guesses is told to wait, and nothing that it
 * sends is looked up meanwhile. 256 bits are guessed by nobody; this bounds what trying costs, and shows who tries.
 *
 * No more are looked up at once than the address has left, so thousands at the same moment cost as much as one after
 * the other. A secret that has worked goes on working in its community from wherever, so nobody locks out those who
 * share his address. What is not even shaped like a secret is no guess, and neither is one that expired or was revoked.
 * Counted for all communities of a process together, in bounded memory. It keeps digests, and compares nothing: a
 * secret is found by its digest or not at all, so how long that takes tells nothing of how near a guess came.
 */
import { hash } from 'node:crypto';
import { IdlewildError, codeOf, holdsSecret, type Clock } from '@idlewild/protocol';
import { changed, filled, fullBucket, untilLevelMs, type Bucket } from '../../callers/bucket.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';

/** Where a secret is shown, and from where. */
export interface Shown {
  readonly territory: string;
  readonly address: string;
  /** The secret alone: a header may be written in many ways. */
  readonly secret: string;
}

export interface Guesses {
  /**
   * Lets `act` find out whose it is, in its turn. Throws what it throws, and `rate_limit_exceeded` without asking it
   * where the address has guessed too often.
   */
  watch<Result>(shown: Shown, act: () => Promise<Result>): Promise<Result>;
  /** Whether what is shown would not be looked at just now. */
  isRefused(shown: Omit<Shown, 'territory'>): boolean;
}

interface Guesser {
  bucket: Bucket;
  /** Somebody who looks after the hub was told. */
  isTold: boolean;
  /** That are being looked up. */
  looking: number;
  /** Those that wait for their turn; there are none while nothing is looked up. */
  waiting: (() => void)[];
}

const { wrongSecretsPerMinute: PER_MINUTE, guessersMax: GUESSERS_MAX, workedMax: WORKED_MAX } = HUB_LIMITS;
const WAITING_MAX = HUB_LIMITS.guessesWaitingMax;

export function createGuesses({
  clock,
  log,
}: {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
}): Guesses {
  /** Both in the order of their last use. */
  const guessers = new Map<string, Guesser>();
  /** Digests, with the community in which they worked. */
  const worked = new Map<string, string>();

  function levelOf(guesser: Guesser): number {
    guesser.bucket = filled(guesser.bucket, clock.monotonic());
    if (guesser.bucket.level >= PER_MINUTE / 2) guesser.isTold = false;
    return guesser.bucket.level;
  }

  function guesserAt(address: string): Guesser {
    const known = guessers.get(address);
    const bucket = fullBucket(PER_MINUTE, clock.monotonic());
    const guesser = known ?? { bucket, isTold: false, looking: 0, waiting: [] };
    guessers.delete(address);
    guessers.set(address, guesser);
    if (guessers.size > GUESSERS_MAX) guessers.delete(guessers.keys().next().value as string);
    return guesser;
  }

  function refuse({ bucket }: Guesser): IdlewildError {
    const waitMs = Math.max(untilLevelMs(bucket, 1), 1);
    const retryAfterSeconds = Math.ceil(waitMs / 1_000);
    return new IdlewildError(
      'rate_limit_exceeded',
      `too many unknown keys came from this address; try again in ${retryAfterSeconds} s`,
      { details: { retryAfterSeconds, retryAfterMs: Math.ceil(waitMs) } },
    );
  }

  /** Resolves when there is room to look one up more, and takes it. */
  async function turnOf(guesser: Guesser): Promise<void> {
    for (;;) {
      const level = levelOf(guesser);
      if (level < 1) throw refuse(guesser);
      if (guesser.looking < Math.floor(level)) return void guesser.looking++;
      if (guesser.waiting.length >= WAITING_MAX) throw refuse(guesser);
      await new Promise<void>((resolve) => guesser.waiting.push(resolve));
    }
  }

  function over(guesser: Guesser, address: string): void {
    guesser.looking--;
    // Where nothing is left they are all told to come again.
    const called = levelOf(guesser) < 1 ? guesser.waiting.splice(0) : guesser.waiting.splice(0, 1);
    for (const call of called) call();
    const isQuiet = guesser.looking === 0 && called.length === 0 && guesser.bucket.level === PER_MINUTE;
    if (isQuiet && guessers.get(address) === guesser) guessers.delete(address);
  }

  function count(guesser: Guesser, address: string): void {
    levelOf(guesser);
    guesser.bucket = changed(guesser.bucket, -1);
    if (guesser.bucket.level >= 1 || guesser.isTold) return;
    guesser.isTold = true;
    log.warn({ address }, 'many unknown keys come from one address; it has to wait');
  }

  function remember(digest: string, territory: string): void {
    worked.delete(digest);
    worked.set(digest, territory);
    if (worked.size > WORKED_MAX) worked.delete(worked.keys().next().value as string);
  }

  async function lookUp<Result>(
    { territory, address }: Shown,
    digest: string,
    act: () => Promise<Result>,
  ): Promise<Result> {
    const isTrusted = worked.get(digest) === territory;
    const guesser = isTrusted ? undefined : guesserAt(address);
    if (guesser !== undefined) await turnOf(guesser);
    try {
      const found = await act();
      remember(digest, territory);
      return found;
    } catch (thrown) {
      if (codeOf(thrown) === 'unauthenticated' && !isKnown(thrown as IdlewildError))
        count(guesser ?? guesserAt(address), address);
      throw thrown;
    } finally {
      if (guesser !== undefined) over(guesser, address);
    }
  }

  return {
    watch: (shown, act) => (holdsSecret(shown.secret) ? lookUp(shown, hash('sha256', shown.secret), act) : act()),
    isRefused({ address, secret }) {
      const guesser = guessers.get(address);
      if (guesser === undefined || levelOf(guesser) >= 1) return false;
      return !worked.has(hash('sha256', secret));
    },
  };
}

/** It was somebody's, and is over. */
const isKnown = ({ details }: IdlewildError): boolean => details.keyId !== undefined || details.session !== undefined;
