/** The few figures that benches are summed up in. */

/** The value below which a `share` (0 to 1) of all lie, by the nearest rank. Throws for no values. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const found = sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))];
  if (found === undefined) throw new Error('there are no values to sum up');
  return found;
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  return (
    (percentile(values, 0.5) +
      percentile(
        values.map((value) => -value),
        0.5,
      ) *
        -1) /
    2
  );
}

/** `from 0.912 to 0.987` */
export const rangeOf = (values: readonly number[]): string =>
  `from ${Math.min(...values).toFixed(3)} to ${Math.max(...values).toFixed(3)}`;

/** `median 5 ms, longest 12 ms` */
export const durationsOf = (values: readonly number[]): string =>
  `median ${percentile(values, 0.5).toFixed(0)} ms, longest ${Math.max(...values).toFixed(0)} ms`;

/** Chance that is the same in every run of a bench: mulberry32. Values from 0 up to 1. */
export function createSeededChance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
