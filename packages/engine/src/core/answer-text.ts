/**
 * The text of one answer from its tokens: decoded as they come, cut at stop strings, parted into text and calls of
 * functions, silent about the token that ends it.
 *
 * What each token adds depends on the tokens up to it alone, so an answer that is resumed adds the same. Stop strings
 * are looked for in text only: a call is whole or nothing.
 */
import type { CallPart } from '@idlewild/protocol';
import type { CallFormat } from './call-formats.ts';
import { createCallParser } from './call-parser.ts';
import { createStopFilter } from './stops.ts';
import { createTextStream, type Tokenizer } from './tokenizer.ts';

export interface Added {
  readonly text: string;
  readonly calls: CallPart[];
}

export interface AnswerText {
  /** What a token adds, and whether a stop string or the token itself ends the answer. */
  push(id: number): Added & { readonly ended: boolean };
  /** What was held back, once no token follows; even in that a stop string ends the text. Empty after a stop string. */
  rest(): Added & { readonly stopped: boolean };
  /** Calls begun. */
  readonly callCount: number;
}

export interface AnswerTextOptions {
  readonly tokenizer: Tokenizer;
  readonly endIds: ReadonlySet<number>;
  readonly stops: readonly string[];
  /** Absent: no calls are looked for. */
  readonly calls?: CallFormat | undefined;
}

export function createAnswerText({ tokenizer, endIds, stops, calls: format }: AnswerTextOptions): AnswerText {
  const stream = createTextStream(tokenizer);
  const filter = createStopFilter(stops);
  const splitter = format && createSplitter(format);
  const parser = format && createCallParser(format);
  const marks = new Map(
    tokenizer.addedTokens.flatMap(({ id, content, special }) =>
      special && format?.marks.includes(content) === true ? [[id, content] as const] : [],
    ),
  );
  let stopped = false;

  /** Text of the answer, parted. */
  function add(text: string): Added {
    const [plain, called] = splitter === undefined ? [text, ''] : splitter.push(text);
    const part = filter.push(plain);
    stopped = part.stopped;
    if (stopped || called === '') return { text: part.text, calls: [] };
    return { text: part.text + filter.finish(), calls: parser?.push(called) ?? [] };
  }

  return {
    push(id) {
      if (endIds.has(id)) return { text: '', calls: [], ended: true };
      const mark = marks.get(id);
      const added = add(mark === undefined ? stream.push(id) : stream.finish() + mark);
      return { ...added, ended: stopped };
    },
    rest() {
      if (stopped) return { text: '', calls: [], stopped };
      const { text, calls } = add(stream.finish());
      if (stopped) return { text, calls, stopped };
      const last = filter.push(splitter?.finish() ?? '');
      stopped = last.stopped;
      return { text: text + last.text + (stopped ? '' : filter.finish()), calls, stopped };
    },
    get callCount() {
      return parser?.count ?? 0;
    },
  };
}

interface Splitter {
  /** Text before the trigger, and from the trigger on. */
  push(text: string): readonly [plain: string, called: string];
  /** What was held back since it may have been the beginning of a trigger. */
  finish(): string;
}

function createSplitter({ trigger, isAtStart }: CallFormat): Splitter {
  const search = createStopFilter([trigger]);
  let isCalling = false;
  let isText = false;
  let seen = '';
  return {
    push(text) {
      if (isCalling) return ['', text];
      if (isText) return [text, ''];
      seen += text;
      const { text: plain, stopped } = search.push(text);
      const before = stopped ? seen.slice(0, seen.indexOf(trigger)) : plain;
      if (isAtStart && before.trim() !== '') {
        // Too late for a call, so all of it is text.
        isText = true;
        return [stopped ? plain + seen.slice(seen.indexOf(trigger)) : plain + search.finish(), ''];
      }
      if (stopped) {
        isCalling = true;
        return [plain, seen.slice(seen.indexOf(trigger))];
      }
      // What is given out is not needed any more, but for a trigger that begins in it.
      seen = seen.slice(-trigger.length);
      return [plain, ''];
    },
    finish: () => (isCalling || isText ? '' : search.finish()),
  };
}
