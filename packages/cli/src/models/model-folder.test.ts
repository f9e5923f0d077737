import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DTYPE,
  createGraphBuilder,
  externalise,
  quantiseMatMul4,
  readGraph,
  writeGraph,
  type Graph,
} from '@idlewild/graph';
import { writeEncoderFolder, type TestEncoder } from '@idlewild/graph/testing';
import { decodeManifest } from '@idlewild/protocol';
import { afterAll, expect, test } from 'vitest';
import { readModelFolder, type ModelFolder } from './model-folder.ts';
import { memoryPart } from './parts.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-model-'));
afterAll(() => rmSync(folder, { recursive: true }));
const jacobean = join(import.meta.dirname, '../../../../models/jacobean');
const { signal } = new AbortController();
const read = (from: string): Promise<ModelFolder> => readModelFolder(from, { signal, onProgress: () => undefined });

const bytesOf = (model: ModelFolder): number => model.files.reduce((sum, { layout }) => sum + layout.bytes, 0);

/** The bundled model without its corpus, to be spoilt. */
function copy(name: string): string {
  const to = join(folder, name);
  cpSync(jacobean, to, { recursive: true, filter: (path) => !path.includes('corpus') });
  return to;
}

test('the bundled model becomes a manifest of a weight-free graph, its weights and its texts', async () => {
  const seen: number[] = [];
  const model = await readModelFolder(jacobean, { signal, onProgress: (done) => seen.push(done) });
  const manifest = decodeManifest(model.manifest.bytes);
  expect(manifest.files.map(({ path }) => path)).toEqual([
    'config.json',
    'generation_config.json',
    'model.onnx',
    'tokenizer.json',
    'tokenizer_config.json',
    'weights.bin',
  ]);
  expect(manifest).toMatchObject({ graph: 'model.onnx', contextTokens: 512, vocabularyTokens: 2_048, layers: 6 });
  expect(manifest.card).toMatchObject({ licence: 'cc0-1.0', languages: ['en'], parameters: 3_148_246 });
  expect(manifest.card.description).toMatch(/^A small decoder/);
  expect(manifest.files.find(({ path }) => path === 'model.onnx')?.bytes).toBeLessThan(100_000);
  expect(seen.at(-1)).toBe(manifest.files.reduce((sum, { bytes }) => sum + bytes, 0));
});

test('the same folder gives the same CID, wherever it lies', async () => {
  const cid = async (from: string): Promise<string> => (await read(from)).manifest.cid.toString();
  expect(await cid(copy('again'))).toBe(await cid(jacobean));
});

test('weights in side files stay in them', async () => {
  const from = copy('sides');
  const whole = externalise(readGraph(new Uint8Array(readFileSync(join(from, 'onnx/model.onnx')))), {
    location: 'model.onnx_data',
  });
  writeFileSync(join(from, 'onnx/model.onnx'), writeGraph(whole.graph));
  writeFileSync(join(from, 'onnx/model.onnx_data'), Buffer.concat([...whole.chunks()]));
  const model = await read(from);
  expect(model.files.map(({ path }) => path)).toContain('model.onnx_data');
  rmSync(join(from, 'onnx/model.onnx_data'));
  await expect(read(from)).rejects.toThrow(/onnx\/model\.onnx says that weights lie in "model\.onnx_data"/);
});

test('of several graphs the one that is asked for is read, with its own weights in several files', async () => {
  const from = copy('several');
  const graph = readGraph(new Uint8Array(readFileSync(join(from, 'onnx/model.onnx'))));
  writeFileSync(join(from, 'onnx/model_q4.onnx'), writeGraph(quantiseMatMul4(graph)));
  // The large tensors in the one file and the rest in the other, as exporters do past 2 GB.
  const first = externalise(graph, { location: 'model_fp16.onnx_data', inlineBytesMax: 200_000 });
  const second = externalise(first.graph, { location: 'model_fp16.onnx_data_1' });
  writeFileSync(join(from, 'onnx/model_fp16.onnx'), writeGraph(second.graph));
  writeFileSync(join(from, 'onnx/model_fp16.onnx_data'), Buffer.concat([...first.chunks()]));
  writeFileSync(join(from, 'onnx/model_fp16.onnx_data_1'), Buffer.concat([...second.chunks()]));

  expect((await read(from)).graph).toMatchObject({ quant: 'f32', quants: ['q4', 'f16', 'f32'] });
  const q4 = await readModelFolder(from, { signal, onProgress: () => undefined, quant: 'q4' });
  const parameters = (model: ModelFolder): number | undefined => model.card.parameters;
  expect(bytesOf(q4)).toBeLessThan(bytesOf(await read(from)) / 2);
  expect(parameters(q4)).toBe(parameters(await read(from)));
  const split = await readModelFolder(from, { signal, onProgress: () => undefined, quant: 'f16' });
  expect(split.files.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['model_fp16.onnx_data', 'model_fp16.onnx_data_1']),
  );
});

test('a graph of 16 bits is read, weights, cache and all', async () => {
  const from = copy('half');
  rmSync(join(from, 'onnx/model.onnx'));
  writeFileSync(join(from, 'onnx/model_fp16.onnx'), writeGraph(halfDecoder(2_048, 16)));
  const { graph, card, manifest } = await read(from);
  expect(graph).toMatchObject({ quant: 'f16', why: 'there is none in full precision' });
  expect(card.parameters).toBe(2 * 2_048 * 16);
  expect(decodeManifest(manifest.bytes)).toMatchObject({ kind: 'decoder', layers: 1, vocabularyTokens: 2_048 });
});

test('a graph that asks how many rows of logits to keep is published as one that keeps them all', async () => {
  const from = copy('keeping');
  const decoder = halfDecoder(2_048, 16);
  const b = createGraphBuilder({ from: decoder });
  b.input('num_logits_to_keep', DTYPE.int64, []);
  writeFileSync(join(from, 'onnx/model.onnx'), writeGraph(b.build()));
  const part = (await read(from)).files.find(({ path }) => path === 'model.onnx');
  const published = readGraph((await part?.read(0, part.layout.bytes)) ?? new Uint8Array());
  expect(published.inputs.map(({ name }) => name)).toEqual(decoder.inputs.map(({ name }) => name));
});

test('a card given with the command goes before that of the folder', async () => {
  const options = { signal, onProgress: () => undefined };
  const given = await readModelFolder(jacobean, { ...options, cardText: '---\nlicense: mit\n---\n# x\n\nOurs.' });
  expect(given.card).toEqual({ licence: 'mit', description: 'Ours.', parameters: 3_148_246 });
  const known = await readModelFolder(jacobean, { ...options, card: { licence: 'ours', source: 'hf:a/b@c' } });
  expect(decodeManifest(known.manifest.bytes).card).toMatchObject({ licence: 'ours', source: 'hf:a/b@c' });
});

test('what is missing or wrong is named', async () => {
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  await expect(read(join(folder, 'nowhere'))).rejects.toThrow(/there is no folder/);
  await expect(read(empty)).rejects.toThrow(/holds no onnx\/model\.onnx/);
  const from = copy('wrong');
  writeFileSync(join(from, 'config.json'), '{"vocab_size": 2048}');
  await expect(read(from)).rejects.toThrow(/config\.json does not say the length of its context/);
  writeFileSync(join(from, 'config.json'), '{');
  await expect(read(from)).rejects.toThrow(/config\.json is not JSON/);
  writeFileSync(join(from, 'onnx/model.onnx'), 'no protobuf at all');
  cpSync(join(jacobean, 'config.json'), join(from, 'config.json'));
  await expect(read(from)).rejects.toThrow(/onnx\/model\.onnx/);
  rmSync(join(from, 'tokenizer.json'));
  await expect(read(from)).rejects.toThrow(/holds no tokenizer\.json/);
});

test('a range of a file in pieces is the same as of the whole', async () => {
  const pieces = [3, 0, 5, 1].map((length, index) => new Uint8Array(length).fill(index + 1));
  const whole = Buffer.concat(pieces);
  const part = memoryPart('x', pieces);
  for (let from = 0; from < whole.length; from++) {
    for (let to = from + 1; to <= whole.length; to++) {
      expect(Buffer.from(await part.read(from, to - from))).toEqual(whole.subarray(from, to));
    }
  }
});

/** What a decoder of 16 bits declares, over hardly any arithmetic. */
function halfDecoder(vocab: number, width: number): Graph {
  const b = createGraphBuilder();
  const { float16, int64 } = DTYPE;
  const ids = b.input('input_ids', int64, ['batch', 'sequence']);
  b.input('attention_mask', int64, ['batch', 'total']);
  b.output('logits', float16, ['batch', 'sequence', vocab]);
  const weights = (name: string, rows: number, columns: number): string =>
    b.tensor(name, [rows, columns], new Uint16Array(rows * columns), float16);
  const hidden = b.op('Gather', [weights('embedding', vocab, width), ids]);
  b.op('MatMul', [hidden, weights('head', width, vocab)], {}, 'logits');
  const row = b.op('Unsqueeze', [hidden, b.ints(1)]);
  for (const part of ['key', 'value']) {
    const past = b.input(`past_key_values.0.${part}`, float16, ['batch', 1, 'past', width]);
    b.output(`present.0.${part}`, float16, ['batch', 1, 'total', width]);
    b.op('Concat', [past, row], { axis: 2 }, `present.0.${part}`);
  }
  return b.build();
}

const shape = { vocab: 300, width: 32, layers: 2, heads: 2, feedForward: 48, context: 64 };
function encoderFolder(name: string, encoder: Partial<TestEncoder>): string {
  writeEncoderFolder(join(folder, name), { shape, seed: 3, pooling: 'mean', ...encoder });
  return join(folder, name);
}

test('an encoder folder becomes a manifest that says how long its vectors are and may be', async () => {
  const model = await read(encoderFolder('encoder', { tokensMax: 48, matryoshka: [8, 32] }));
  const manifest = decodeManifest(model.manifest.bytes);
  expect(manifest).toMatchObject({
    kind: 'encoder',
    dimensions: 32,
    matryoshka: [8, 32],
    contextTokens: 48,
    vocabularyTokens: 300,
    layers: 2,
  });
  expect(manifest.labels).toBeUndefined();
  expect(manifest.files.map(({ path }) => path)).toEqual([
    '1_Pooling/config.json',
    'config.json',
    'config_sentence_transformers.json',
    'model.onnx',
    'modules.json',
    'sentence_bert_config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'weights.bin',
  ]);
  expect(model.summary).toContain('an encoder, 32 numbers a vector, 48 tokens a text');
});

test('a classifier folder becomes a manifest with its labels', async () => {
  const from = encoderFolder('classifier', { shape: { ...shape, labels: 2 }, labels: ['dull', 'merry'] });
  const manifest = decodeManifest((await read(from)).manifest.bytes);
  expect(manifest).toMatchObject({ kind: 'classifier', labels: ['dull', 'merry'], contextTokens: 64 });
});

test('an encoder that would not be run as its makers mean is refused, the file and the step named', async () => {
  const from = encoderFolder('dense', {});
  const dense = [{ idx: 2, name: '2', path: '2_Dense', type: 'sentence_transformers.models.Dense' }];
  writeFileSync(join(from, 'modules.json'), JSON.stringify(dense));
  await expect(read(from)).rejects.toThrow(/^modules\.json asks for Dense in '2_Dense'/);
  writeFileSync(join(from, 'config.json'), '{"is_encoder_decoder": true, "architectures": ["T5Model"]}');
  await expect(read(from)).rejects.toThrow(/^onnx\/model\.onnx: .*encoder-decoder \(T5Model\)/);
});
