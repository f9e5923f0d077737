/**
 * Calls of functions out of the text in which a model writes them, as it comes.
 *
 * The text follows the format's grammar, so what is looked for is there as it is written, and a call's arguments end
 * where their first bracket closes. What each part of the text adds depends on the parts so far alone.
 */
import type { CallPart } from '@idlewild/protocol';
import type { CallFormat } from './call-formats.ts';

export interface CallParser {
  /** What a further part of the text adds to calls. */
  push(text: string): CallPart[];
  /** Calls whose names are known. */
  readonly count: number;
}

export function createCallParser(format: Pick<CallFormat, 'beforeName' | 'afterName' | 'quotesName'>): CallParser {
  let mode: 'before' | 'name' | 'arguments' = 'before';
  let held = '';
  let count = 0;
  let depth = 0;
  let inString = false;
  let isEscaped = false;

  /** How far the arguments reach into `text`. */
  function argumentsEnd(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const character = text[i];
      if (isEscaped) isEscaped = false;
      else if (inString) {
        if (character === '\\') isEscaped = true;
        else if (character === '"') inString = false;
      } else if (character === '"') inString = true;
      else if (character === '{' || character === '[') depth++;
      else if ((character === '}' || character === ']') && --depth === 0) return i + 1;
    }
    return text.length;
  }

  /** Reads one piece of what is held; false when more text is needed. */
  function step(add: (part: CallPart) => void): boolean {
    if (mode === 'arguments') {
      if (held === '') return false;
      const end = argumentsEnd(held);
      add({ i: count - 1, s: held.slice(0, end) });
      held = held.slice(end);
      if (depth === 0) mode = 'before';
      return true;
    }
    const mark = mode === 'before' ? format.beforeName : format.afterName;
    const at = held.indexOf(mark);
    if (at < 0) return false;
    if (mode === 'name') {
      const written = held.slice(0, at);
      add({ i: count++, name: format.quotesName ? (JSON.parse(`"${written}"`) as string) : written, s: '' });
    }
    held = held.slice(at + mark.length);
    mode = mode === 'before' ? 'name' : 'arguments';
    return true;
  }

  return {
    push(text) {
      const parts: CallPart[] = [];
      held += text;
      while (
        step((part) => {
          const last = parts.at(-1);
          if (last?.i === part.i) parts[parts.length - 1] = { ...last, s: last.s + part.s };
          else parts.push(part);
        })
      );
      return parts;
    },
    get count() {
      return count;
    },
  };
}
