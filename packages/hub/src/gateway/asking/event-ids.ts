/**
 * Where a caller is in a stream, as ids of its events, and how to go on from there.
 *
 * Under an Idempotency-Key the last event of each token has an id: the request's, and for each choice the index of the
 * last token that was told, `-` before the first, `end` after the last. Choices may come in another order when a stream
 * is made once more, and each choice comes as it did: so what a caller has is told by choice and index, not by bytes.
 * Events without an id belong to the next that has one; what follows the last has been had by nobody who comes again.
 */
import { IdlewildError } from '@idlewild/protocol';
import { HUB_LIMITS } from '../../limits.ts';

/** The index of a choice's last token; before the first, and after the last. */
const NONE = -1;
const END = Number.POSITIVE_INFINITY;

export interface StreamPlace {
  readonly requestId: string;
  /** For each choice. */
  readonly choices: readonly number[];
}

export interface EventIds {
  /** Events that go before all tokens. */
  opened(events: string): string;
  token(choice: number, index: number, events: string): string;
  /** The end of a choice. */
  finished(choice: number, events: string): string;
}

/** Each method returns the events that it was given, the last of them with its id. */
export function createEventIds(requestId: string, choices: number): EventIds {
  const places = Array.from({ length: choices }, () => NONE);
  const mark = (events: string): string =>
    events === '' ? '' : `${events.slice(0, -1)}id: ${formatPlace({ requestId, choices: places })}\n\n`;
  return {
    opened: mark,
    token(choice, index, events) {
      // What nobody sees is no place where anybody is.
      if (events !== '') places[choice] = index;
      return mark(events);
    },
    finished(choice, events) {
      places[choice] = END;
      return mark(events);
    },
  };
}

const placeText = (place: number): string => (place === NONE ? '-' : place === END ? 'end' : String(place));

export const formatPlace = ({ requestId, choices }: StreamPlace): string =>
  `${requestId}:${choices.map(placeText).join('.')}`;

/** How many tokens of each choice somebody has; of a choice that has ended for them, no matter. */
export const heardOf = ({ choices }: StreamPlace): readonly number[] =>
  choices.map((place) => (place === END ? 0 : place + 1));

const EVENT_ID = /^(req_[a-z2-7]{26}):((?:-|end|\d{1,9})(?:\.(?:-|end|\d{1,9}))*)$/;

/** `undefined` for what no event of ours has as its id. */
export function parsePlace(text: string): StreamPlace | undefined {
  const [, requestId, places] = EVENT_ID.exec(text) ?? [];
  if (requestId === undefined || places === undefined) return undefined;
  const choices = places.split('.').map((place) => (place === '-' ? NONE : place === 'end' ? END : Number(place)));
  return choices.length <= HUB_LIMITS.answersPerRequestMax ? { requestId, choices } : undefined;
}

/** Throws `invalid_request`. */
export function lastEventId(text: string): StreamPlace {
  const place = parsePlace(text);
  if (place !== undefined) return place;
  throw new IdlewildError(
    'invalid_request',
    'Last-Event-ID: must be the id of an event of the stream, such as req_…:5',
    { details: { param: 'Last-Event-ID' } },
  );
}

/** A stream without what somebody has of it. */
export interface Continuation {
  /** What to pass on once `bytes` have come. */
  push(bytes: Uint8Array): Uint8Array;
  /** What is left when the stream is over. */
  end(): Uint8Array;
}

/** Bytes as characters: what lies between ids goes through as it is, wherever it was cut. */
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export function createContinuation(after: StreamPlace): Continuation {
  let isPast = false;
  let text = '';
  /** Events of the batch under way. */
  let batch = '';
  let before: readonly number[] | undefined;

  const had = (choice: number): number => after.choices[choice] ?? NONE;

  /** The batch, or nothing where its reader has it. Its id says what the reader has, not how far this stream is. */
  function take(id: string): string {
    const place = parsePlace(id);
    const events = batch;
    batch = '';
    if (place === undefined) return events;
    const { requestId, choices } = place;
    const moved = choices.findIndex((index, choice) => index !== (before?.[choice] ?? NONE));
    before = choices;
    isPast = choices.every((index, choice) => index >= had(choice));
    // Where none has moved it is the opening, and whoever has an id has that.
    if (moved < 0 || (choices[moved] as number) <= had(moved)) return '';
    const both = choices.map((index, choice) => Math.max(index, had(choice)));
    return `${events.slice(0, -(id.length + 2))}${formatPlace({ requestId, choices: both })}\n\n`;
  }
  /** All events that are whole. */
  function read(): string {
    let told = '';
    let start = 0;
    for (let end = text.indexOf('\n\n'); end !== -1 && !isPast; end = text.indexOf('\n\n', start)) {
      const event = text.slice(start, end + 2);
      start = end + 2;
      batch += event;
      const id = /^id: (.*)$/m.exec(event.slice(event.lastIndexOf('\n', event.length - 3) + 1))?.[1];
      if (id !== undefined) told += take(id);
    }
    text = text.slice(start);
    if (!isPast) return told;
    told += text;
    text = '';
    return told;
  }
  return {
    push(bytes) {
      if (isPast && text === '') return bytes;
      text += Buffer.from(bytes).toString('latin1');
      return bytesOf(read());
    },
    end() {
      return bytesOf(batch + text);
    },
  };
}
