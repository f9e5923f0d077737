/**
 * One answer in the making: which rows to run next, and what the logits of the last ones mean.
 *
 * Invariants: a token is run once, at its position, unless its keys and values were given up. Tokens of earlier
 * attempts go through the same form, text stream and stop filter in silence, so what is said after them is what the
 * first attempt would have said. Position and tokens alone decide, never how the work was cut, nor what a draft
 * guesses: guesses are run behind what is known, and the row of each counts once its token turned out the same.
 */
import {
  IdlewildError,
  type AnswerWork,
  type CallPart,
  type Clock,
  type FinishReason,
  type Logprobs,
  type Sampler,
  type Sampling,
} from '@idlewild/protocol';
import { createAnswerText } from './answer-text.ts';
import { createDraft } from './draft.ts';
import type { Preparation } from './guides.ts';
import { LIMITS } from './limits.ts';
import { tellLogprobs } from './logprobs.ts';
import type { EngineEvent } from './port.ts';
import type { ModelSettings } from './settings.ts';

/** Rows to run: `ids` at positions `from`, `from` + 1, …; `before` is the token ahead of them, absent at the start. */
export interface Rows {
  readonly ids: readonly number[];
  readonly from: number;
  readonly before: number | undefined;
  /** Of how many of the last rows a token comes: of none, of one, or of one more than there are guesses in `ids`. */
  readonly logitRows: number;
}

export interface Sequence {
  /** Prompt and answer so far. */
  tokens(): readonly number[];
  /** Of these, how many need not be run, since their keys and values are there. */
  readonly cached: number;
  /** True once `finished` or `failed` was said, or it was cancelled. */
  readonly isOver: boolean;
  /** Whether the next run is of one new token; pacing counts those. */
  readonly isDecoding: boolean;
  /** Whether the next run could be of guesses as well. */
  readonly isDrafting: boolean;
  /** At most `rowsMax` rows of what is known; where that is all of it, at most `guessesMax` rows of guesses more. */
  next(rowsMax: number, guessesMax?: number): Rows;
  /** Keys and values are there of the first `cached` tokens only. */
  restart(cached: number): void;
  /**
   * The rows of `next` were run; `logits` as it asked for them. Returns how many tokens were told. `cached` then says
   * which of the rows hold.
   */
  advance(rows: Rows, logits: readonly Float32Array[]): number;
  /** It is not run this time: breaks its silence now and then. */
  wait(): void;
  fail(error: IdlewildError): void;
  cancel(): void;
}

export interface SequenceOptions {
  readonly settings: ModelSettings;
  readonly contextTokens: number;
  readonly vocabulary: number | undefined;
  /** How many tokens of the beginning need not be run; at least one is left. */
  readonly reuse: (tokens: readonly number[]) => number;
  readonly sampler: Sampler;
  readonly clock: Clock;
}

/**
 * Tokenises and says `started`. `prepared` is what `Guides.prepare` made of the work, and is closed with the sequence.
 * Throws `context_length_exceeded`, `invalid_request` or `model_unsupported`.
 */
export function createSequence(
  work: AnswerWork,
  listen: (event: EngineEvent) => void,
  options: SequenceOptions,
  prepared?: Preparation,
): Sequence {
  try {
    return begin(work, listen, options, prepared);
  } catch (error) {
    prepared?.guide.close();
    throw error;
  }
}

function begin(
  work: AnswerWork,
  listen: (event: EngineEvent) => void,
  options: SequenceOptions,
  prepared: Preparation | undefined,
): Sequence {
  const guide = prepared?.guide;
  const { settings, contextTokens, clock, sampler } = options;
  const prompt = settings.encodePrompt(work.prompt, contextTokens);
  checkContext(prompt.length, work.tokensMax, contextTokens);
  checkAllIds(work, options.vocabulary);
  // Before anything is said: what does not fit the form is refused.
  for (const id of work.tokens) guide?.take(id);
  const tokensMax = work.tokensMax ?? settings.tokensDefault;
  const sampling: Sampling = settings.completeSampling(work.sampling);
  const { tokenizer, endIds } = settings;
  const text = createAnswerText({ tokenizer, endIds, stops: work.stop, calls: prepared?.calls });
  const answer: number[] = [];
  const draft = work.draft === undefined ? undefined : createDraft(work.draft);
  const before = { s: '', calls: [] as CallPart[] };
  const startedMs = clock.monotonic();
  let firstTokenMs: number | undefined;
  let saidMs = startedMs;
  let cached = 0;
  let over = false;

  const say = (event: EngineEvent): void => {
    if (!over) listen(event);
  };
  const end = (): void => {
    if (!over) guide?.close();
    over = true;
  };
  function progress(everyMs: number): void {
    const now = clock.monotonic();
    if (now - saidMs < everyMs) return;
    saidMs = now;
    say({ t: 'progress', phase: 'prefill' });
  }
  const tokenAt = (position: number): number =>
    (position < prompt.length ? prompt[position] : answer[position - prompt.length]) as number;
  const length = (): number => prompt.length + answer.length;
  const tokensLeft = (): number => Math.min((tokensMax ?? Infinity) - answer.length, contextTokens - length());

  /** Takes one token in; `quiet` for those that were said by an earlier attempt. */
  function take(id: number, quiet: boolean, lp?: Logprobs): void {
    const i = answer.push(id) - 1;
    const { text: s, calls, ended } = text.push(id);
    if (!quiet) say({ t: 'token', i, id, s, ...(calls.length > 0 && { calls }), ...(lp && { lp }) });
    else {
      before.s += s;
      before.calls.push(...calls);
    }
    if (ended) finish('stop');
    else if (tokensLeft() > 0) return;
    else finish(work.form !== undefined && guide?.isComplete === true ? 'stop' : 'length');
  }

  /** The next token of these logits, as far as the form allows. */
  function choose(logits: Float32Array): number {
    const draw = (allowed?: Int32Array): number =>
      sampler(logits, sampling, { prompt, answer, choice: work.choice, allowed });
    return guide === undefined ? draw() : guide.choose(draw, tokensLeft() - 1);
  }

  function finish(reason: FinishReason): void {
    const now = clock.monotonic();
    const prefillMs = (firstTokenMs ?? now) - startedMs;
    const decodeMs = now - startedMs - prefillMs;
    const { text: s, calls, stopped } = text.rest();
    const isCall = text.callCount > 0 && guide?.isComplete === true;
    const why = stopped ? 'stop' : isCall ? 'tool_calls' : reason;
    const counts = { promptTokens: prompt.length, answerTokens: answer.length, prefillMs, decodeMs };
    const told = { ...(calls.length > 0 && { calls }), ...(work.tokens.length > 0 && { before }) };
    say({ t: 'finished', finish: why, s, ...told, ...counts });
    end();
  }

  /** The token that comes of these logits. */
  function tell(logits: Float32Array): number {
    const id = choose(logits);
    guide?.take(id);
    const lp = work.logprobs === undefined ? undefined : tellLogprobs(logits, id, work.logprobs, tokenizer.bytesOf);
    take(id, false, lp);
    if (!over && guide?.isOver === true) finish('stop');
    return id;
  }

  /** As many as there is room for their tokens behind the next one. */
  const guesses = (most: number): readonly number[] =>
    draft?.from(answer.length, Math.min(most, tokensLeft() - 1)) ?? [];

  const sequence: Sequence = {
    tokens: () => [...prompt, ...answer],
    get cached() {
      return cached;
    },
    get isOver() {
      return over;
    },
    get isDecoding() {
      return cached > 0 && length() - cached === 1;
    },
    get isDrafting() {
      return guesses(1).length > 0;
    },
    next(rowsMax, guessesMax = 0) {
      const all = length();
      const until = Math.min(all, cached + Math.max(rowsMax, 1));
      const known = Array.from({ length: until - cached }, (_, row) => tokenAt(cached + row));
      const before = cached === 0 ? undefined : tokenAt(cached - 1);
      if (until < all) return { ids: known, from: cached, before, logitRows: 0 };
      const guessed = guesses(guessesMax);
      return { ids: [...known, ...guessed], from: cached, before, logitRows: 1 + guessed.length };
    },
    restart(kept) {
      cached = kept;
    },
    advance({ ids, from, logitRows }, logits) {
      if (over) return 0;
      const guessed = ids.slice(ids.length - Math.max(0, logitRows - 1));
      const known = ids.length - guessed.length;
      cached = from + known;
      if (logitRows === 0) {
        progress(LIMITS.progressMs);
        return 0;
      }
      saidMs = clock.monotonic();
      firstTokenMs ??= saidMs;
      let right = 0;
      for (const row of logits) {
        const isRight = tell(row) === guessed[right];
        if (over || !isRight) break;
        cached = from + known + ++right;
      }
      if (guessed.length > 0) draft?.note(guessed.length, right);
      return right + 1;
    },
    wait: () => progress(LIMITS.waitingToldMs),
    fail(error) {
      say({ t: 'failed', code: error.code, message: error.message });
      end();
    },
    cancel: end,
  };

  cached = options.reuse([...prompt, ...work.tokens]);
  const cachedTokens = Math.min(cached, prompt.length);
  say({ t: 'started', promptTokens: prompt.length, ...(cachedTokens === 0 ? {} : { cachedTokens }) });
  for (const id of work.tokens) if (!over) take(id, true);
  if (!over && guide?.isOver === true) finish('stop');
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

/** Throws `invalid_request`. */
function checkAllIds({ tokens, draft = [], sampling }: AnswerWork, vocabulary: number | undefined): void {
  const biased = (sampling.logitBias ?? []).map(([id]) => id);
  checkIds(tokens, vocabulary, 'of an earlier attempt');
  checkIds(draft, vocabulary, 'of the draft');
  checkIds(biased, vocabulary, 'with a bias');
}

/** An id outside the table would be an error of the runtime, and blamed on the device. Throws `invalid_request`. */
function checkIds(ids: readonly number[], vocabulary: number | undefined, which: string): void {
  const wrong = vocabulary === undefined ? undefined : ids.find((id) => id >= vocabulary);
  if (wrong !== undefined)
    throw new IdlewildError('invalid_request', `token ${wrong} ${which} is not one of this model's ${vocabulary}`);
}
