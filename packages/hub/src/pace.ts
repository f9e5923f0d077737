/**
 * Something that is done at once, unless it was done a moment ago; what is asked for within that moment is done
 * together when it is over.
 *
 * For writes: a system call costs as much as all else that is done for a token. Who comes less often than once in a
 * moment never waits.
 */
import type { Clock, Timer } from '@idlewild/protocol';

export interface Pace {
  /** There is something to do. */
  ask(): void;
  /** It is done now, whether asked for or not. */
  now(): void;
  /** Nothing is done any more. */
  stop(): void;
}

export function createPace(clock: Pick<Clock, 'monotonic' | 'after'>, gapMs: number, act: () => void): Pace {
  let doneAtMs = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;
  let isStopped = false;

  function now(): void {
    timer?.cancel();
    timer = undefined;
    if (isStopped) return;
    doneAtMs = clock.monotonic();
    act();
  }

  return {
    ask() {
      if (timer !== undefined || isStopped) return;
      const restMs = doneAtMs + gapMs - clock.monotonic();
      if (restMs <= 0) now();
      else timer = clock.after(restMs, now);
    },
    now,
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}
