/**
 * A grammar in the notation of XGrammar (GBNF's): what its tables of allowed tokens are made from.
 *
 * What is written accepts everything that the grammar does, and where counting would be dear, more.
 */
import type { Grammar, Rule } from './rules.ts';

/** Counts up to this are written out: dates, digits and codes depend on them. */
const COUNT_MAX = 32;

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
      return write(rule.of, names) + quantifier(rule.min, rule.max);
    case 'name':
      return names.get(rule.name) as string;
    case 'bounded':
      return write(rule.loose, names);
  }
}

function quantifier(min: number, max: number): string {
  if (max === 1 && min === 0) return '?';
  if (max <= COUNT_MAX) return `{${min},${max}}`;
  return min === 0 ? '*' : min <= COUNT_MAX && min > 1 ? `{${min},}` : '+';
}

const escape = (character: string): string =>
  /^[A-Za-z0-9 :,.{}_-]$/.test(character) ? character : point(character.codePointAt(0) as number);

/** A code point where it cannot be mistaken for notation. */
function point(code: number): string {
  const digits = code.toString(16).toUpperCase();
  return code > 0xffff ? `\\U${digits.padStart(8, '0')}` : `\\u${digits.padStart(4, '0')}`;
}
