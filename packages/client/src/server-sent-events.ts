/**
 * Server-sent events (WHATWG HTML, 9.2.6) as they arrive: bytes in any cut go in, whole events come out.
 *
 * Only `data` and `id` are kept; names and comments are skipped. Each byte is looked at once, an event is cut from the
 * text when its blank line has come, and an event that never ends is refused at its bound.
 */
import { IdlewildError } from '@idlewild/protocol';

/** A chunk of an answer is below 10 KiB; nothing that a hub sends comes near this. */
const EVENT_CHARACTERS_MAX = 1_048_576;

export interface ServerSentEvent {
  readonly data: string;
  /** Of this event itself. */
  readonly id: string | undefined;
}

export interface EventReader {
  /** Each event that `bytes` completes. */
  push(bytes: Uint8Array): ServerSentEvent[];
}

export function createEventReader(): EventReader {
  const decoder = new TextDecoder();
  let text = '';
  /** Data lines of the event under way; `undefined` before the first. */
  let data: string | undefined;
  let id: string | undefined;

  const valueOf = (line: string, from: number): string => line.slice(line.charCodeAt(from) === 32 ? from + 1 : from);
  const readLine = (line: string, into: ServerSentEvent[]): void => {
    if (line === '') {
      if (data !== undefined) into.push({ data, id });
      data = undefined;
      id = undefined;
    } else if (line.startsWith('data:')) {
      const value = valueOf(line, 5);
      data = data === undefined ? value : `${data}\n${value}`;
    } else if (line.startsWith('id:')) {
      id = valueOf(line, 3);
    }
  };

  return {
    push(bytes) {
      const events: ServerSentEvent[] = [];
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
