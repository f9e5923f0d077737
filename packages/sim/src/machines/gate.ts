/**
 * Between one process and the world: everything that reaches it and everything that it does passes here, so that it can
 * be stopped at any moment and go on later, or never. A process that was stopped knows nothing of it: what came
 * meanwhile reaches it afterwards in its order, its timers are late, and what it was about to do is done late.
 *
 * A stopped process finds that time has gone on (SIGSTOP); one whose machine slept does not, its monotonic clock stood
 * still with it. What a dead process had begun may still run to the end of the current turn, as promises do; nothing
 * wakes it afterwards.
 */
import type { Clock, Timer } from '@idlewild/protocol';

export interface Gate {
  /** The process's own. */
  readonly clock: Clock;
  isLive(): boolean;
  isPaused(): boolean;
  /** Something reaches the process. */
  take(act: () => void): void;
  /** The process does something that others see. */
  give(act: () => void): void;
  /** Resolves when the process runs; rejects when it has died. */
  opened(): Promise<void>;
  pause(how: 'stopped' | 'asleep'): void;
  wake(): void;
  abandon(): void;
  /** Told when it is paused or has died. */
  onShut(listener: () => void): void;
}

/** `onTimer` is called before each timer that fires. */
export function createGate(world: Clock, onTimer: () => void): Gate {
  let state: 'running' | 'paused' | 'catching up' | 'dead' = 'running';
  let asleepSinceMs: number | undefined;
  let sleptMs = 0;
  const inbox: (() => void)[] = [];
  const waiting: PromiseWithResolvers<void>[] = [];
  const listeners: (() => void)[] = [];
  const isLive = (): boolean => state !== 'dead';
  const monotonic = (): number => (asleepSinceMs ?? world.monotonic()) - sleptMs;

  function take(act: () => void): void {
    if (state === 'running') act();
    else if (isLive()) inbox.push(act);
  }
  /** One thing after the other, each with all that it causes, before anything that comes now. */
  function catchUp(): void {
    if (state !== 'catching up') return;
    const act = inbox.shift();
    if (act === undefined) {
      state = 'running';
      return;
    }
    act();
    world.after(0, catchUp);
  }
  function after(delayMs: number, act: () => void): Timer {
    if (!isLive()) return { cancel: () => {} };
    const dueMs = monotonic() + Math.max(0, delayMs);
    let isCancelled = false;
    const fire = (): void => {
      if (isCancelled || !isLive()) return;
      // It slept meanwhile, and by its own clock it is not time yet.
      if (sleptMs > 0 && dueMs - monotonic() > EARLY_MS) {
        timer = world.after(dueMs - monotonic(), () => take(fire));
        return;
      }
      onTimer();
      if (isLive()) act();
    };
    let timer = world.after(delayMs, () => take(fire));
    return {
      cancel() {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  return {
    clock: { now: world.now, monotonic, after },
    isLive,
    isPaused: () => state === 'paused',
    take,
    give(act) {
      if (state === 'paused') inbox.push(act);
      else if (isLive()) act();
    },
    opened() {
      if (state === 'dead') return Promise.reject(gone());
      if (state !== 'paused') return Promise.resolve();
      const turn = Promise.withResolvers<void>();
      waiting.push(turn);
      return turn.promise;
    },
    pause(how) {
      if (state === 'dead' || state === 'paused') return;
      state = 'paused';
      if (how === 'asleep') asleepSinceMs = world.monotonic();
      for (const listener of listeners) listener();
    },
    wake() {
      if (state !== 'paused') return;
      if (asleepSinceMs !== undefined) sleptMs += world.monotonic() - asleepSinceMs;
      asleepSinceMs = undefined;
      state = 'catching up';
      for (const turn of waiting.splice(0)) turn.resolve();
      world.after(0, catchUp);
    },
    abandon() {
      if (!isLive()) return;
      state = 'dead';
      inbox.length = 0;
      for (const turn of waiting.splice(0)) turn.reject(gone());
      for (const listener of listeners) listener();
    },
    onShut: (listener) => void listeners.push(listener),
  };
}

/** Sums of fractions of a millisecond are not exact. */
const EARLY_MS = 0.001;

const gone = (): Error => new Error('this process is gone');
