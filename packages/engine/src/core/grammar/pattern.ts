/**
 * Regular expressions of JSON Schema (ECMA-262, with the flag `u`) as rules for what a JSON string holds.
 *
 * Characters that a JSON string escapes are escaped. As in JSON Schema a pattern may match anywhere unless `^` and `$`
 * hold it. Refused by name: assertions other than these at the ends, references back, and properties of Unicode.
 */
import { IdlewildError } from '@idlewild/protocol';
import { LIMITS } from '../limits.ts';
import { ANY_CHARACTERS, jsonCharacter } from './json.ts';
import { all, any, complement, repeat, union, type Range, type Rule } from './rules.ts';

const code = (character: string): number => character.codePointAt(0) as number;
const DIGITS: readonly Range[] = [[0x30, 0x39]];
const WORDS: readonly Range[] = [...DIGITS, [0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
const SPACES: readonly Range[] = union(
  [0x20, 0xa0, 0x1680, 0x202f, 0x205f, 0x3000, 0xfeff, 0x2028, 0x2029]
    .map((one): Range => [one, one])
    .concat([
      [0x09, 0x0d],
      [0x2000, 0x200a],
    ]),
);
const LINE_ENDS: readonly Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, readonly Range[]>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORDS,
  W: complement(WORDS),
  s: SPACES,
  S: complement(SPACES),
};
const CONTROLS: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', '0': '\0' };
const SYNTAX = '^$\\.*+?()[]{}|/-';

/** What a string that matches `source` holds, without its quotes. Throws `invalid_request`. */
export function patternRule(source: string): Rule {
  const characters = [...source];
  let at = 0;
  const refuse = (what: string): never => {
    throw new IdlewildError('invalid_request', `the schema's pattern ${JSON.stringify(source)} has ${what}`);
  };
  const peek = (expected: string): boolean => characters.slice(at, at + expected.length).join('') === expected;
  const accept = (expected: string): boolean => {
    if (!peek(expected)) return false;
    at += [...expected].length;
    return true;
  };

  /** Alternatives; on the outermost level each has its own ends. */
  function alternatives(depth: number): Rule {
    if (depth > LIMITS.schemaDepthMax) refuse('groups that are nested too deep');
    const of: Rule[] = [];
    do {
      const begins = depth === 0 && accept('^');
      const sequence: Rule[] = [];
      let ends = false;
      while (at < characters.length && !peek('|') && !peek(')')) {
        if (depth === 0 && peek('$') && (at + 1 === characters.length || characters[at + 1] === '|')) {
          at++;
          ends = true;
        } else sequence.push(quantified(depth));
      }
      if (depth > 0) of.push(all(...sequence));
      else of.push(all(...(begins ? [] : [ANY_CHARACTERS]), ...sequence, ...(ends ? [] : [ANY_CHARACTERS])));
    } while (accept('|'));
    return any(...of);
  }

  function quantified(depth: number): Rule {
    const atom = atomOf(depth);
    const [min, max] = quantifier();
    // Which of several matches is found matters to nobody here.
    accept('?');
    return min === 1 && max === 1 ? atom : repeat(atom, min, max);
  }

  function quantifier(): [number, number] {
    if (accept('*')) return [0, Infinity];
    if (accept('+')) return [1, Infinity];
    if (accept('?')) return [0, 1];
    const counted = /^\{(\d+)(,(\d*))?\}/.exec(characters.slice(at, at + 16).join(''));
    if (counted === null) return [1, 1];
    at += counted[0].length;
    const min = Number(counted[1]);
    const max = counted[2] === undefined ? min : counted[3] === '' ? Infinity : Number(counted[3]);
    if (max < min || min > LIMITS.patternCountMax || (max !== Infinity && max > LIMITS.patternCountMax))
      refuse(`the quantifier ${counted[0]}; counts go up to ${LIMITS.patternCountMax}`);
    return [min, max];
  }

  function atomOf(depth: number): Rule {
    if (accept('(')) {
      if (accept('?') && !accept(':')) {
        const name = /^<[A-Za-z_]\w*>/.exec(characters.slice(at).join(''));
        if (name === null) refuse('a lookahead or lookbehind, which are not supported');
        else at += name[0].length;
      }
      const inner = alternatives(depth + 1);
      if (!accept(')')) refuse('a group that is not closed');
      return inner;
    }
    if (accept('[')) {
      const ranges = classOf();
      return ranges.length === 0 ? refuse('a class without characters') : jsonCharacter(ranges);
    }
    if (accept('.')) return jsonCharacter(complement(LINE_ENDS));
    const character = characters[at++] as string;
    if (character === '\\') return jsonCharacter(escaped());
    if ('^$'.includes(character)) refuse(`${character} in a place other than its end, which is not supported`);
    if ('*+?{}[])'.includes(character)) refuse(`a ${character} that is nothing by itself`);
    return jsonCharacter([[code(character), code(character)]]);
  }

  function classOf(): readonly Range[] {
    const isNegative = accept('^');
    const ranges: Range[] = [];
    while (!accept(']')) {
      if (at >= characters.length) refuse('a [ that is not closed');
      const first = classAtom();
      const isRange = peek('-') && at + 1 < characters.length && characters[at + 1] !== ']';
      if (!isRange) {
        ranges.push(...first);
        continue;
      }
      at++;
      const last = classAtom();
      const [from, to] = [first[0]?.[0] ?? 0, last[0]?.[1] ?? 0];
      if (first.length !== 1 || last.length !== 1 || from > to) refuse('a range that is none');
      ranges.push([from, to]);
    }
    return isNegative ? complement(ranges) : union(ranges);
  }

  function classAtom(): readonly Range[] {
    if (accept('\\')) return accept('b') ? [[8, 8]] : escaped();
    const character = characters[at++] ?? refuse('a [ that is not closed');
    return [[code(character), code(character)]];
  }

  function escaped(): readonly Range[] {
    const letter = characters[at++] ?? refuse('a \\ at its end');
    const known = CLASSES[letter];
    if (known !== undefined) return known;
    const one = (point: number): readonly Range[] => [[point, point]];
    if (Object.hasOwn(CONTROLS, letter)) return one(code(CONTROLS[letter] as string));
    const hex = /^(?:x([\dA-Fa-f]{2})|u([\dA-Fa-f]{4})|u\{([\dA-Fa-f]{1,6})\})/.exec(
      letter + characters.slice(at, at + 8).join(''),
    );
    if (hex !== null) {
      at += hex[0].length - 1;
      return one(Number.parseInt(hex[1] ?? hex[2] ?? (hex[3] as string), 16));
    }
    if (!SYNTAX.includes(letter)) refuse(`\\${letter}, which is not supported`);
    return one(code(letter));
  }

  const exact = alternatives(0);
  if (at < characters.length) refuse('a ) that closes nothing');
  return repeatsMany(exact, false) ? { kind: 'bounded', exact, loose: ANY_CHARACTERS } : exact;
}

/**
 * Whether something is repeated that holds any number of many characters, like `(\S+ ?)+`: so many ways to read one
 * text take the library minutes for a token.
 */
function repeatsMany(rule: Rule, isRepeated: boolean): boolean {
  switch (rule.kind) {
    case 'all':
    case 'any':
      return rule.of.some((one) => repeatsMany(one, isRepeated));
    case 'repeat':
      if (rule.of.kind === 'bounded' && rule.of.isMany === true) return isRepeated;
      return repeatsMany(rule.of, isRepeated || rule.max > 1);
    case 'bounded':
      return isRepeated && rule.isMany === true;
    default:
      return false;
  }
}
