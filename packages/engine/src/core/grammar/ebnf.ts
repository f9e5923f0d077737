/**
 * A grammar in the notation of XGrammar (GBNF's): what its tables of allowed tokens are made from.
 *
 * What is written accepts everything that the grammar does, and where counting would be dear, more.
 */
import type { Grammar, Rule } from './rules.ts';

/**
 * Counts up to this are written out. Tables of a counted set of many characters grow with count and vocabulary (2.9 s
 * for 100 of a string's characters and 150,000 tokens); those of a few, as in dates and identifiers, do not.
 */
const COUNT_MAX = 4;
const COUNT_OF_FEW_MAX = 32;
const FEW = 16;

/** The rule `root` is where it begins. */
export function writeEbnf({ root, rules }: Grammar): string {
  const names = new Map([...rules.keys()].map((name, i) => [name, `r${i}`]));
  const lines = [`root ::= ${write(root, names)}`];
  for (const [name, rule] of rules) lines.push(`${names.get(name) as string} ::= ${write(rule, names)}`);
  return `${lines.join('\n')}\n`;
}

function write(rule: Rule, names: ReadonlyMap<string, string>): string {
  switch (rule.kind) {
    case 'text':
      return `"${[...rule.text].map(escape).join('')}"`;
    case 'chars':
      return `[${rule.ranges.map(([first, last]) => (first === last ? point(first) : `${point(first)}-${point(last)}`)).join('')}]`;
    case 'all':
      return rule.of.length === 0 ? '""' : `(${rule.of.map((one) => write(one, names)).join(' ')})`;
    case 'any':
      return `(${rule.of.map((one) => write(one, names)).join(' | ')})`;
    case 'repeat':
      if (rule.of.kind === 'bounded' && rule.of.isMany === true) return write(rule.of, names);
      return write(rule.of, names) + quantifier(rule.min, rule.max, isFew(rule.of) ? COUNT_OF_FEW_MAX : COUNT_MAX);
    case 'name':
      return names.get(rule.name) as string;
    case 'bounded':
      return write(rule.loose, names);
  }
}

function quantifier(min: number, max: number, countMax: number): string {
  if (max === 1 && min === 0) return '?';
  if (max <= countMax) return `{${min},${max}}`;
  if (min <= 1 || min > countMax) return min === 0 ? '*' : '+';
  return `{${min},}`;
}

const isFew = (rule: Rule): boolean =>
  rule.kind === 'chars' && rule.ranges.reduce((sum, [first, last]) => sum + last - first + 1, 0) <= FEW;

const escape = (character: string): string =>
  /^[A-Za-z0-9 :,.{}_-]$/.test(character) ? character : point(character.codePointAt(0) as number);

/** A code point where it cannot be mistaken for notation. */
function point(code: number): string {
  const digits = code.toString(16).toUpperCase();
  return code > 0xffff ? `\\U${digits.padStart(8, '0')}` : `\\u${digits.padStart(4, '0')}`;
}
