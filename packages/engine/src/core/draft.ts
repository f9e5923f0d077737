/**
 * A guess at an answer's tokens that came with the work, and how far it is followed.
 *
 * What is guessed is run together with what is known, so a right guess saves runs (speculative decoding, Leviathan et
 * al. 2023, here with a draft that somebody else made). A wrong one costs rows and changes nothing: each token is
 * chosen from its own logits, and what was run behind a wrong guess is forgotten. So a draft is given up when it does
 * not pay: how much of it is run at once grows while it is right and shrinks where it was not.
 */
import { LIMITS } from './limits.ts';

/** Of the last guesses that were looked at, the share that is right of a draft worth following far. */
const GOOD = 7 / 8;

export interface Draft {
  /** Guesses for the answer's tokens from index `i` on: at most `most`, none once it was given up. */
  from(i: number, most: number): readonly number[];
  /** Of `guessed` in one run, so many were right before one was wrong, or before the answer was over. */
  note(guessed: number, right: number): void;
}

/** By index in the answer. */
export function createDraft(ids: readonly number[]): Draft {
  let atOnce: number = LIMITS.draftRowsFirst;
  let missed = 0;
  /** Whether each of the last guesses that were looked at was right. */
  const judged: boolean[] = [];
  let isGivenUp = false;

  return {
    from: (i, most) => (isGivenUp ? [] : ids.slice(i, i + Math.max(0, Math.min(most, atOnce)))),
    note(guessed, right) {
      const isWhole = right === guessed;
      for (let n = 0; n < right; n++) judged.push(true);
      if (!isWhole) judged.push(false);
      judged.splice(0, judged.length - LIMITS.draftJudgedMax);
      missed = right === 0 ? missed + 1 : 0;
      const rightOfAll = judged.filter(Boolean).length;
      if (isWhole) atOnce = Math.min(LIMITS.draftRowsMax, Math.max(atOnce, 2 * guessed));
      // One that is wrong now and then, as one with decoys is, keeps its stride.
      else if (rightOfAll < GOOD * judged.length) atOnce = Math.max(LIMITS.draftRowsFirst, 2 * right);
      const isPoor = judged.length === LIMITS.draftJudgedMax && 2 * rightOfAll < judged.length;
      isGivenUp = missed >= LIMITS.draftMissesMax || isPoor;
    },
  };
}
