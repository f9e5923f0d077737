/**
 * Stop strings over text that arrives in parts.
 *
 * Text that may be the beginning of a stop string is held back until it is clear that it is none; at a stop string the
 * text ends exactly before it. What is given out after each part depends on the parts so far alone, so an answer that
 * is resumed gives the same parts.
 */

export interface StopFilter {
  /** What can be given out now, and whether a stop string ended the text. */
  push(text: string): { readonly text: string; readonly stopped: boolean };
  /** Text held back, when the answer ends otherwise. */
  finish(): string;
}

export function createStopFilter(stops: readonly string[]): StopFilter {
  let held = '';
  return {
    push(text) {
      if (text === '') return { text: '', stopped: false };
      const whole = held + text;
      let first = -1;
      for (const stop of stops) {
        const at = whole.indexOf(stop);
        if (at >= 0 && (first < 0 || at < first)) first = at;
      }
      if (first >= 0) {
        held = '';
        return { text: whole.slice(0, first), stopped: true };
      }
      const keep = Math.max(0, ...stops.map((stop) => overlap(whole, stop)));
      held = whole.slice(whole.length - keep);
      return { text: whole.slice(0, whole.length - keep), stopped: false };
    },
    finish() {
      const text = held;
      held = '';
      return text;
    },
  };
}

/** Length of the longest end of `text` that is a beginning of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
