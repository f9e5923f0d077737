/**
 * How many rows to run at once, from what earlier runs took.
 *
 * A run costs what reading the weights costs, whatever its rows, and something for each row more. Both are followed: of
 * a large model one row takes nearly as long as ten, and holding every run to one bound would make its prompts crawl.
 * So a run takes what was set as the aim or, where that is longer, a multiple of a step of decoding: little more than
 * one while another answer waits for its next token, two while nobody does.
 *
 * A row of a guessed token costs more than one of a prompt: its logits are computed, and a token is chosen of them.
 * That is followed by itself. Who is alone always gets one guess, or what it costs would never be learned anew.
 */
import { LIMITS } from './limits.ts';

export interface RunCost {
  /** Milliseconds of a run of one row, or of what a decoder makes of one. */
  readonly stepMs: number;
  /** What each further row adds. */
  readonly rowMs: number;
}

export interface ChunkSize {
  /** Of all answers together. `isShared`: other answers wait for their next token meanwhile. */
  rows(isShared: boolean): number;
  note(rows: number, tookMs: number): void;
  /** How many guessed tokens a run has time for beside a step, of all answers together. */
  guesses(isShared: boolean): number;
  /** A run of `rows`, `guesses` of them guessed, with the choice of tokens. */
  noteGuesses(rows: number, guesses: number, tookMs: number): void;
}

/** Weight of the newest run: a few runs forget a disturbance, and follow a cache that grows. */
const NEWEST = 0.4;
/**
 * A step that takes longer than so many was stopped from outside. A chunk is sized in steps, so to believe it would
 * make the next chunk as long; to believe the same of a chunk only makes the next ones shorter for a while.
 */
const STEPS_MAX = 4;
/** What a guess may cost before one was run, of a step: a quarter of one is beyond all that were measured. */
const GUESS_STEPS = 0.25;
/** Below what clocks tell apart; keeps divisions finite. */
const MS_MIN = 1e-3;

/** `known` is what was measured at loading; without it the first chunk is small. */
export function createChunkSize(known?: RunCost): ChunkSize {
  let cost = known;
  let largest: number = known === undefined ? LIMITS.rowsFirst : LIMITS.rowsMax;
  /** What a guess costs, once one was run. */
  let guessMs: number | undefined;

  const plainMs = ({ stepMs, rowMs }: RunCost, rows: number): number => stepMs + (rows - 1) * rowMs;

  function roomMs({ stepMs }: RunCost, isShared: boolean): number {
    const steps = isShared ? LIMITS.chunkStepsShared : LIMITS.chunkStepsAlone;
    return Math.max(LIMITS.runMsAim, steps * stepMs) - stepMs;
  }

  return {
    rows(isShared) {
      if (cost === undefined) return LIMITS.rowsFirst;
      const fitting = 1 + Math.floor(roomMs(cost, isShared) / Math.max(cost.rowMs, MS_MIN));
      return Math.min(fitting, LIMITS.rowsMax, largest * LIMITS.rowsGrowthMax);
    },
    note(ran, tookMs) {
      cost ??= { stepMs: tookMs / ran, rowMs: tookMs / ran };
      const { stepMs, rowMs } = cost;
      if (ran === 1) {
        cost = { stepMs: stepMs + NEWEST * (Math.min(tookMs, STEPS_MAX * stepMs) - stepMs), rowMs };
        return;
      }
      // What made this run dearer than expected, a longer cache or a busy machine, makes its parts dearer alike.
      const factor = 1 + NEWEST * (tookMs / Math.max(plainMs(cost, ran), MS_MIN) - 1);
      cost = { stepMs: stepMs * factor, rowMs: rowMs * factor };
      largest = Math.max(largest, ran);
    },
    guesses(isShared) {
      if (cost === undefined) return LIMITS.draftRowsFirst;
      const each = Math.max(guessMs ?? cost.stepMs * GUESS_STEPS, MS_MIN);
      return Math.max(isShared ? 0 : 1, Math.floor(roomMs(cost, isShared) / each));
    },
    noteGuesses(ran, guesses, tookMs) {
      cost ??= { stepMs: tookMs / ran, rowMs: tookMs / ran };
      const each = Math.max(0, tookMs - plainMs(cost, ran - guesses)) / guesses;
      const before = guessMs ?? each;
      // A disturbance of one run must not make the next ones those of a single guess.
      guessMs = before + NEWEST * (Math.min(each, STEPS_MAX * Math.max(before, cost.rowMs)) - before);
    },
  };
}
