/**
 * The text of one answer from its tokens: decoded as they come, cut at stop strings, silent about the token that ends
 * it.
 *
 * What each token adds depends on the tokens up to it alone, so an answer that is resumed adds the same.
 */
import { createStopFilter } from './stops.ts';
import { createTextStream, type Tokenizer } from './tokenizer.ts';

export interface AnswerText {
  /** What a token adds, and whether a stop string or the token itself ends the answer. */
  push(id: number): { readonly text: string; readonly ended: boolean };
  /** What was held back, once no token follows; even in that a stop string ends the text. Empty after a stop string. */
  rest(): { readonly text: string; readonly stopped: boolean };
}

export function createAnswerText(
  tokenizer: Tokenizer,
  endIds: ReadonlySet<number>,
  stops: readonly string[],
): AnswerText {
  const stream = createTextStream(tokenizer);
  const filter = createStopFilter(stops);
  let stopped = false;
  return {
    push(id) {
      if (endIds.has(id)) return { text: '', ended: true };
      const part = filter.push(stream.push(id));
      stopped = part.stopped;
      return { text: part.text, ended: stopped };
    },
    rest() {
      if (stopped) return { text: '', stopped };
      const last = filter.push(stream.finish());
      return last.stopped ? last : { text: last.text + filter.finish(), stopped: false };
    },
  };
}
