import { Tokenizer } from '@huggingface/tokenizers';
import { expect, test } from 'vitest';

import { checkGraph } from '../check.ts';
import { describeDecoder, trimmablePast } from '../decoder.ts';
import { writeGraph } from '../write.ts';
import { buildDecoder } from './build-decoder.ts';
import { modelFolderTexts } from './model-folder.ts';
import { firstDifference, openDecoder } from './sessions.ts';

const shape = { vocab: 300, width: 48, layers: 3, heads: 4, kvHeads: 2, feedForward: 80, context: 128 };

test('a built decoder is one: it is described, checked and run, and its cache does not change its logits', async () => {
  const graph = buildDecoder(shape, 11);
  expect(describeDecoder(graph)).toMatchObject({
    layers: 3,
    kvHeads: 2,
    headDim: 12,
    vocab: 300,
    hasPositionIds: true,
  });
  checkGraph(graph, { files: new Map() });
  const decoder = await openDecoder(trimmablePast(graph));
  const whole = await decoder.step([1, 2, 3, 4, 5, 6], 0);
  const parts = [...(await decoder.step([1, 2, 3], 0)), ...(await decoder.step([4, 5, 6], 3))];
  expect(firstDifference(parts, whole)).toBeUndefined();
  expect(new Set(whole.map((logits) => logits.indexOf(Math.max(...logits)))).size).toBeGreaterThan(1);
  await decoder.release();
});

test('the same shape and seed give the same file', () => {
  expect(Buffer.compare(writeGraph(buildDecoder(shape, 1)), writeGraph(buildDecoder(shape, 1)))).toBe(0);
  expect(Buffer.compare(writeGraph(buildDecoder(shape, 1)), writeGraph(buildDecoder(shape, 2)))).not.toBe(0);
});

test('in the made-up vocabulary every id has a text of its own, and any text comes back', () => {
  const texts = modelFolderTexts({ ...shape, vocab: 32_000 });
  const tokenizer = new Tokenizer(JSON.parse(texts['tokenizer.json']), JSON.parse(texts['tokenizer_config.json']));
  const text = 'Thou art – “a” naïve 🦌\n\tknave.';
  const { ids } = tokenizer.encode(text);
  expect(ids).toHaveLength(new TextEncoder().encode(text).length);
  expect(tokenizer.decode(ids)).toBe(text);
  const fillers = Array.from({ length: 32_000 - 257 }, (_, i) => tokenizer.decode([i + 257]));
  expect(new Set(fillers).size).toBe(fillers.length);
  expect(fillers.every((filler) => / [a-z]{4,}/.test(filler))).toBe(true);
});
