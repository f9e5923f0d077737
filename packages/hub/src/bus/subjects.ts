/** Subjects and patterns: what is one, and which listeners a subject has. */
import { IdlewildError } from '@idlewild/protocol';

const SUBJECT = /^[\w-]+(?:\.[\w-]+)*$/;
const PATTERN = /^(?:[\w-]+\.)*(?:[\w-]+|\*)$/;

/** What is not a subject would end up as a command to the server. */
export function checkSubject(subject: string): void {
  if (!SUBJECT.test(subject)) throw malformed(subject, 'words of letters, digits, _ and -, joined by dots');
}

export function checkPattern(pattern: string): void {
  if (!PATTERN.test(pattern)) throw malformed(pattern, 'a subject, or one whose last word is *');
}

const malformed = (subject: string, wanted: string): IdlewildError =>
  new IdlewildError('invalid_request', `'${subject}' names nothing on the bus: use ${wanted}`);

/** Listeners by pattern; finding those of a subject takes two look-ups however many there are. */
export interface SubjectTable<Listener> {
  add(pattern: string, listener: Listener): void;
  remove(pattern: string, listener: Listener): void;
  /** In the order of their adding, those of the whole subject first. */
  of(subject: string): readonly Listener[];
}

export function createSubjectTable<Listener>(): SubjectTable<Listener> {
  const listeners = new Map<string, readonly Listener[]>();
  const none: readonly Listener[] = [];
  return {
    // Lists are replaced rather than changed: whoever walks one may add and remove meanwhile.
    add(pattern, listener) {
      listeners.set(pattern, [...(listeners.get(pattern) ?? none), listener]);
    },
    remove(pattern, listener) {
      const left = (listeners.get(pattern) ?? none).filter((other) => other !== listener);
      if (left.length === 0) listeners.delete(pattern);
      else listeners.set(pattern, left);
    },
    of(subject) {
      const whole = listeners.get(subject) ?? none;
      const any = listeners.get(`${subject.slice(0, subject.lastIndexOf('.') + 1)}*`);
      return any === undefined ? whole : [...whole, ...any];
    },
  };
}
