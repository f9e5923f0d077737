import { createHash } from 'node:crypto';

import { Tensor } from 'onnxruntime-node';
import { expect, test } from 'vitest';

import { checkGraph } from './check.ts';
import { dtypeName } from './dtypes.ts';
import { fingerprintGraph } from './fingerprint.ts';
import { openSession } from './testing/sessions.ts';
import { writeGraph } from './write.ts';

async function outputBits(threads: number): Promise<Int32Array> {
  const { graph, feeds, output } = fingerprintGraph();
  const session = await openSession(graph, threads);
  const tensors = Object.entries(feeds).map(([name, { dtype, data, dims }]) => [
    name,
    new Tensor(dtypeName(dtype) as 'float32', data as Float32Array, dims),
  ]);
  const result = (await session.run(Object.fromEntries(tensors) as Record<string, Tensor>))[output] as Tensor;
  await session.release();
  const floats = result.data as Float32Array;
  expect(floats.every(Number.isFinite)).toBe(true);
  return new Int32Array(floats.buffer, floats.byteOffset, floats.length);
}

test('the fingerprint of a machine is the same in every run and with any number of threads', async () => {
  const first = await outputBits(1);
  expect(first.length).toBeGreaterThan(10_000);
  expect(await outputBits(1)).toEqual(first);
  expect(await outputBits(2)).toEqual(first);
  expect(await outputBits(4)).toEqual(first);
});

test('the fingerprint graph is a contract: its bytes and its feeds do not change', () => {
  const { graph, feeds } = fingerprintGraph();
  const hash = createHash('sha256').update(writeGraph(graph));
  for (const [name, { dtype, dims, data }] of Object.entries(feeds))
    hash.update(`${name} ${dtype} ${dims.join()}`).update(data);
  expect(hash.digest('hex')).toMatchInlineSnapshot(
    `"ac25f595a4b4d2b7e1d67bcae69119d9d93aed7f7cc2a4593f9531eff2f6a7ad"`,
  );
});

test('the fingerprint graph passes the checks that every graph must pass', () => {
  expect(() => checkGraph(fingerprintGraph().graph, { files: new Map() })).not.toThrow();
});
