/**
 * The sources of one transfer and what became of them. Pure bookkeeping: it asks nobody and never waits.
 *
 * A source stands in the order it was given in. Once it failed it stands behind those that work until its pause is over
 * and it answers again. Once its bytes did not match it is blamed and out of this transfer for good.
 */
import { LIMITS } from '../limits.ts';
import type { BlobSource } from '../ports.ts';

export interface SourceState {
  readonly source: BlobSource;
  blamed: boolean;
  /** In a row. */
  failures: number;
  /** On the monotonic clock. */
  notBeforeMs: number;
}

/** What one block's search has heard from one source. */
export interface Said {
  attempts: number;
  final: boolean;
  words: string;
}

export interface SourceRing {
  /** Whom to ask next for a block; `undefined` when none is left that might have it. */
  next(heard: ReadonlyMap<SourceState, Said>): SourceState | undefined;
  worked(state: SourceState): void;
  failed(state: SourceState, nowMs: number): void;
  /** Whether this is news. */
  blame(state: SourceState): boolean;
  readonly states: readonly SourceState[];
}

export function createSourceRing(sources: readonly BlobSource[]): SourceRing {
  const fresh = { blamed: false, failures: 0, notBeforeMs: 0 };
  const states: readonly SourceState[] = sources.map((source) => ({ source, ...fresh }));
  return {
    states,
    next(heard) {
      let best: SourceState | undefined;
      for (const state of states) {
        if (state.blamed || heard.get(state)?.final === true) continue;
        if (best === undefined || state.notBeforeMs < best.notBeforeMs) best = state;
      }
      return best;
    },
    worked(state) {
      state.failures = 0;
      state.notBeforeMs = 0;
    },
    failed(state, nowMs) {
      // Several leaves in flight fail together; that is one failure.
      if (nowMs < state.notBeforeMs) return;
      const pauseMs = Math.min(LIMITS.sourceBackoffMsMax, LIMITS.sourceBackoffMsMin * 2 ** state.failures);
      state.failures += 1;
      state.notBeforeMs = nowMs + pauseMs;
    },
    blame(state) {
      const news = !state.blamed;
      state.blamed = true;
      return news;
    },
  };
}
