import { expect, test } from 'vitest';

import { createGraphBuilder } from './builder.ts';
import { describeDecoder, trimmablePast } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import { externalise } from './externalise.ts';
import { isExternal } from './graph.ts';
import { readGraph } from './read.ts';
import { readJacobean } from './testing/jacobean.ts';
import { firstDifference, openDecoder } from './testing/sessions.ts';
import { writeGraph } from './write.ts';

const tokens = [35, 412, 77, 1290, 5, 900, 14, 3, 2001, 640];

test('the weight-free graph with its side file gives bit-identical logits', async () => {
  const graph = trimmablePast(readGraph(readJacobean()));
  const moved = externalise(graph);
  const data = new Uint8Array(Buffer.concat([...moved.chunks()]));
  expect(data.length).toBe(moved.bytes);
  expect(writeGraph(moved.graph).length).toBeLessThan(100_000);

  const [whole, split] = [
    await openDecoder(graph),
    await openDecoder(readGraph(writeGraph(moved.graph)), 1, [{ path: 'weights.bin', data }]),
  ];
  expect(firstDifference(await whole.step(tokens, 0), await split.step(tokens, 0))).toBeUndefined();
  await Promise.all([whole.release(), split.release()]);
});

test('tensors lie in graph order, aligned, with zeros between, and small ones stay', () => {
  const builder = createGraphBuilder();
  builder.tensor('small', [4], Float32Array.of(1, 2, 3, 4));
  builder.tensor('odd', [33], new Uint8Array(33).fill(7));
  builder.tensor('next', [10], new Float32Array(10).fill(1));
  const moved = externalise(builder.build(), { location: 'w', inlineBytesMax: 16, alignBytes: 64 });
  expect(moved.tensors).toEqual([
    { name: 'odd', dtype: DTYPE.uint8, dims: [33], file: 'w', offset: 0, bytes: 33 },
    { name: 'next', dtype: DTYPE.float32, dims: [10], file: 'w', offset: 64, bytes: 40 },
  ]);
  const file = Buffer.concat([...moved.chunks()]);
  expect(file.length).toBe(104);
  expect([...file.subarray(33, 64)]).toEqual(new Array(31).fill(0));
  expect([...moved.graph.tensors.values()].map(isExternal)).toEqual([false, true, true]);
});

test('tensors in another side file stay there and are listed; one in a file of the same name is an error', () => {
  const first = externalise(readGraph(readJacobean()), { location: 'a.bin', inlineBytesMax: 100_000 });
  const second = externalise(readGraph(writeGraph(first.graph)), { location: 'b.bin' });
  expect(new Set(second.tensors.map((tensor) => tensor.file))).toEqual(new Set(['a.bin', 'b.bin']));
  expect(second.tensors.filter((tensor) => tensor.file === 'a.bin')).toEqual(first.tensors);
  expect(() => externalise(first.graph, { location: 'a.bin' })).toThrow(/choose another name/);
  expect(describeDecoder(second.graph).layers).toBe(6);
});
