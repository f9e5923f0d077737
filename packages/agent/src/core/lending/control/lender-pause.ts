/**
 * The lender's own pause: it holds until it is taken back or until its time is over, whatever happens in between. A
 * device that starts again finds it as it was; one whose machine slept past the end goes on when it wakes.
 *
 *   lent ──pause──► paused ──resume, its end──► lent        pause again: the newer end counts
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { CONTROL_LIMITS } from './limits.ts';

/** Both of the wall clock. */
export interface KeptPause {
  readonly sinceMs: number;
  /** Absent: until it is taken back. */
  readonly untilMs?: number | undefined;
}

export interface LenderPause {
  /** It holds at once; resolves with it when it is kept, and rejects where it could not be. */
  pause(forMs?: number): Promise<KeptPause>;
  resume(): Promise<void>;
  /** To an agent that took the place of another. */
  hold(): void;
  now(): KeptPause | undefined;
  /** Ends no pause; nothing more happens by itself. */
  stop(): void;
}

export interface LenderPauseDeps {
  readonly clock: Clock;
  /** What an earlier run kept. */
  readonly kept: KeptPause | undefined;
  readonly device: { pause(name: string, text: string): void; resume(name: string): void };
  keep(pause: KeptPause | undefined): Promise<void>;
  /** A pause ended by itself, and that could not be written down. */
  onFailed(error: unknown): void;
}

/** A pause over one that may hold: since when stays, and the newer end counts. */
export function pausedAgain(before: KeptPause | undefined, nowMs: number, forMs: number | undefined): KeptPause {
  const sinceMs = before === undefined || isOver(before, nowMs) ? nowMs : before.sinceMs;
  return { sinceMs, ...(forMs === undefined ? {} : { untilMs: nowMs + forMs }) };
}

export const isOver = ({ untilMs }: KeptPause, nowMs: number): boolean => untilMs !== undefined && untilMs <= nowMs;

export const LENDER_PAUSE = { name: 'lender', text: 'its lender paused it' } as const;

export function createLenderPause({ clock, kept, device, keep, onFailed }: LenderPauseDeps): LenderPause {
  let paused = kept;
  let timer: Timer | undefined;
  let keeping: Promise<void> = Promise.resolve();

  /** In order: the last word is what is kept. */
  const keepNow = (): Promise<void> => {
    const word = paused;
    keeping = keeping.catch(() => undefined).then(() => keep(word));
    return keeping;
  };

  function wait(): void {
    timer?.cancel();
    timer = undefined;
    if (paused?.untilMs === undefined) return;
    if (isOver(paused, clock.now())) return void resume().catch(onFailed);
    // In slices: while a machine sleeps its timers may stand still, and its wall clock does not.
    timer = clock.after(Math.min(paused.untilMs - clock.now(), CONTROL_LIMITS.pauseLookMs), wait);
  }

  function resume(): Promise<void> {
    timer?.cancel();
    timer = undefined;
    if (paused === undefined) return keeping;
    paused = undefined;
    device.resume(LENDER_PAUSE.name);
    return keepNow();
  }

  const hold = (): void => device.pause(LENDER_PAUSE.name, LENDER_PAUSE.text);
  if (paused !== undefined) {
    hold();
    wait();
  }
  return {
    async pause(forMs) {
      const word = pausedAgain(paused, clock.now(), forMs);
      paused = word;
      hold();
      wait();
      await keepNow();
      return word;
    },
    resume,
    hold,
    now: () => paused,
    stop: () => timer?.cancel(),
  };
}
