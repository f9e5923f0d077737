/**
 * Doing a thing only by what is fresh of how far devices are trusted: nothing is sent by what may be old, for a replica
 * may have stood still.
 */
import type { Trust } from './trust.ts';

/** `act` now, or after the next reading; asked for again meanwhile it is done once. */
export function whenFresh(
  trust: Pick<Trust, 'refresh' | 'isFresh'>,
  act: () => void,
  onUnread: (error: unknown) => void,
): () => void {
  let isLooking = false;
  function lookAgain(): void {
    if (isLooking) return;
    isLooking = true;
    Promise.resolve(trust.refresh())
      .finally(() => {
        isLooking = false;
      })
      // However long it took, it is as new as can be.
      .then(act, onUnread);
  }
  return () => {
    if (trust.isFresh()) act();
    else lookAgain();
  };
}
