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

/** A rule that stands in several places gets a name when it is longer: lists in lists would double with each. */
const REPEATED_MAX = 256;

interface Writing {
  readonly names: ReadonlyMap<string, string>;
  /** What was written for rules that hold others. */
  readonly written: Map<Rule, string>;
  readonly lines: string[];
}

/** The rule `root` is where it begins. */
export function writeEbnf({ root, rules }: Grammar): string {
  const names = new Map([...rules.keys()].map((name, i) => [name, `r${i}`]));
  const writing: Writing = { names, written: new Map(), lines: [] };
  const lines = [`root ::= ${write(root, writing)}`];
  for (const [name, rule] of rules) lines.push(`${names.get(name) as string} ::= ${write(rule, writing)}`);
  return `${[...lines, ...writing.lines].join('\n')}\n`;
}

function write(rule: Rule, writing: Writing): string {
  const { written, lines } = writing;
  const known = written.get(rule);
  if (known === undefined || known.length <= REPEATED_MAX) {
    const text = known ?? writeRule(rule, writing);
    if (known === undefined && rule.kind !== 'text' && rule.kind !== 'chars') written.set(rule, text);
    return text;
  }
  const name = `s${lines.length}`;
  lines.push(`${name} ::= ${known}`);
  written.set(rule, name);
  return name;
}

function writeRule(rule: Rule, writing: Writing): string {
  switch (rule.kind) {
    case 'text':
      return `"${[...rule.text].map(escape).join('')}"`;
    case 'chars':
      return `[${rule.ranges.map((range) => [...new Set(range)].map(point).join('-')).join('')}]`;
    case 'all':
      return rule.of.length === 0 ? '""' : `(${rule.of.map((one) => write(one, writing)).join(' ')})`;
    case 'any':
      return `(${rule.of.map((one) => write(one, writing)).join(' | ')})`;
    case 'repeat':
      if (rule.of.kind === 'bounded' && rule.of.isMany === true) return write(rule.of, writing);
      // Brackets, since what is repeated may end with such a sign itself, and two are none.
      return (
        `(${write(rule.of, writing)})` + quantifier(rule.min, rule.max, isFew(rule.of) ? COUNT_OF_FEW_MAX : COUNT_MAX)
      );
    case 'name':
      return writing.names.get(rule.name) as string;
    case 'bounded':
      return write(rule.loose, writing);
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
