/**
 * A clock that can be taken away: the timers of one process, which all fall silent when it dies. What the dead process
 * had begun may still run to the end of the current turn, as promises do; nothing wakes it afterwards.
 */
import type { Clock, Timer } from '@idlewild/protocol';

export interface Scope extends Clock {
  isLive(): boolean;
  abandon(): void;
}

/** `onTimer` is called before each timer that fires. */
export function createScope(clock: Clock, onTimer: () => void = () => {}): Scope {
  let live = true;
  return {
    now: clock.now,
    monotonic: clock.monotonic,
    after(delayMs, act): Timer {
      if (!live) return { cancel: () => {} };
      return clock.after(delayMs, () => {
        if (!live) return;
        onTimer();
        if (live) act();
      });
    },
    isLive: () => live,
    abandon() {
      live = false;
    },
  };
}
