import { Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';

import { createGraphBuilder } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import { externalise } from './externalise.ts';
import type { Graph } from './graph.ts';
import { quantiseBlocks4, quantiseMatMul4 } from './quantise.ts';
import type { Quantised4 } from './quantise.ts';
import { createSeededNumbers } from './testing/seeds.ts';
import { openSession } from './testing/sessions.ts';

/** The matrix [k, n] that the quantised one stands for, read back from the layout that the operator documents. */
function dequantise({ values, scales, zeroPoints }: Quantised4, k: number, n: number, block: number): Float32Array {
  const blocks = Math.ceil(k / block);
  const nibble = (bytes: Uint8Array, at: number): number => ((bytes[at >> 1] as number) >> (4 * (at & 1))) & 15;
  const matrix = new Float32Array(k * n);
  for (let column = 0; column < n; column++) {
    for (let row = 0; row < k; row++) {
      const b = Math.floor(row / block);
      const zero = zeroPoints === undefined ? 8 : nibble(zeroPoints.subarray(column * Math.ceil(blocks / 2)), b);
      const level = nibble(values, column * blocks * block + row);
      matrix[row * n + column] = (level - zero) * (scales[column * blocks + b] as number);
    }
  }
  return matrix;
}

function productGraph(k: number, n: number, weight: Float32Array): Graph {
  const b = createGraphBuilder();
  b.op('MatMul', [b.input('x', DTYPE.float32, ['rows', k]), b.tensor('weight', [k, n], weight)], {}, 'y');
  b.output('y', DTYPE.float32, ['rows', n]);
  return b.build();
}

async function product(graph: Graph, x: Float32Array, k: number): Promise<Float32Array> {
  const session = await openSession(graph);
  const { y } = await session.run({ x: new Tensor('float32', x, [x.length / k, k]) });
  await session.release();
  return (y as Tensor).data as Float32Array;
}

/** Length of the difference over the length of `expected`. */
function relativeError(actual: Float32Array, expected: Float32Array): number {
  const length = (values: Float32Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
  return length(actual.map((value, i) => value - (expected[i] as number))) / length(expected);
}

test.each([
  { k: 256, n: 48, block: 32, symmetric: false },
  { k: 256, n: 48, block: 32, symmetric: true },
  { k: 333, n: 31, block: 32, symmetric: false },
  { k: 100, n: 7, block: 16, symmetric: true },
  { k: 384, n: 20, block: 128, symmetric: false },
])(
  'the runtime reads a $k × $n matrix in blocks of $block (symmetric: $symmetric) as it was packed',
  async ({ k, n, block, symmetric }) => {
    const numbers = createSeededNumbers(k * n);
    const weight = numbers.floats(k * n, 0.1).map((value, i) => value + (i % n) * 0.002);
    const x = numbers.floats(5 * k, 1);
    const graph = productGraph(k, n, weight);
    const packed = await product(quantiseMatMul4(graph, { block, symmetric, accuracyLevel: 1 }), x, k);
    const unpacked = await product(
      productGraph(k, n, dequantise(quantiseBlocks4(weight, k, n, block, symmetric), k, n, block)),
      x,
      k,
    );
    expect(relativeError(packed, unpacked)).toBeLessThan(1e-6);
    expect(relativeError(packed, await product(graph, x, k))).toBeLessThan(0.1);
  },
);

test('every value comes back within half a step of its block', () => {
  const [k, n, block] = [96, 5, 32];
  const weight = createSeededNumbers(3).floats(k * n, 1);
  const quantised = quantiseBlocks4(weight, k, n, block, false);
  const back = dequantise(quantised, k, n, block);
  const stepMax = Math.max(...quantised.scales);
  // Rounding the zero point shifts the whole block by up to half a step, which clips its outermost values.
  for (const [i, value] of weight.entries())
    expect(Math.abs(value - (back[i] as number))).toBeLessThanOrEqual(stepMax * 1.001);
  expect(quantiseBlocks4(new Float32Array(64), 32, 2, 32, false).scales).toEqual(new Float32Array(2));
});

test('only picked constant matrices are replaced, and a weight that something else reads is kept', () => {
  const b = createGraphBuilder();
  const [shared, alone, left] = ['shared', 'alone', 'left'].map((name) =>
    b.tensor(name, [32, 32], new Float32Array(1_024).fill(1)),
  );
  const x = b.input('x', DTYPE.float32, ['rows', 32]);
  for (const weight of [shared, alone, left]) b.op('MatMul', [x, weight as string]);
  b.op('Gather', [shared as string, b.int(0)]);
  b.op('MatMul', [x, x]);
  const quantised = quantiseMatMul4(b.build(), { pick: (name) => name !== 'left' });
  expect(quantised.nodes.map((node) => node.op)).toEqual(['MatMulNBits', 'MatMulNBits', 'MatMul', 'Gather', 'MatMul']);
  expect(['shared', 'alone', 'left'].map((name) => quantised.tensors.has(name))).toEqual([true, false, true]);
  expect(quantised.opsets.get('com.microsoft')).toBe(1);
});

test('a weight in a side file is not quantised behind its back', () => {
  const { graph } = externalise(productGraph(32, 32, new Float32Array(1_024)));
  expect(() => quantiseMatMul4(graph)).toThrow(/its values lie in 'weights.bin'/);
});
