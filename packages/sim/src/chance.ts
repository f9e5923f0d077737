/**
 * Chance from one seed, in streams by name: what happens to one part of a world does not shift the dice of another, so
 * a failing seed stays failing while the code around it changes.
 */
import { createSeededRandom } from '@idlewild/protocol/testing';
import type { Random } from '@idlewild/protocol';

export interface Chance extends Random {
  /** In [from, to). */
  between(from: number, to: number): number;
  /** An integer in [from, to]. */
  whole(from: number, to: number): number;
  happens(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
  /** Time until the next of events that come at `perMinute` on average; infinite for 0. */
  gapMs(perMinute: number): number;
}

/** FNV-1a, 32 bit (draft-eastlake-fnv). */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) state = Math.imul(state ^ text.charCodeAt(at), 0x01000193);
  return state >>> 0;
}

export function createChance(seed: number, stream: string): Chance {
  const random = createSeededRandom(hash(`${seed}/${stream}`));
  const { unit } = random;
  const whole = (from: number, to: number): number => from + Math.floor(unit() * (to - from + 1));
  return {
    ...random,
    between: (from, to) => from + unit() * (to - from),
    whole,
    happens: (probability) => unit() < probability,
    pick<Item>(items: readonly Item[]): Item {
      if (items.length === 0) throw new RangeError('nothing to pick from');
      return items[whole(0, items.length - 1)] as Item;
    },
    gapMs: (perMinute) => (perMinute <= 0 ? Number.POSITIVE_INFINITY : (-Math.log(1 - unit()) * 60_000) / perMinute),
  };
}
