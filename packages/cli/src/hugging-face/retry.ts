/**
 * What fails in passing is tried again: after longer and longer pauses, or after the one that the other side asks for,
 * and not for ever.
 */
import { IdlewildError, codeOf, messageOf, type Clock, type Random } from '@idlewild/protocol';
import { spanText } from '../text/units.ts';

/** Failures in a row without anything gained; where nobody answers at all, fewer. */
const ATTEMPTS_MAX = 6;
const ATTEMPTS_NOBODY_MAX = 3;
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 30_000;
/** Nobody sits before a command that pauses for longer; the same command later goes on where this one stopped. */
const ASKED_MS_MAX = 120_000;

export interface Patience {
  readonly clock: Clock;
  readonly random: Random;
  readonly signal: AbortSignal;
  /** Told of each pause. */
  onPause?(why: string, ms: number): void;
}

/**
 * Runs `act` until it succeeds or throws what trying again does not mend. `gained` tells how much is there by now: more
 * than ever before starts the count anew. What was lost and won again does not, or it would go on for ever.
 */
export async function patiently<Result>(
  act: () => Promise<Result>,
  patience: Patience,
  gained: () => number = () => 0,
): Promise<Result> {
  let failures = 0;
  let most = gained();
  for (;;) {
    try {
      return await act();
    } catch (error) {
      const details = (error as { details?: { retryAfterMs?: number; nobodyThere?: boolean } }).details;
      const asked = details?.retryAfterMs;
      if (!PASSING.has(codeOf(error) ?? '')) throw error;
      failures = gained() > most ? 1 : failures + 1;
      most = Math.max(most, gained());
      const attemptsMax = details?.nobodyThere === true && gained() === 0 ? ATTEMPTS_NOBODY_MAX : ATTEMPTS_MAX;
      if (failures >= attemptsMax) throw spent(error, failures);
      if (asked !== undefined && asked > ASKED_MS_MAX) throw tooLong(error, asked);
      const pause = asked ?? Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** (failures - 1));
      const ms = Math.round(pause * (1 + patience.random.unit() / 4));
      patience.onPause?.(messageOf(error), ms);
      await pauseFor(ms, patience);
    }
  }
}

const PASSING: ReadonlySet<string> = new Set(['source_unreachable', 'too_busy']);

const spent = (error: unknown, failures: number): IdlewildError =>
  new IdlewildError(
    codeOf(error) ?? 'source_unreachable',
    `${messageOf(error)}; given up after ${failures} attempts. The same command goes on with what is here; ` +
      'HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy',
    { cause: error },
  );

const tooLong = (error: unknown, askedMs: number): IdlewildError =>
  new IdlewildError('too_busy', `${messageOf(error)}; it asks to wait ${spanText(askedMs / 1_000)}`, { cause: error });

function pauseFor(ms: number, { clock, signal }: Patience): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = (): void => {
      timer.cancel();
      reject(new IdlewildError('cancelled', 'interrupted'));
    };
    const timer = clock.after(ms, () => {
      signal.removeEventListener('abort', cancel);
      resolve();
    });
    if (signal.aborted) cancel();
    else signal.addEventListener('abort', cancel, { once: true });
  });
}

/** What the other side asks for: `Retry-After`, or `t` of the hub's `RateLimit: "api";r=0;t=42`. */
export function retryAfterMs(headers: Readonly<Record<string, string>>, nowMs: number): number | undefined {
  const after = headers['retry-after'];
  if (after !== undefined && /^\d{1,7}$/.test(after)) return Number(after) * 1_000;
  const date = after === undefined ? Number.NaN : Date.parse(after);
  if (!Number.isNaN(date)) return Math.max(0, date - nowMs);
  const [, seconds] = /;\s*t=(\d{1,7})\b/.exec(headers.ratelimit ?? '') ?? [];
  return seconds === undefined ? undefined : Number(seconds) * 1_000;
}
