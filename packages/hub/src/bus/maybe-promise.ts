/**
 * Working with what is there at once on Node and later elsewhere, without making the first wait: the order of messages
 * is kept either way.
 */
import type { MaybePromise } from '@idlewild/protocol';

export function andThen<From, To>(value: MaybePromise<From>, use: (value: From) => MaybePromise<To>): MaybePromise<To> {
  return value instanceof Promise ? value.then(use) : use(value);
}

export interface Sequence {
  /**
   * Runs `step` after those before it: within this call where none of them waits. `false` where too much waits already.
   */
  run(bytes: number, step: () => MaybePromise<void>): boolean;
  /** Resolves when nothing waits. */
  idle(): Promise<void>;
}

/** `onError` has what a step throws; the next one runs all the same. */
export function createSequence(waitingBytesMax: number, onError: (error: unknown) => void): Sequence {
  let last: Promise<void> | undefined;
  let waitingBytes = 0;
  const start = (step: () => MaybePromise<void>): MaybePromise<void> => {
    try {
      const result = step();
      return result instanceof Promise ? result.catch(onError) : undefined;
    } catch (error) {
      onError(error);
      return undefined;
    }
  };
  const wait = (promise: Promise<void>, bytes: number): void => {
    waitingBytes += bytes;
    const done = promise.then(() => {
      waitingBytes -= bytes;
      if (last === done) last = undefined;
    });
    last = done;
  };
  return {
    run(bytes, step) {
      if (last === undefined) {
        const running = start(step);
        if (running instanceof Promise) wait(running, bytes);
        return true;
      }
      if (waitingBytes + bytes > waitingBytesMax) return false;
      wait(
        last.then(() => start(step)),
        bytes,
      );
      return true;
    },
    idle: () => last ?? Promise.resolve(),
  };
}
