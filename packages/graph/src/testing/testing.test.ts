import { Tokenizer } from '@huggingface/tokenizers';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';

import { checkGraph } from '../check.ts';
import { describeDecoder, trimmablePast } from '../decoder.ts';
import { tensorEntries } from '../externalise.ts';
import { readGraph } from '../read.ts';
import { writeGraph } from '../write.ts';
import { buildDecoder } from './build-decoder.ts';
import { buildExport, type ExportStyle } from './build-export.ts';
import { buildGenai, type GenaiStyle } from './build-genai.ts';
import { writeDecoderFolder } from './decoder-folder.ts';
import { halfGraph } from './half-graph.ts';
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

test('the bytes of a built decoder are pinned: benchmarks compare runs of one model', () => {
  const digest = createHash('sha256')
    .update(writeGraph(buildDecoder(shape, 11)))
    .digest('hex');
  expect(digest).toBe('cd4b155ac0546d33d051be4edfb901ddf5fedc4639993f4b583b467c8510f3e6');
});

test('decoders of every style are described, pass the check, and are the same file for the same seed', () => {
  const exported = (style: ExportStyle) => (seed: number) => buildExport(shape, style, seed);
  const genai = (style: GenaiStyle) => (seed: number) => buildGenai(shape, style, seed);
  const builders = [
    ...[exported({}), exported({ family: 'gpt2', packed: true, tied: true }), exported({ positions: 'mask' })],
    ...[exported({ rotary: 'table', positions: 'past', scale: 'roots', guard: true })],
    ...[genai({}), genai({ packed: true }), genai({ rotary: 'before' }), genai({ attention: 'multi' })],
  ];
  for (const build of builders) {
    for (const graph of [build(1), halfGraph(build(1))]) {
      checkGraph(readGraph(writeGraph(graph)), { files: new Map() });
      expect(describeDecoder(graph)).toMatchObject({ layers: 3, kvHeads: 2, headDim: 12, vocab: 300 });
    }
    expect(Buffer.compare(writeGraph(build(1)), writeGraph(build(1)))).toBe(0);
    expect(Buffer.compare(writeGraph(build(1)), writeGraph(build(2)))).not.toBe(0);
  }
});

test('a folder holds the weights in as many files as asked, each tensor where it says', () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-decoder-'));
  writeDecoderFolder(folder, { graph: buildExport(shape, {}, 1), shape, sides: 3, endIds: [0, 7] });
  const files = readdirSync(join(folder, 'onnx'));
  expect(files.sort()).toEqual(['model.onnx', 'model.onnx_data', 'model.onnx_data_1', 'model.onnx_data_2']);
  const graph = readGraph(new Uint8Array(readFileSync(join(folder, 'onnx/model.onnx'))));
  checkGraph(graph, { files: new Map(files.map((file) => [file, statSync(join(folder, 'onnx', file)).size])) });
  expect(new Set(tensorEntries(graph).map(({ file }) => file)).size).toBe(3);
  expect(JSON.parse(readFileSync(join(folder, 'generation_config.json'), 'utf8'))).toMatchObject({
    eos_token_id: [0, 7],
  });
  rmSync(folder, { recursive: true });
});
