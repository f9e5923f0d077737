/**
 * Numbers that are the same on every machine: mulberry32
 * (https://gist.github.com/tommyettinger/46a874533244883189143505d203312c).
 */
export interface SeededNumbers {
  /** A 32-bit integer, at least 0. */
  uint32(): number;
  /** At least 0, below `limit`. */
  below(limit: number): number;
  /** An array whose values are spread evenly over ±`scale`. */
  floats(count: number, scale: number): Float32Array;
}

export function createSeededNumbers(seed: number): SeededNumbers {
  let state = seed >>> 0;
  const uint32 = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  return {
    uint32,
    below: (limit) => uint32() % limit,
    floats: (count, scale) => {
      const values = new Float32Array(count);
      for (let i = 0; i < count; i++) values[i] = (uint32() / 2_147_483_648 - 1) * scale;
      return values;
    },
  };
}
