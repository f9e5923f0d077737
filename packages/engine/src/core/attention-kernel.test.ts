import { createSeededNumbers } from '@idlewild/graph/testing';
import { expect, test } from 'vitest';
import { createAttentionKernel, type AttentionKernel, type KernelShape, type Strides } from './attention-kernel.ts';
import { createKvPages, type PagedSequence } from './kv-pages.ts';

type Sizes = Pick<KernelShape, 'heads' | 'kvHeads' | 'headDim'>;

/** Rows of one sequence, in order of positions; of each [heads, width]. */
interface Rows {
  readonly count: number;
  readonly query: Float32Array;
  readonly key: Float32Array;
  readonly value: Float32Array;
}

const LAYER = 1;

function rowsOf({ heads, kvHeads, headDim }: Sizes, count: number, seed: number): Rows {
  const numbers = createSeededNumbers(seed);
  const floats = (of: number): Float32Array => numbers.floats(count * of * headDim, 2);
  return { count, query: floats(heads), key: floats(kvHeads), value: floats(kvHeads) };
}

function kernelOf(sizes: Sizes, positionsMax: number): { kernel: AttentionKernel; open: () => PagedSequence } {
  const kernel = createAttentionKernel({ ...sizes, layers: 2, rowsMax: positionsMax, positionsMax });
  const pages = createKvPages(kernel.pages, kernel.pageBytes, 1e9);
  const open = (): PagedSequence => {
    const sequence = pages.open();
    expect(pages.reserve(sequence, positionsMax)).toBe(true);
    return sequence;
  };
  return { kernel, open };
}

/** Attention of rows `from` to `until` after those before it, laid out in either way, `pad` rows of others around. */
function attend(
  { kernel }: { kernel: AttentionKernel },
  sizes: Sizes,
  { table }: PagedSequence,
  rows: Rows,
  [from, until]: readonly [number, number],
  options: { scale: number; window?: number; layout?: 'heads' | 'rows'; pad?: number },
): Float32Array {
  const { headDim } = sizes;
  const { scale, window = 0, layout = 'rows', pad = 0 } = options;
  const own = until - from;
  const all = own + 2 * pad;
  const strides = (count: number): Strides =>
    layout === 'rows' ? { head: headDim, row: count * headDim } : { head: all * headDim, row: headDim };
  const laid = (given: Float32Array, count: number): Float32Array => {
    const out = new Float32Array(all * count * headDim).fill(Number.NaN);
    const { head, row } = strides(count);
    for (let r = 0; r < own; r++)
      for (let h = 0; h < count; h++) {
        const at = ((from + r) * count + h) * headDim;
        out.set(given.subarray(at, at + headDim), h * head + (r + pad) * row);
      }
    return out;
  };
  kernel.load(laid(rows.query, sizes.heads), laid(rows.key, sizes.kvHeads), laid(rows.value, sizes.kvHeads));
  const part = { layer: LAYER, table, first: from, row: pad, rows: own };
  kernel.append(part, strides(sizes.kvHeads));
  kernel.attend(part, strides(sizes.heads), scale, window);
  const given = kernel.output(all * sizes.heads * headDim);
  const { head, row } = strides(sizes.heads);
  const out = new Float32Array(own * sizes.heads * headDim);
  for (let r = 0; r < own; r++)
    for (let h = 0; h < sizes.heads; h++) {
      const at = h * head + (r + pad) * row;
      out.set(given.subarray(at, at + headDim), (r * sizes.heads + h) * headDim);
    }
  return out;
}

/** The same in float64, by the book. */
function plain({ heads, kvHeads, headDim }: Sizes, rows: Rows, scale: number, window: number): Float64Array {
  const out = new Float64Array(rows.count * heads * headDim);
  for (let row = 0; row < rows.count; row++)
    for (let head = 0; head < heads; head++) {
      const keyHead = Math.floor(head / (heads / kvHeads));
      const lowest = window === 0 ? 0 : Math.max(0, row + 1 - window);
      const scores = Array.from({ length: row + 1 - lowest }, (_, i) => {
        let sum = 0;
        for (let d = 0; d < headDim; d++)
          sum +=
            rows.query[(row * heads + head) * headDim + d]! *
            rows.key[((lowest + i) * kvHeads + keyHead) * headDim + d]!;
        return sum * scale;
      });
      const highest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - highest));
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (let d = 0; d < headDim; d++)
        for (const [i, weight] of weights.entries())
          out[(row * heads + head) * headDim + d]! +=
            (weight / total) * rows.value[((lowest + i) * kvHeads + keyHead) * headDim + d]!;
    }
  return out;
}

test.for([
  { heads: 1, kvHeads: 1, headDim: 8, count: 1, window: 0 },
  { heads: 4, kvHeads: 4, headDim: 16, count: 33, window: 0 },
  { heads: 6, kvHeads: 2, headDim: 24, count: 70, window: 0 },
  { heads: 8, kvHeads: 1, headDim: 32, count: 100, window: 0 },
  { heads: 5, kvHeads: 5, headDim: 40, count: 65, window: 0 },
  { heads: 3, kvHeads: 1, headDim: 64, count: 130, window: 0 },
  { heads: 2, kvHeads: 2, headDim: 80, count: 40, window: 7 },
  { heads: 4, kvHeads: 2, headDim: 128, count: 90, window: 33 },
  { heads: 2, kvHeads: 1, headDim: 256, count: 66, window: 64 },
  { heads: 6, kvHeads: 2, headDim: 16, count: 100, window: 1 },
])('$heads heads over $kvHeads, $headDim wide, window $window: as in float64', ({ count, window, ...sizes }) => {
  const scale = 1 / Math.sqrt(sizes.headDim);
  const rows = rowsOf(sizes, count, 3);
  const wanted = plain(sizes, rows, scale, window);
  const made = kernelOf(sizes, count);
  for (const layout of ['rows', 'heads'] as const) {
    const got = attend(made, sizes, made.open(), rows, [0, count], { scale, window, layout });
    const apart = got.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i]!)), 0);
    expect(apart).toBeLessThan(1e-5);
  }
});

test.for([
  { heads: 4, kvHeads: 4, headDim: 16, window: 0 },
  { heads: 6, kvHeads: 2, headDim: 40, window: 0 },
  { heads: 8, kvHeads: 1, headDim: 64, window: 0 },
  { heads: 3, kvHeads: 3, headDim: 32, window: 19 },
  { heads: 6, kvHeads: 2, headDim: 32, window: 40 },
])(
  '$heads heads over $kvHeads, window $window: the same bits however rows are split, laid out and surrounded',
  ({ window, ...sizes }) => {
    const count = 101;
    const scale = 0.3;
    const rows = rowsOf(sizes, count, 8);
    const made = kernelOf(sizes, count);
    const whole = attend(made, sizes, made.open(), rows, [0, count], { scale, window });
    const width = sizes.heads * sizes.headDim;
    const numbers = createSeededNumbers(4);
    const splits = [() => 1, () => 2, () => 3, () => 4, () => 7, () => 32, () => 1 + numbers.below(40)];
    for (const [i, next] of splits.entries()) {
      // One page table after another lies elsewhere; the layer beside this one is in the same pages.
      const sequence = made.open();
      for (let from = 0; from < count;) {
        const until = Math.min(count, from + next());
        const layout = i % 2 === 0 ? 'rows' : 'heads';
        const got = attend(made, sizes, sequence, rows, [from, until], { scale, window, layout, pad: i % 3 });
        expect(got).toEqual(whole.subarray(from * width, until * width));
        from = until;
      }
    }
  },
);

test('what is no number in rows behind does not reach a row', () => {
  const sizes = { heads: 4, kvHeads: 2, headDim: 32 };
  const [count, clean] = [50, 41];
  const rows = rowsOf(sizes, count, 5);
  const made = kernelOf(sizes, count);
  const wanted = attend(made, sizes, made.open(), rows, [0, clean], { scale: 0.2 });
  const from = clean * sizes.kvHeads * sizes.headDim;
  for (const poison of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    rows.key.fill(poison, from);
    rows.value.fill(poison, from);
    const sequence = made.open();
    const got = attend(made, sizes, sequence, rows, [0, count], { scale: 0.2 });
    expect(got.subarray(0, wanted.length)).toEqual(wanted);
    expect(got.subarray(wanted.length).some((value) => !Number.isFinite(value))).toBe(true);
    // Nor does what an earlier user of a page left in it.
    expect(attend(made, sizes, sequence, rows, [0, clean], { scale: 0.2 })).toEqual(wanted);
  }
});

test('scores far apart give weights of 1 and 0, not what is no number', () => {
  const sizes = { heads: 1, kvHeads: 1, headDim: 8 };
  const rows = rowsOf(sizes, 3, 1);
  rows.query.fill(1e4);
  rows.key.fill(-1e4).fill(1e4, 8, 16);
  const made = kernelOf(sizes, 3);
  const got = attend(made, sizes, made.open(), rows, [0, 3], { scale: 1 });
  expect(got.subarray(16)).toEqual(rows.value.subarray(8, 16));
});

test('heads that the kernel cannot take are refused by name', () => {
  const refused = (heads: number, kvHeads: number, headDim: number) => () =>
    createAttentionKernel({ heads, kvHeads, headDim, layers: 1, rowsMax: 4, positionsMax: 32 });
  expect(refused(4, 2, 12)).toThrow(/does not take 4 heads over 2, 12 wide/);
  expect(refused(4, 3, 16)).toThrow(/does not take 4 heads over 3, 16 wide/);
});

test('pages beyond 2 GiB work, and memory that cannot grow is said so', { timeout: 60_000 }, () => {
  const sizes = { heads: 2, kvHeads: 1, headDim: 16 };
  const kernel = createAttentionKernel({ ...sizes, layers: 2, rowsMax: 64, positionsMax: 64 });
  const near = kernelOf(sizes, 64);
  const rows = rowsOf(sizes, 64, 6);
  const wanted = attend(near, sizes, near.open(), rows, [0, 64], { scale: 0.2 });
  // Memory that nothing touches is not resident: this costs addresses only.
  expect(kernel.pages.grow(2 ** 31 + 2 ** 30)).toBeDefined();
  const pages = createKvPages(kernel.pages, kernel.pageBytes, 1e6);
  const sequence = pages.open();
  expect(pages.reserve(sequence, 64)).toBe(true);
  expect(sequence.table[0]).toBeGreaterThan(2 ** 31);
  expect(attend({ kernel }, sizes, sequence, rows, [0, 64], { scale: 0.2 })).toEqual(wanted);
  const copy = pages.fork(sequence, 40);
  expect(copy).toBeDefined();
  const last = { ...rows, count: 64 };
  sequence.length = 40;
  expect(attend({ kernel }, sizes, copy!, last, [40, 64], { scale: 0.2 })).toEqual(wanted.subarray(40 * 32));
  expect(kernel.pages.grow(2 ** 30)).toBeUndefined();
  expect(kernel.pages.grow(1_024)).toBeDefined();
});
