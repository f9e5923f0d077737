import { Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';

import { createGraphBuilder } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import type { Graph } from './graph.ts';
import { keepAllLogits } from './logits-to-keep.ts';
import { openSession } from './testing/sessions.ts';

/** The end of a decoder as transformers writes it: `hidden[:, -num_logits_to_keep:, :]`. */
function tail(dims: readonly (number | string)[]): Graph {
  const b = createGraphBuilder();
  const hidden = b.input('hidden', DTYPE.float32, ['batch', 'sequence', 2]);
  const keep = b.input('num_logits_to_keep', DTYPE.int64, dims);
  const starts = b.op('Reshape', [b.op('Neg', [keep]), b.ints(1)]);
  b.op('Slice', [hidden, starts, b.ints(2 ** 31 - 1), b.ints(1)], {}, 'logits');
  b.output('logits', DTYPE.float32, ['batch', 'kept', 2]);
  return b.build();
}

test.each([[[]], [[1]]])('a graph that asks how many rows to keep, with shape %j, keeps them all', async (dims) => {
  const session = await openSession(keepAllLogits(tail(dims)));
  expect(session.inputNames).toEqual(['hidden']);
  const { logits } = await session.run({ hidden: new Tensor('float32', [1, 2, 3, 4, 5, 6], [1, 3, 2]) });
  expect([...((logits as Tensor).data as Float32Array)]).toEqual([1, 2, 3, 4, 5, 6]);
  await session.release();
});

test('any other graph stays what it is', () => {
  const many = tail(['n']);
  expect(keepAllLogits(many)).toBe(many);
  const settled = keepAllLogits(tail([]));
  expect(keepAllLogits(settled)).toBe(settled);
});
