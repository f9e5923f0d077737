/**
 * Top-k and top-p as a cut through the order "value descending, id ascending": all values above `floor` and, of those
 * equal to it, the `ties` with the lowest ids. A cut needs no sorted ids, so values alone are selected and sorted.
 *
 * Top-p is defined on sums in sorted order, yet hardly ever needs all values sorted: the sum in any order is within a
 * known bound of the defined one, and only a decision inside that bound is settled by the definition itself.
 */
import { exp } from './ln.ts';

export interface Kept {
  readonly floor: number;
  readonly ties: number;
}

export interface Truncation {
  /** The `k` highest; 0 < k < values.length. */
  topK(values: Float64Array, k: number): Kept;
  /**
   * Of `kept`, the shortest prefix in order whose sum of e^(value − max) reaches `topP` × the sum over all of `kept`.
   */
  topP(values: Float64Array, kept: Kept | undefined, max: number, topP: number): Kept;
}

/** e^−37 < 2^−53: added to a sum that began with e^0 = 1 and fell towards it, such a term changes nothing. */
const DEPTH = 37;
/** Buckets per unit of value in the first estimate of where the cut lies. */
const STEPS = 8;

/** Keeps its buffers between calls. */
export function createTruncation(): Truncation {
  let scratch = new Float64Array(0);
  const mass = new Float64Array(DEPTH * STEPS + 1);
  const scratchFor = (length: number): Float64Array =>
    scratch.length < length ? (scratch = new Float64Array(length)) : scratch;

  /** Sorted ascending: the values of `kept` that are at most `depth` below `max`. */
  function sortedTop(values: Float64Array, kept: Kept | undefined, max: number, depth: number): Float64Array {
    const top = scratchFor(values.length);
    const floor = kept?.floor ?? -Infinity;
    let ties = kept?.ties ?? Infinity;
    let length = 0;
    for (let id = 0; id < values.length; id++) {
      const value = values[id] as number;
      if (value <= floor && (value < floor || ties-- <= 0)) continue;
      if (max - value <= depth) top[length++] = value;
    }
    return top.subarray(0, length).sort();
  }

  /**
   * Fills `mass` and returns the sum over all, which differs from the defined one by less than length × 2^−51 of it.
   */
  function estimate(values: Float64Array, kept: Kept | undefined, max: number): number {
    const floor = kept?.floor ?? -Infinity;
    let ties = kept?.ties ?? Infinity;
    let total = 0;
    mass.fill(0);
    for (let id = 0; id < values.length; id++) {
      const value = values[id] as number;
      if (value <= floor && (value < floor || ties-- <= 0)) continue;
      const depth = max - value;
      if (!(depth <= DEPTH)) continue;
      const weight = exp(value - max);
      total += weight;
      const bucket = Math.floor(depth * STEPS);
      mass[bucket] = (mass[bucket] as number) + weight;
    }
    return total;
  }

  return {
    topK(values, k) {
      const heap = scratchFor(values.length);
      for (let id = 0; id < k; id++) heap[id] = values[id] as number;
      for (let parent = (k >> 1) - 1; parent >= 0; parent--) sift(heap, k, parent);
      for (let id = k; id < values.length; id++) {
        if ((values[id] as number) <= (heap[0] as number)) continue;
        heap[0] = values[id] as number;
        sift(heap, k, 0);
      }
      const floor = heap[0] as number;
      let ties = 0;
      for (let i = 0; i < k; i++) if (heap[i] === floor) ties++;
      return { floor, ties };
    },

    topP(values, kept, max, topP) {
      const total = estimate(values, kept, max);
      const error = values.length * 2 ** -51;
      let reached = 0;
      let bucket = 0;
      while (bucket < mass.length && reached < topP * total * (1 + error)) reached += mass[bucket++] as number;
      const near = sortedTop(values, kept, max, bucket / STEPS);
      const cut = cutOf(near, max, topP * total * (1 - error), topP * total * (1 + error));
      if (cut !== undefined) return cut;
      const all = sortedTop(values, kept, max, DEPTH);
      let exact = 0;
      for (let i = all.length - 1; i >= 0; i--) exact += exp((all[i] as number) - max);
      return cutOf(all, max, topP * exact, topP * exact) as Kept;
    },
  };
}

/** Restores a heap of `length` values, the lowest first, below `parent`. */
function sift(heap: Float64Array, length: number, from: number): void {
  const value = heap[from] as number;
  let parent = from;
  for (;;) {
    let child = 2 * parent + 1;
    if (child >= length) break;
    if (child + 1 < length && (heap[child + 1] as number) < (heap[child] as number)) child++;
    if ((heap[child] as number) >= value) break;
    heap[parent] = heap[child] as number;
    parent = child;
  }
  heap[parent] = value;
}

/**
 * Where the sum from the top reaches its target, known to lie in [low, high]; `undefined` when that does not settle it.
 */
function cutOf(ascending: Float64Array, max: number, low: number, high: number): Kept | undefined {
  let sum = 0;
  for (let i = ascending.length - 1; i >= 0; i--) {
    const floor = ascending[i] as number;
    sum += exp(floor - max);
    if (sum < low) continue;
    if (sum < high) return undefined;
    let ties = 0;
    for (let j = i; j < ascending.length && ascending[j] === floor; j++) ties++;
    return { floor, ties };
  }
  return undefined;
}
