/**
 * Guides answers in which calls may come after text: free until the notation's trigger is written, from there on held
 * to the grammar of calls; or kept from calling at all.
 *
 * A token that would begin a call which cannot be written to its end in the tokens that are left is not taken, nor is
 * one that goes on after the trigger in a way that no call does.
 */
import { IdlewildError, utf8 } from '@idlewild/protocol';
import type { CallFormat } from './call-formats.ts';
import type { Automaton, State } from './grammar/automaton.ts';
import type { Guide } from './grammar/guide.ts';
import type { Vocabulary } from './grammar/vocabulary.ts';

export interface CallGuideOptions {
  readonly format: CallFormat;
  readonly vocabulary: Vocabulary;
  readonly endIds: ReadonlySet<number>;
  /** Absent: calls are forbidden. */
  readonly calls?: CallStart | undefined;
}

export interface CallStart {
  readonly automaton: Automaton;
  /** Goes on behind what is written of the calls already. */
  begin(written: string, state: State): Guide;
  close(): void;
}

const latin1 = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

export function createCallGuide({ format, vocabulary, endIds, calls }: CallGuideOptions): Guide {
  const { trigger, isAtStart } = format;
  let inner: Guide | undefined;
  let isText = false;
  /** The end of the text so far, as bytes: what a trigger may have begun in. */
  let tail = '';

  /** What follows the trigger when `id` completes it, `undefined` when it does not. */
  function written(id: number): string | undefined {
    const text = tail + latin1(vocabulary.tokens[id] ?? new Uint8Array());
    const at = isText ? -1 : text.indexOf(trigger);
    return at < 0 || (isAtStart && text.slice(0, at).trim() !== '') ? undefined : text.slice(at);
  }
  /** The state of the calls when this is written of them, where it can be and be ended. */
  function callState(of: string, left: number): State | undefined {
    const state = calls?.automaton.step(
      calls.automaton.start,
      Uint8Array.from(of, (byte) => byte.charCodeAt(0)),
    );
    if (calls === undefined || state === undefined) return undefined;
    return vocabulary.count(calls.automaton.ending(state)) <= left ? state : undefined;
  }

  return {
    choose(draw, left) {
      if (inner !== undefined) return inner.choose(draw, left);
      let mask: Int32Array | undefined;
      for (;;) {
        const id = draw(mask);
        const of = endIds.has(id) ? undefined : written(id);
        if (of === undefined || callState(of, left) !== undefined) return id;
        mask ??= everything(vocabulary.tokens.length);
        mask[id >>> 5] = (mask[id >>> 5] as number) & ~(1 << (id & 31));
      }
    },
    take(id) {
      if (inner !== undefined) return inner.take(id);
      if (endIds.has(id)) return;
      const of = written(id);
      if (of !== undefined) {
        const state = callState(of, Infinity);
        if (calls === undefined || state === undefined)
          throw new IdlewildError('invalid_request', `token ${id} of an earlier attempt begins a call that may not be`);
        inner = calls.begin(of, state);
        return;
      }
      tail += latin1(vocabulary.tokens[id] ?? new Uint8Array());
      if (isAtStart && tail.trim() !== '' && !trigger.startsWith(tail.trimStart())) isText = true;
      tail = isText ? '' : tail.slice(-(utf8(trigger).length - 1));
    },
    get isComplete() {
      return inner?.isComplete ?? true;
    },
    get isOver() {
      return inner?.isOver ?? false;
    },
    close: () => calls?.close(),
  };
}

/** A mask that allows every token, beyond the vocabulary too: models have logits for padding, which text ignores. */
const everything = (size: number): Int32Array => new Int32Array(Math.ceil(size / 32) + 1).fill(-1);
