/**
 * Grammars as data: what a text may be, over Unicode code points, with named rules for what recurs.
 *
 * Two readers follow: `ebnf.ts` writes a grammar for the library that masks tokens, `automaton.ts` decides exactly. A
 * grammar is made anew for each form and never changes.
 */

/** First and last code point. */
export type Range = readonly [first: number, last: number];

export type Rule =
  | { readonly kind: 'text'; readonly text: string }
  /** One character of the ranges, which ascend and do not meet. */
  | { readonly kind: 'chars'; readonly ranges: readonly Range[] }
  /** One after the other. */
  | { readonly kind: 'all'; readonly of: readonly Rule[] }
  /** One of them. */
  | { readonly kind: 'any'; readonly of: readonly Rule[] }
  | { readonly kind: 'repeat'; readonly of: Rule; readonly min: number; readonly max: number }
  | { readonly kind: 'name'; readonly name: string }
  /** `loose` accepts whatever `exact` accepts, and costs the library less: counting makes its tables large. */
  | {
      readonly kind: 'bounded';
      readonly exact: Rule;
      readonly loose: Rule;
      /** `loose` accepts any number of what `exact` accepts. */
      readonly isMany?: boolean;
    };

export interface Grammar {
  readonly root: Rule;
  readonly rules: ReadonlyMap<string, Rule>;
}

export const text = (of: string): Rule => ({ kind: 'text', text: of });
export const all = (...of: Rule[]): Rule => (of.length === 1 ? (of[0] as Rule) : { kind: 'all', of });
export const any = (...of: Rule[]): Rule => (of.length === 1 ? (of[0] as Rule) : { kind: 'any', of });
export const name = (of: string): Rule => ({ kind: 'name', name: of });
export const repeat = (of: Rule, min: number, max: number = Infinity): Rule => ({ kind: 'repeat', of, min, max });
export const optional = (of: Rule): Rule => repeat(of, 0, 1);
export const NOTHING: Rule = { kind: 'all', of: [] };

export const CODE_POINT_MAX = 0x10ffff;

/** A set of characters from ranges in any order; those of surrogates are left out, since no text holds them. */
export function chars(...ranges: readonly Range[]): Rule {
  return { kind: 'chars', ranges: withoutSurrogates(union(ranges)) };
}

/** Ascending, and merged where they meet. */
export function union(ranges: readonly Range[]): Range[] {
  const merged: [number, number][] = [];
  for (const [first, last] of [...ranges].sort((a, b) => a[0] - b[0])) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else if (first <= last) merged.push([first, last]);
  }
  return merged;
}

/** What is in none of them. */
export function complement(ranges: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let from = 0;
  for (const [first, last] of union(ranges)) {
    if (first > from) rest.push([from, first - 1]);
    from = last + 1;
  }
  if (from <= CODE_POINT_MAX) rest.push([from, CODE_POINT_MAX]);
  return rest;
}

export const intersection = (a: readonly Range[], b: readonly Range[]): Range[] =>
  complement([...complement(a), ...complement(b)]);

const withoutSurrogates = (ranges: readonly Range[]): Range[] =>
  intersection(ranges, [
    [0, 0xd7ff],
    [0xe000, CODE_POINT_MAX],
  ]);
