/**
 * The grammar of JSON text (RFC 8259), as rules: what a form without a schema is, and what schemas are made of.
 *
 * A little narrower than the standard, so that every answer is good to read and ends: between tokens there is at most
 * one space, or a line break and an indentation; numbers are finite and have at most 18 digits a part; no escape is
 * half a surrogate pair, which no text could hold.
 */
import {
  all,
  any,
  chars,
  intersection,
  name,
  NOTHING,
  optional,
  repeat,
  text,
  type Range,
  type Rule,
} from './rules.ts';

const code = (character: string): number => character.codePointAt(0) as number;
const range = (first: string, last: string = first): Range => [code(first), code(last)];

const DIGITS_MAX = 18;
const INDENT_MAX = 24;

export const DIGIT = chars(range('0', '9'));
const HEX = chars(range('0', '9'), range('a', 'f'), range('A', 'F'));
const HEX_BUT_D = chars(range('0', '9'), range('a', 'c'), range('A', 'C'), range('e', 'f'), range('E', 'F'));

/** Characters that a string holds as they are. */
const PLAIN_RANGES: readonly Range[] = [
  [0x20, 0x21],
  [0x23, 0x5b],
  [0x5d, 0x10ffff],
];
export const PLAIN = chars(...PLAIN_RANGES);
const ESCAPE = all(
  text('\\'),
  any(
    chars(...[...'"\\/bfnrt'].map((character) => range(character))),
    all(
      text('u'),
      any(all(HEX_BUT_D, HEX, HEX, HEX), all(chars(range('d'), range('D')), chars(range('0', '7')), HEX, HEX)),
    ),
  ),
);
const MANY_CHARACTERS = all(repeat(PLAIN, 0), repeat(all(ESCAPE, repeat(PLAIN, 0)), 0));

/** Between a bracket, a comma or a colon and what follows. */
export const SPACE = name('space');
export const STRING = name('string');
export const VALUE = name('value');
export const OBJECT = name('object');
export const ARRAY = name('array');
export const INTEGER = name('integer');
export const NUMBER = name('number');

/** Rules that the names above stand for. */
export function jsonRules(): Map<string, Rule> {
  return new Map<string, Rule>([
    ['space', optional(any(text(' '), all(text('\n'), repeat(chars(range(' '), range('\t')), 0, INDENT_MAX))))],
    ['string', all(text('"'), MANY_CHARACTERS, text('"'))],
    [
      'integer',
      all(optional(text('-')), any(text('0'), all(chars(range('1', '9')), repeat(DIGIT, 0, DIGITS_MAX - 1)))),
    ],
    [
      'number',
      all(
        INTEGER,
        optional(all(text('.'), repeat(DIGIT, 1, DIGITS_MAX))),
        optional(all(chars(range('e'), range('E')), optional(chars(range('+'), range('-'))), repeat(DIGIT, 1, 2))),
      ),
    ],
    ['value', any(text('null'), text('true'), text('false'), STRING, NUMBER, OBJECT, ARRAY)],
    ['object', between('{', listOf(member(STRING, VALUE)), '}')],
    ['array', between('[', listOf(VALUE), ']')],
  ]);
}

/** A string of `min` to `max` characters, counted as JSON Schema does: by code points. */
export function stringOf(min: number, max: number): Rule {
  if (min === 0 && max === Infinity) return STRING;
  const exact = all(text('"'), repeat(any(PLAIN, ESCAPE), min, max), text('"'));
  return { kind: 'bounded', exact, loose: STRING };
}

/** What a string holds whose characters are unknown. */
export const ANY_CHARACTERS: Rule = MANY_CHARACTERS;

export const member = (key: Rule, value: Rule): Rule => all(key, text(':'), SPACE, value);

/** In brackets, with room for white space on both sides. */
export const between = (open: string, inner: Rule, close: string): Rule =>
  all(text(open), SPACE, inner, SPACE, text(close));

/** `min` to `max` of them, separated by commas. */
export function listOf(item: Rule, min: number = 0, max: number = Infinity): Rule {
  if (max === 0) return NOTHING;
  const more = all(text(','), SPACE, item);
  const counted = all(item, repeat(more, Math.max(0, min - 1), max - 1));
  const free = all(item, repeat(more, 0));
  const some: Rule = min <= 1 && max === Infinity ? free : { kind: 'bounded', exact: counted, loose: free };
  return min === 0 ? optional(some) : some;
}

/**
 * A character of the ranges as a JSON string writes it: `"` and `\\` behind a `\\`, controls as `\\n` or `\\u0007`.
 *
 * The library reads a set that reaches beyond ASCII rightly only where any number of its characters may stand, so that
 * is what it is given. The few of a small set are given one by one.
 */
export function jsonCharacter(ranges: readonly Range[]): Rule {
  const plain = intersection(ranges, PLAIN_RANGES);
  const escapes = intersection(ranges, [[0, 0x1f], range('"'), range('\\')]).flatMap((of) =>
    every(of).map((character) => text(JSON.stringify(character).slice(1, -1))),
  );
  const beyond = intersection(plain, [[0x80, 0x10ffff]]);
  const count = beyond.reduce((sum, [first, last]) => sum + last - first + 1, 0);
  const ascii = intersection(plain, [[0, 0x7f]]);
  const narrow = ascii.length > 0 ? [chars(...ascii)] : [];
  if (count <= LISTED_MAX) return any(...narrow, ...beyond.flatMap(every).map(text), ...escapes);
  const set = chars(...plain);
  const many = repeat(set, 0);
  const loose = escapes.length === 0 ? many : all(many, repeat(all(any(...escapes), many), 0));
  return { kind: 'bounded', exact: any(set, ...escapes), loose, isMany: true };
}

const LISTED_MAX = 32;
const every = ([first, last]: Range): string[] =>
  Array.from({ length: last - first + 1 }, (_, i) => String.fromCodePoint(first + i));
