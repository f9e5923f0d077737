/**
 * Server-sent events (WHATWG HTML, 9.2.6) as they arrive: bytes in any cut go in, the data of whole events comes out.
 *
 * Only `data` is kept; names, ids and comments are skipped. Each byte is looked at once, an event is cut from the text
 * when its blank line has come, and an event that never ends is refused at its bound.
 */
import { IdlewildError } from '@idlewild/protocol';

/** A chunk of an answer is below 10 KiB; nothing that a hub sends comes near this. */
const EVENT_CHARACTERS_MAX = 1_048_576;

export interface EventReader {
  /** The data of each event that `bytes` completes. */
  push(bytes: Uint8Array): string[];
}

export function createEventReader(): EventReader {
  const decoder = new TextDecoder();
  let text = '';
  /** Data lines of the event under way; `undefined` before the first. */
  let data: string | undefined;

  const readLine = (line: string, into: string[]): void => {
    if (line === '') {
      if (data !== undefined) into.push(data);
      data = undefined;
    } else if (line.startsWith('data:')) {
      const value = line.slice(line.charCodeAt(5) === 32 ? 6 : 5);
      data = data === undefined ? value : `${data}\n${value}`;
    }
  };

  return {
    push(bytes) {
      const events: string[] = [];
      const from = text.length;
      text += decoder.decode(bytes, { stream: true });
      let start = 0;
      for (let end = text.indexOf('\n', from); end !== -1; end = text.indexOf('\n', start)) {
        readLine(text.slice(start, text.charCodeAt(end - 1) === 13 && end > start ? end - 1 : end), events);
        start = end + 1;
      }
      text = text.slice(start);
      if (text.length + (data?.length ?? 0) > EVENT_CHARACTERS_MAX) {
        throw new IdlewildError(
          'frame_too_large',
          `an event of the stream is longer than ${EVENT_CHARACTERS_MAX} characters`,
        );
      }
      return events;
    },
  };
}
