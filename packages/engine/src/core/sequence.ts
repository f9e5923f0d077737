/**
 * One answer in the making: which rows to run next, and what the logits of the last one mean.
 *
 * Invariants: rows are run in steps of two at least, so a step at position p runs p − 1 again (its key and value come
 * out the same); a prompt of one token is run twice in one step. Tokens of earlier attempts go through the same text
 * stream and stop filter in silence, so what is said after them is what the first attempt would have said. Position and
 * tokens alone decide, never how the work was cut.
 */
import {
  IdlewildError,
  type AnswerWork,
  type Clock,
  type FinishReason,
  type Sampler,
  type Sampling,
} from '@idlewild/protocol';
import { createAnswerText } from './answer-text.ts';
import type { Cache } from './decoder.ts';
import { LIMITS } from './limits.ts';
import type { EngineEvent } from './port.ts';
import type { ModelSettings } from './settings.ts';

/** Rows to run: `ids` at positions `keep`, `keep` + 1, …; with `logitsRow`, the next token comes of it. */
export interface Rows {
  readonly ids: readonly number[];
  readonly keep: number;
  readonly logitsRow?: number;
}

export interface Sequence {
  /** Keys and values of the rows run so far. */
  cache: Cache;
  /** True once `finished` or `failed` was said, or it was cancelled. */
  readonly isOver: boolean;
  /** Whether the next run is of one new token; pacing counts those. */
  readonly isDecoding: boolean;
  next(rowsMax: number): Rows;
  /** The rows of `next` were run; `logits` where it asked for them. */
  advance(rows: Rows, logits: Float32Array | undefined): void;
  fail(error: IdlewildError): void;
  cancel(): void;
}

export interface SequenceOptions {
  readonly settings: ModelSettings;
  readonly contextTokens: number;
  readonly vocabulary: number | undefined;
  readonly emptyCache: Cache;
  readonly sampler: Sampler;
  readonly clock: Clock;
}

/** Tokenises and says `started`. Throws `context_length_exceeded`, `invalid_request` or `model_unsupported`. */
export function createSequence(
  work: AnswerWork,
  listen: (event: EngineEvent) => void,
  options: SequenceOptions,
): Sequence {
  const { settings, contextTokens, clock, sampler } = options;
  const prompt = settings.encodePrompt(work.prompt, contextTokens);
  checkContext(prompt.length, work.tokensMax, contextTokens);
  checkIds(work.tokens, options.vocabulary);
  const tokensMax = work.tokensMax ?? settings.tokensDefault;
  const sampling: Sampling = settings.completeSampling(work.sampling);
  const text = createAnswerText(settings.tokenizer, settings.endIds, work.stop);
  const answer: number[] = [];
  const startedMs = clock.monotonic();
  let firstTokenMs: number | undefined;
  let progressMs = startedMs;
  /** Positions of the cache whose rows are final. */
  let cached = 0;
  let over = false;

  const say = (event: EngineEvent): void => {
    if (!over) listen(event);
  };
  const end = (): void => {
    over = true;
    sequence.cache = [];
  };
  const tokenAt = (position: number): number =>
    (position < prompt.length ? prompt[position] : answer[position - prompt.length]) as number;
  const length = (): number => prompt.length + answer.length;

  /** Takes one token in; `quiet` for those that were said by an earlier attempt. */
  function take(id: number, quiet: boolean): void {
    const i = answer.push(id) - 1;
    const { text: added, ended } = text.push(id);
    if (!quiet) say({ t: 'token', i, id, s: added });
    if (ended) finish('stop');
    else if (answer.length === tokensMax || length() >= contextTokens) finish('length');
  }

  function finish(reason: FinishReason): void {
    const now = clock.monotonic();
    const prefillMs = (firstTokenMs ?? now) - startedMs;
    const decodeMs = now - startedMs - prefillMs;
    const { text: s, stopped } = text.rest();
    const counts = { promptTokens: prompt.length, answerTokens: answer.length, prefillMs, decodeMs };
    say({ t: 'finished', finish: stopped ? 'stop' : reason, s, ...counts });
    end();
  }

  const sequence: Sequence = {
    cache: options.emptyCache,
    get isOver() {
      return over;
    },
    get isDecoding() {
      return cached > 0 && length() - cached === 1;
    },
    next(rowsMax) {
      const all = length();
      if (all === 1) return { ids: [tokenAt(0), tokenAt(0)], keep: 0, logitsRow: 0 };
      const keep = all - cached === 1 ? cached - 1 : cached;
      const until = Math.min(all, keep + Math.max(rowsMax, LIMITS.rowsMin));
      const ids = Array.from({ length: until - keep }, (_, row) => tokenAt(keep + row));
      return until === all ? { ids, keep, logitsRow: ids.length - 1 } : { ids, keep };
    },
    advance({ ids, keep, logitsRow }, logits) {
      if (over) return;
      cached = logitsRow === undefined ? keep + ids.length : keep + logitsRow + 1;
      const now = clock.monotonic();
      if (logits === undefined) {
        if (now - progressMs < LIMITS.progressMs) return;
        progressMs = now;
        return say({ t: 'progress', phase: 'prefill' });
      }
      firstTokenMs ??= now;
      take(sampler(logits, sampling, { prompt, answer, choice: work.choice }), false);
    },
    fail(error) {
      say({ t: 'failed', code: error.code, message: error.message });
      end();
    },
    cancel: end,
  };

  say({ t: 'started', promptTokens: prompt.length });
  for (const id of work.tokens) if (!over) take(id, true);
  return sequence;
}

/** Throws `context_length_exceeded`. */
function checkContext(promptTokens: number, tokensMax: number | undefined, contextTokens: number): void {
  if (promptTokens + (tokensMax ?? 1) <= contextTokens) return;
  const asked =
    tokensMax === undefined
      ? 'leaves no room for an answer'
      : `and the ${tokensMax} tokens asked for are ${promptTokens + tokensMax}`;
  throw new IdlewildError(
    'context_length_exceeded',
    `this model's context is ${contextTokens} tokens; the prompt of ${promptTokens} ${asked}`,
    { details: { contextTokens, promptTokens, ...(tokensMax === undefined ? {} : { tokensMax }) } },
  );
}

/** An id outside the table would be an error of the runtime, and blamed on the device. Throws `invalid_request`. */
function checkIds(ids: readonly number[], vocabulary: number | undefined): void {
  const wrong = vocabulary === undefined ? undefined : ids.find((id) => id >= vocabulary);
  if (wrong !== undefined)
    throw new IdlewildError(
      'invalid_request',
      `token ${wrong} of an earlier attempt is not one of this model's ${vocabulary}`,
    );
}
