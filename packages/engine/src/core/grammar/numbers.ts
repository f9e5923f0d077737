/**
 * Numbers within bounds, digit by digit, as rules over their decimal notation.
 *
 * Integers are exact. Of other numbers, those are written that have as many decimals as the bounds, and between two
 * neighbours of these any with more; that leaves out no interval, only some ways to write a bound. No exponents.
 */
import { IdlewildError } from '@idlewild/protocol';
import { DIGIT } from './json.ts';
import { all, any, chars, NOTHING, repeat, text, type Rule } from './rules.ts';

export interface Bounds {
  readonly min?: number | undefined;
  readonly max?: number | undefined;
  /** Whether the bound itself is left out. */
  readonly minIsOpen?: boolean;
  readonly maxIsOpen?: boolean;
}

/** Beyond these no double is exact to the unit; a side without a bound has this one. */
const LIMIT = 10n ** 15n;
const DECIMALS_MAX = 9;
/** With these a number stays apart from its bounds when it is read as a double. */
const MORE_DECIMALS_MAX = 5;

/** Throws `invalid_request` when no number is within. */
export function integerWithin(bounds: Bounds): Rule {
  const { low, high } = scaled(bounds, 0);
  return orRefuse(
    signed(low, high, (a, b) => integers(a, b)),
    bounds,
  );
}

/** Throws `invalid_request` for bounds of more than nine decimals, or when no number is within. */
export function numberWithin(bounds: Bounds): Rule {
  const decimals = Math.max(decimalsOf(bounds.min), decimalsOf(bounds.max));
  const { low, high } = scaled(bounds, 0);
  const rules = signed(low, high, (a, b) => integers(a, b));
  const fine = scaled(bounds, decimals);
  if (decimals > 0) rules.push(...signed(fine.low, fine.high, (a, b) => withPoint(a, b, decimals)));
  // From one multiple of the unit to the next, both left out.
  const open = scaled({ min: bounds.min, max: bounds.max }, decimals);
  const more = all(repeat(DIGIT, 0, MORE_DECIMALS_MAX), chars([0x31, 0x39]));
  rules.push(
    ...signed(open.low, open.high, (a, b) => {
      if (a >= b) return undefined;
      const unit = decimals === 0 ? integers(a, b - 1n) : withPoint(a, b - 1n, decimals);
      return unit && all(unit, decimals === 0 ? text('.') : NOTHING, more);
    }),
  );
  return orRefuse(rules, bounds);
}

function orRefuse(rules: readonly Rule[], { min, max }: Bounds): Rule {
  if (rules.length > 0) return any(...rules);
  throw new IdlewildError('invalid_request', `the schema has no number between ${min ?? '−∞'} and ${max ?? '∞'}`);
}

/** Whole numbers of units of 10^−decimals that are within. */
function scaled(
  { min, max, minIsOpen = false, maxIsOpen = false }: Bounds,
  decimals: number,
): { low: bigint; high: bigint } {
  const limit = LIMIT * 10n ** BigInt(decimals);
  const [floorMin, minIsWhole] = min === undefined ? [-limit, true] : toUnits(min, decimals);
  const [floorMax, maxIsWhole] = max === undefined ? [limit, true] : toUnits(max, decimals);
  const low = floorMin + (minIsWhole && !(minIsOpen && min !== undefined) ? 0n : 1n);
  const high = floorMax - (maxIsWhole && maxIsOpen && max !== undefined ? 1n : 0n);
  return { low: low < -limit ? -limit : low, high: high > limit ? limit : high };
}

/** The number in units, rounded down, and whether it is whole. */
function toUnits(value: number, decimals: number): [bigint, boolean] {
  if (Math.abs(value) > Number(LIMIT))
    throw new IdlewildError('invalid_request', `the schema has the bound ${value}; the largest supported is ${LIMIT}`);
  const own = decimalsOf(value);
  const fixed = BigInt(value.toFixed(own).replace('.', ''));
  if (own <= decimals) return [fixed * 10n ** BigInt(decimals - own), true];
  const unit = 10n ** BigInt(own - decimals);
  const down = fixed / unit;
  const isWhole = fixed % unit === 0n;
  return [isWhole || fixed > 0n ? down : down - 1n, isWhole];
}

function decimalsOf(value: number | undefined): number {
  if (value === undefined || Number.isInteger(value)) return 0;
  for (let decimals = 1; decimals <= DECIMALS_MAX; decimals++)
    if (Number(value.toFixed(decimals)) === value) return decimals;
  throw new IdlewildError(
    'invalid_request',
    `the schema has the bound ${value}; at most ${DECIMALS_MAX} decimals are supported`,
  );
}

/** The part below 0 is the other mirrored, with a sign. */
function signed(low: bigint, high: bigint, rule: (low: bigint, high: bigint) => Rule | undefined): Rule[] {
  const rules: Rule[] = [];
  const positive = high < 0n || low > high ? undefined : rule(low < 0n ? 0n : low, high);
  if (positive !== undefined) rules.push(positive);
  const negative = low >= 0n || low > high ? undefined : rule(high < 0n ? -high : 0n, -low);
  if (negative !== undefined) rules.push(all(text('-'), negative));
  return rules;
}

/** 0 ≤ low; `undefined` when there is none. */
function integers(low: bigint, high: bigint): Rule | undefined {
  if (low > high) return undefined;
  const rules: Rule[] = [];
  for (let digits = String(low).length; digits <= String(high).length; digits++) {
    const least = digits === 1 ? 0n : 10n ** BigInt(digits - 1);
    const most = 10n ** BigInt(digits) - 1n;
    rules.push(digitsBetween(String(low > least ? low : least), String(high < most ? high : most)));
  }
  return any(...rules);
}

/** Units as numbers with exactly `decimals` digits behind the point. */
function withPoint(low: bigint, high: bigint, decimals: number): Rule | undefined {
  if (low > high) return undefined;
  const rules: Rule[] = [];
  const write = (units: bigint): string => {
    const digits = String(units).padStart(decimals + 1, '0');
    return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
  };
  const lengthOf = (units: bigint): number => Math.max(decimals + 1, String(units).length);
  for (let length = lengthOf(low); length <= lengthOf(high); length++) {
    const least = length === decimals + 1 ? 0n : 10n ** BigInt(length - 1);
    const most = 10n ** BigInt(length) - 1n;
    rules.push(digitsBetween(write(low > least ? low : least), write(high < most ? high : most)));
  }
  return any(...rules);
}

const EVERY: readonly [string, string] = ['0', '9'];

/** All texts of digits (and points at the same places) from `low` to `high`, which are of one length. */
function digitsBetween(low: string, high: string): Rule {
  if (low === '') return NOTHING;
  const [a, b] = [low[0] as string, high[0] as string];
  const [restLow, restHigh] = [low.slice(1), high.slice(1)];
  if (a === b) return all(text(a), digitsBetween(restLow, restHigh));
  const lowest = restLow.replace(/\d/g, EVERY[0]);
  const highest = restHigh.replace(/\d/g, EVERY[1]);
  // The first and the last digit are part of the middle where nothing is cut off behind them.
  const from = a.charCodeAt(0) + (restLow === lowest ? 0 : 1);
  const to = b.charCodeAt(0) - (restHigh === highest ? 0 : 1);
  const rules: Rule[] = [];
  if (from <= to) rules.push(all(chars([from, to]), anyDigits(lowest)));
  if (restLow !== lowest) rules.push(all(text(a), digitsBetween(restLow, highest)));
  if (restHigh !== highest) rules.push(all(text(b), digitsBetween(lowest, restHigh)));
  return any(...rules);
}

function anyDigits(like: string): Rule {
  const parts = like
    .split('.')
    .map((digits) => (digits === '' ? NOTHING : repeat(DIGIT, digits.length, digits.length)));
  return parts.length === 1 ? (parts[0] as Rule) : all(parts[0] as Rule, text('.'), parts[1] as Rule);
}
