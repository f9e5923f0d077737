/**
 * Draws the tokens of an answer that follows a grammar, and sees to it that the answer is whole when its tokens are
 * used up.
 *
 * Invariant: if the shortest ending fits into the tokens that are left at the beginning, it fits after every token. A
 * token that fits the grammar but would leave too few for the ending is not taken; where nothing else is found, the
 * ending's first token is. Where not even the shortest ending fits at the beginning, the answer is cut like any other.
 * What is chosen depends on the tokens so far, the logits and the tokens left alone.
 */
import { IdlewildError } from '@idlewild/protocol';
import { LIMITS } from '../limits.ts';
import type { Automaton, State } from './automaton.ts';
import type { TokenMatcher } from './library.ts';
import { TOKEN_BYTES_MAX, type Vocabulary } from './vocabulary.ts';

export interface Guide {
  /**
   * The next token. `draw` chooses among the allowed (absent: among all); `left` tokens may come after it. Throws
   * `engine_failed` when the vocabulary has no token that fits.
   */
  choose(draw: (allowed?: Int32Array) => number, left: number): number;
  /** Takes a token in, chosen here or by an earlier attempt. Throws `invalid_request` for one that does not fit. */
  take(id: number): void;
  /** Whether the answer may end here. */
  readonly isComplete: boolean;
  /** Whether it must. */
  readonly isOver: boolean;
  /** To be called once, when the answer is over. */
  close(): void;
}

export interface GuideParts {
  readonly automaton: Automaton;
  readonly matcher: TokenMatcher;
  readonly vocabulary: Vocabulary;
  readonly endIds: ReadonlySet<number>;
  /** Text that is written already. */
  readonly written?: State | undefined;
}

export function createGrammarGuide({ automaton, matcher, vocabulary, endIds, written }: GuideParts): Guide {
  let state = written ?? automaton.start;
  /**
   * The library refused what fits, or keeps too many ways to read the text, which takes it memory that grows with their
   * square: from there on every token is judged by itself.
   */
  let isLost = false;
  let strain = 0;
  let isClosed = false;
  let chosen: { id: number; state: State } | undefined;
  const mask = new Int32Array(Math.ceil(vocabulary.tokens.length / 32));

  /** Tokens of the shortest ending, by state. */
  const needs = new WeakMap<State, number>();

  function needed(of: State): number {
    let count = needs.get(of);
    if (count === undefined) needs.set(of, (count = vocabulary.count(automaton.ending(of))));
    return count;
  }
  const fits = (of: State, left: number): boolean =>
    (vocabulary.isWhole && of.cost <= left) || (of.cost <= left * TOKEN_BYTES_MAX && needed(of) <= left);

  function after(id: number): State | undefined {
    const bytes = vocabulary.tokens[id];
    return bytes && automaton.step(state, bytes);
  }

  /** A token of the shortest ending: a long one when there is haste, else one that leaves most open. */
  function ofEnding(left: number): number {
    const ending = automaton.ending(state);
    for (const bytesMax of [1, undefined]) {
      const id = vocabulary.longest(ending, 0, bytesMax)?.id;
      const next = id === undefined ? undefined : after(id);
      if (id === undefined || next === undefined || (bytesMax === 1 && !fits(next, left))) continue;
      chosen = { id, state: next };
      return id;
    }
    throw new IdlewildError('engine_failed', "this model's vocabulary cannot write what the form demands");
  }

  function choose(draw: (allowed?: Int32Array) => number, left: number): number {
    // Without this no ending would ever fit, and every token would be refused for it.
    const isBounded = fits(state, left + 1);
    if (isBounded && !fits(state, left)) return ofEnding(left);
    if (isLost) mask.fill(-1);
    else matcher.maskInto(mask);
    for (const id of endIds) setBit(mask, id, state.isComplete);
    for (let draws = 0; draws < LIMITS.drawsMax && mask.some((word) => word !== 0); draws++) {
      const id = draw(mask);
      if (endIds.has(id)) return id;
      const next = after(id);
      if (next !== undefined && (!isBounded || fits(next, left))) {
        chosen = { id, state: next };
        return id;
      }
      setBit(mask, id, false);
    }
    const [end] = endIds;
    return state.isComplete && end !== undefined ? end : ofEnding(left);
  }

  function close(): void {
    if (!isClosed) matcher.close();
    isClosed = true;
  }

  return {
    choose,
    take(id) {
      const next = chosen?.id === id ? chosen.state : endIds.has(id) && state.isComplete ? state : after(id);
      chosen = undefined;
      if (next === undefined)
        throw new IdlewildError('invalid_request', `token ${id} of an earlier attempt does not fit the form`);
      strain += Math.max(0, next.ways.length - LIMITS.grammarWaysEasy);
      if (next !== state && !isLost) isLost = strain > LIMITS.grammarStrainMax || !matcher.accept(id);
      state = next;
      if (isLost) close();
    },
    get isComplete() {
      return state.isComplete;
    },
    get isOver() {
      return state.isComplete && state.ways.length === 0;
    },
    close,
  };
}

function setBit(mask: Int32Array, id: number, on: boolean): void {
  const word = mask[id >>> 5];
  if (word === undefined) return;
  mask[id >>> 5] = on ? word | (1 << (id & 31)) : word & ~(1 << (id & 31));
}
