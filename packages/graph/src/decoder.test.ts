import { expect, test } from 'vitest';

import { describeDecoder, trimmablePast } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import type { Graph } from './graph.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { buildDecoder } from './testing/build-decoder.ts';
import { readJacobean } from './testing/jacobean.ts';
import { createSeededNumbers } from './testing/seeds.ts';
import { firstDifference, openDecoder } from './testing/sessions.ts';
import type { StepDecoder } from './testing/sessions.ts';

const jacobean = readGraph(readJacobean());

const seededTokens = (count: number, seed = 7): number[] => {
  const numbers = createSeededNumbers(seed);
  return Array.from({ length: count }, () => numbers.below(2_048));
};

test('the bundled model is described from its inputs and outputs', () => {
  expect(describeDecoder(jacobean)).toMatchObject({
    layers: 6,
    kvHeads: 2,
    headDim: 32,
    kvDtype: DTYPE.float32,
    vocab: 2_048,
    hasPositionIds: true,
  });
  const { pastNames, presentNames } = describeDecoder(jacobean);
  expect(pastNames.slice(0, 3)).toEqual(['past_key_values.0.key', 'past_key_values.0.value', 'past_key_values.1.key']);
  expect(presentNames.slice(10)).toEqual(['present.5.key', 'present.5.value']);
});

test('a graph that is no such decoder is refused, the input or output at fault named', () => {
  const without = (name: string): Graph => ({
    ...jacobean,
    inputs: jacobean.inputs.filter((input) => input.name !== name),
    outputs: jacobean.outputs.filter((output) => output.name !== name),
  });
  const withInput = (name: string, dtype: number, dims: readonly (number | string)[]): Graph => ({
    ...without(name),
    inputs: [...without(name).inputs, { name, dtype, dims }],
  });
  const cases: [Graph, RegExp][] = [
    [without('input_ids'), /no input 'input_ids'/],
    [without('logits'), /no output 'logits'/],
    [without('present.3.value'), /'past_key_values.3.value' has no output 'present.3.value'/],
    [without('past_key_values.2.value'), /'past_key_values.2.key' has no input 'past_key_values.2.value'/],
    [withInput('extra', DTYPE.float32, ['batch', 4]), /feed to its input 'extra'/],
    [withInput('past_conv.0', DTYPE.float32, ['batch', 4]), /no cache of keys and values \(its input 'past_conv.0'\)/],
    [withInput('encoder_hidden_states', DTYPE.float32, ['batch', 4]), /one half of an encoder-decoder/],
    [withInput('past_key_values.0.encoder.key', DTYPE.float32, ['batch', 4]), /one half of an encoder-decoder/],
    [withInput('pixel_values', DTYPE.float32, ['batch', 4]), /it reads images/],
    [withInput('inputs_embeds', DTYPE.float32, ['batch', 4]), /begins after the embeddings/],
    [withInput('use_cache_branch', DTYPE.bool, [1]), /two decoders merged.* \(its input 'use_cache_branch'\)/],
    [withInput('input_ids', DTYPE.int32, ['batch', 'seq']), /'input_ids' is of type int32/],
    [withInput('past_key_values.4.key', DTYPE.float32, ['batch', 4, 'past', 32]), /differ in shape/],
    [
      withInput('past_key_values.0.key', DTYPE.float32, ['batch', 'heads', 'past', 32]),
      /has shape \[batch, heads, past, 32\]/,
    ],
    [{ ...jacobean, inputs: jacobean.inputs.slice(0, 3) }, /key-value cache/],
  ];
  for (const [graph, message] of cases) expect(() => describeDecoder(graph)).toThrow(message);
});

test('a cache of which only the head is kept gives the logits of a cache that never held the tail', async () => {
  const tokens = seededTokens(24);
  const decoder = await openDecoder(trimmablePast(jacobean));
  await decoder.step([...tokens.slice(0, 10), ...seededTokens(9, 99)], 0);
  const trimmed = await decoder.step(tokens.slice(10), 10);
  await decoder.step(tokens.slice(0, 10), 0);
  const clean = await decoder.step(tokens.slice(10), 10);
  expect(firstDifference(trimmed, clean)).toBeUndefined();
  expect(decoder.cached()).toBe(24);
  await decoder.release();
});

/** Logits of every position, prefilled in chunks of `rows()` and never in one of a single row. */
async function prefill(decoder: StepDecoder, tokens: readonly number[], rows: () => number): Promise<Float32Array[]> {
  const logits: Float32Array[] = [];
  while (logits.length < tokens.length) {
    const from = logits.length;
    const until = Math.min(from + rows(), tokens.length);
    const start = until - from === 1 ? from - 1 : from;
    logits.push(...(await decoder.step(tokens.slice(start, until), start)).slice(from - start));
  }
  return logits;
}

/** Logits of every position, each after the first two decoded beside the one before it. */
async function decode(decoder: StepDecoder, tokens: readonly number[]): Promise<Float32Array[]> {
  const logits = await decoder.step(tokens.slice(0, 2), 0);
  while (logits.length < tokens.length) {
    const from = logits.length;
    logits.push((await decoder.step(tokens.slice(from - 1, from + 1), from - 1))[1] as Float32Array);
  }
  return logits;
}

test.each([
  { name: 'f32', graph: jacobean },
  { name: '4 bits', graph: quantiseMatMul4(jacobean) },
  { name: '4 bits, int8 arithmetic', graph: quantiseMatMul4(jacobean, { accuracyLevel: 4 }) },
])('steps of two rows or more give bit-identical logits, however a text is cut: $name', async ({ graph }) => {
  const tokens = seededTokens(90);
  let whole: Float32Array[] | undefined;
  for (const threads of [1, 2]) {
    const decoder = await openDecoder(trimmablePast(graph), threads);
    whole ??= await decoder.step(tokens, 0);
    expect(firstDifference(await decoder.step(tokens, 0), whole)).toBeUndefined();
    expect(firstDifference(await decode(decoder, tokens), whole)).toBeUndefined();
    for (const rows of [2, 3, 7, 16, 33])
      expect(firstDifference(await prefill(decoder, tokens, () => rows), whole)).toBeUndefined();
    const numbers = createSeededNumbers(threads);
    expect(firstDifference(await prefill(decoder, tokens, () => 2 + numbers.below(20)), whole)).toBeUndefined();
    await decoder.release();
  }
});

test('steps stay bit-identical over a long cache, with heads 128 wide and as many threads as heads', async () => {
  const shape = { vocab: 500, width: 512, layers: 2, heads: 4, kvHeads: 2, feedForward: 512 };
  const graph = trimmablePast(buildDecoder(shape, 3));
  const tokens = seededTokens(400).map((token) => token % shape.vocab);
  const single = await openDecoder(graph, 1);
  const whole = await single.step(tokens, 0);
  await single.release();
  const decoder = await openDecoder(graph, shape.heads);
  expect(firstDifference(await prefill(decoder, tokens, () => 33), whole)).toBeUndefined();
  expect(firstDifference(await decode(decoder, tokens), whole)).toBeUndefined();
  await decoder.release();
});
