import { expect, test } from 'vitest';

import { createGraphBuilder } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import { externalise } from './externalise.ts';
import { countParameters } from './parameters.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { readJacobean } from './testing/jacobean.ts';

test('the bundled model has the parameters that its README states, however its weights are kept', () => {
  const graph = readGraph(readJacobean());
  const count = countParameters(graph);
  expect(count / 1e6).toBeCloseTo(3.15, 2);
  expect(countParameters(quantiseMatMul4(graph))).toBe(count);
  expect(countParameters(externalise(graph, { location: 'weights.bin' }).graph)).toBe(count);
});

test('a packed embedding counts as its rows, and shared weights once', () => {
  const b = createGraphBuilder();
  const ids = b.input('ids', DTYPE.int64, ['n']);
  const [rows, width] = [64, 32];
  const packed = b.tensor('packed', [rows, width / 2], new Uint8Array((rows * width) / 2));
  const scales = b.tensor('scales', [rows, 1], new Float32Array(rows));
  const attributes = { bits: 4, block_size: 32, quantize_axis: 1 };
  for (const name of ['one', 'two']) {
    b.op('com.microsoft.GatherBlockQuantized', [packed, ids, scales], attributes, name);
    b.output(name, DTYPE.float32, ['n', width]);
  }
  expect(countParameters(b.build())).toBe(rows * width);
});
