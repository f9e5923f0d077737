/**
 * Leave to go on with something that takes time: an answer, a stream. Whoever goes on asks `refusal` from time to time,
 * several times a second; that costs nothing as long as nothing changed, and the question is put again when the
 * territory's version grew, a right expired, or another hour began, which policies may look at.
 *
 * A database that does not answer ends nothing: it says nothing of what changed. It is an error of the asking, and the
 * question is put again.
 */
import { IdlewildError, codeOf, type MaybePromise } from '@idlewild/protocol';
import type { PeopleVersions } from '../people/versions.ts';
import { EVERYWHERE, type Reach } from './reach.ts';

export interface Permit {
  /** Why it may go on no longer; `undefined` as long as it may. Rejects where the database does not answer. */
  refusal(): MaybePromise<IdlewildError | undefined>;
  /** By which devices, as it was decided last. */
  reach(): Reach;
}

/** What the hub asks for its own ends, in the course of a request that has leave of its own. */
export const OWN_LEAVE: Permit = { refusal: () => undefined, reach: () => EVERYWHERE };

/** What was decided. */
export interface Leave {
  /** By the database's time; it holds so long if nothing changes. */
  readonly untilMs: number;
  readonly reach: Reach;
}

export interface PermitDeps {
  readonly versions: Pick<PeopleVersions, 'fresh'>;
  /** The database's time. */
  readonly now: () => number;
  /** With which it begins. */
  readonly leave: Leave;
  /** Decides again. Throws the refusal. */
  readonly again: () => MaybePromise<Leave>;
}

const HOUR_MS = 3_600_000;

export function createPermit({ versions, now, leave, again }: PermitDeps): Permit {
  /** Nothing at first: the version may have grown since the decision that let it begin. */
  let decided: { readonly version: number; readonly untilMs: number } | undefined;
  let { reach } = leave;
  let refused: IdlewildError | undefined;
  let asking: Promise<IdlewildError | undefined> | undefined;
  const limit = (until: number): number => Math.min(until, (Math.floor(now() / HOUR_MS) + 1) * HOUR_MS);

  function keep(version: number, held: Leave): undefined {
    decided = { version, untilMs: limit(held.untilMs) };
    ({ reach } = held);
  }
  function refuse(error: unknown): IdlewildError {
    const code = codeOf(error);
    const isFinal = code === 'forbidden' || code === 'unauthenticated' || code === 'model_stopped';
    if (!isFinal || !(error instanceof IdlewildError)) throw error;
    return (refused = error);
  }
  function decide(version: number): MaybePromise<IdlewildError | undefined> {
    if (decided?.version === version && now() < decided.untilMs) return undefined;
    try {
      const held = again();
      if (held instanceof Promise) return held.then((late) => keep(version, late), refuse);
      return keep(version, held);
    } catch (error) {
      return refuse(error);
    }
  }
  return {
    refusal() {
      if (refused !== undefined) return refused;
      if (asking !== undefined) return asking;
      const version = versions.fresh();
      const answer = version instanceof Promise ? version.then(decide) : decide(version);
      if (!(answer instanceof Promise)) return answer;
      asking = answer.finally(() => {
        asking = undefined;
      });
      return asking;
    },
    reach: () => reach,
  };
}

/** Ends what may go on no longer, of everything that is open; to be called several times a second. */
export function endRefused<Open>(
  open: Iterable<Open>,
  permitOf: (one: Open) => Permit,
  end: (one: Open, refusal: IdlewildError) => void,
  onError: (error: unknown) => void,
): void {
  const asked: Promise<unknown>[] = [];
  for (const one of [...open]) {
    const refusal = permitOf(one).refusal();
    if (refusal instanceof Promise) asked.push(refusal.then((late) => late !== undefined && end(one, late)));
    else if (refusal !== undefined) end(one, refusal);
  }
  // They wait for the same reading: one word of it is enough.
  Promise.all(asked).catch(onError);
}
