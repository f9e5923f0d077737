/** From what a person typed to the one thing meant: its id, its name, or the beginning of its id. */
import { IdlewildError } from '@idlewild/protocol';
import { plainText } from './text/units.ts';

interface Named {
  readonly id: string;
  readonly name: string | null;
}

/** Throws `not_found`, or `usage` naming the candidates when several are meant. */
export function pick<Thing extends Named>(things: readonly Thing[], wanted: string, noun: string): Thing {
  const exact = things.find(({ id }) => id === wanted);
  if (exact !== undefined) return exact;
  const named = things.filter(({ name }) => name === wanted);
  const meant = named.length > 0 ? named : things.filter(({ id }) => beginsWith(id, wanted));
  const [first, second] = meant;
  if (first !== undefined && second === undefined) return first;
  if (first === undefined) {
    const known = things.length === 0 ? `there is no ${noun} at all` : `there is ${listed(things)}`;
    throw new IdlewildError('not_found', `no ${noun} is called "${wanted}", and no id begins so; ${known}`);
  }
  throw new IdlewildError('usage', `"${wanted}" could be ${listed(meant)}; write more of the id`);
}

/** With or without the prefix that says what kind of id it is. */
const beginsWith = (id: string, wanted: string): boolean =>
  wanted !== '' && (id.startsWith(wanted) || id.slice(id.indexOf('_') + 1).startsWith(wanted));

const LISTED_MAX = 8;

const listed = (things: readonly Named[]): string => {
  const shown = things.slice(0, LISTED_MAX).map(({ id, name }) => (name === null ? id : `${plainText(name)} (${id})`));
  return shown.join(', ') + (things.length > LISTED_MAX ? `, and ${things.length - LISTED_MAX} more` : '');
};
