import { expect, test } from 'vitest';

import { checkGraph } from './check.ts';
import { DTYPE } from './dtypes.ts';
import { describeEncoder, labelsOf, modelKindOf, type ModelConfig } from './encoder.ts';
import { readEncoderRecipe, type EncoderTexts } from './encoder-recipe.ts';
import type { Graph } from './graph.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { buildDecoder } from './testing/build-decoder.ts';
import { buildEncoder, type TestEncoderShape } from './testing/build-encoder.ts';
import { encoderFolderTexts, type TestEncoder } from './testing/encoder-folder.ts';
import { halfBits } from './testing/half-bits.ts';
import { int64, openSession } from './testing/sessions.ts';
import { writeGraph } from './write.ts';

const shape: TestEncoderShape = { vocab: 300, width: 48, layers: 2, heads: 4, feedForward: 80, context: 64 };
const encoder = buildEncoder(shape, 1);
const config = { architectures: ['BertModel'], hidden_size: 48, max_position_embeddings: 64 };

test('an encoder, one pooled in its graph and a classifier are described from their inputs and outputs', () => {
  expect(describeEncoder(encoder, config)).toEqual({
    kind: 'encoder',
    hasMask: true,
    hasTokenTypes: true,
    hasPositionIds: false,
    output: { name: 'last_hidden_state', of: 'token' },
    width: 48,
  });
  expect(describeEncoder(buildEncoder({ ...shape, tokenTypes: false, pooled: true }, 1))).toMatchObject({
    hasTokenTypes: false,
    output: { name: 'sentence_embedding', of: 'text' },
    width: 48,
  });
  expect(describeEncoder(buildEncoder({ ...shape, labels: 3 }, 1))).toMatchObject({
    kind: 'classifier',
    output: { name: 'logits', of: 'text' },
    width: 3,
  });
});

test('the kind of a model is seen by its graph, and by its configuration where that says nothing', () => {
  const unstated: Graph = { ...encoder, outputs: [{ name: 'logits', dtype: DTYPE.float32, dims: undefined }] };
  const decoder = buildDecoder({ ...shape, kvHeads: 2 }, 1);
  const cases: [Graph, ModelConfig, string][] = [
    [encoder, config, 'encoder'],
    [buildEncoder({ ...shape, labels: 2 }, 1), {}, 'classifier'],
    [unstated, { architectures: ['RobertaForSequenceClassification'] }, 'classifier'],
    [decoder, { architectures: ['LlamaForCausalLM'] }, 'decoder'],
    [decoder, {}, 'decoder'],
  ];
  for (const [graph, said, kind] of cases) expect(modelKindOf(graph, said)).toBe(kind);
});

test('what is no such encoder is refused, the input, output or architecture at fault named', () => {
  const withInput = (name: string, dtype: number = DTYPE.int64): Graph => ({
    ...encoder,
    inputs: [...encoder.inputs.filter((input) => input.name !== name), { name, dtype, dims: ['batch', 'sequence'] }],
  });
  const withOutput = (name: string, dims: readonly string[]): Graph => ({
    ...encoder,
    outputs: [{ name, dtype: DTYPE.float32, dims }],
  });
  const cases: [Graph, ModelConfig, RegExp][] = [
    [withInput('pixel_values', DTYPE.float32), {}, /reads images \(its input 'pixel_values'\)/],
    [withInput('input_features', DTYPE.float32), {}, /reads sound/],
    [withInput('encoder_hidden_states', DTYPE.float32), {}, /encoder-decoder \(its input 'encoder_hidden_states'\)/],
    [withInput('bbox'), {}, /feed to its input 'bbox'/],
    [withInput('input_ids', DTYPE.int32), {}, /'input_ids' is of type int32/],
    [encoder, { is_encoder_decoder: true, architectures: ['T5Model'] }, /encoder-decoder \(T5Model\)/],
    [withOutput('start_logits', ['batch', 'sequence']), {}, /of its outputs \('start_logits'\) none/],
    [
      withOutput('logits', ['batch', 'sequence', 'labels']),
      { architectures: ['BertForTokenClassification'] },
      /'logits' has rank 3 \(BertForTokenClassification\)/,
    ],
    [withOutput('last_hidden_state', ['batch', 'width']), {}, /'last_hidden_state' has rank 2, not 3/],
    [{ ...encoder, inputs: encoder.inputs.slice(1) }, {}, /no input 'input_ids'/],
  ];
  for (const [graph, said, message] of cases) expect(() => describeEncoder(graph, said)).toThrow(message);
});

const recipeOf = (over: Partial<TestEncoder>, change: EncoderTexts = {}): ReturnType<typeof readEncoderRecipe> => {
  const made: TestEncoder = { shape, seed: 1, ...over };
  const texts = { ...encoderFolderTexts(made), ...change };
  const said = JSON.parse(texts['config.json'] as string) as ModelConfig;
  return readEncoderRecipe(describeEncoder(buildEncoder(made.shape, 1), said), said, texts);
};

test("pooling, normalisation, longest text and cuttable lengths are read from sentence-transformers' files", () => {
  expect(recipeOf({ pooling: 'cls', tokensMax: 32, matryoshka: [12, 48] })).toEqual({
    pooling: ['cls'],
    normalize: true,
    tokensMax: 32,
    lowerCase: true,
    prompt: '',
    dimensions: 48,
    matryoshka: [12, 48],
    activation: 'none',
  });
  expect(recipeOf({ pooling: 'lasttoken', normalize: false })).toMatchObject({ pooling: ['last'], normalize: false });
  expect(recipeOf({})).toMatchObject({ pooling: ['mean'], normalize: false, tokensMax: 64 });
  expect(recipeOf({ pooling: 'mean', shape: { ...shape, pooled: true } })).toMatchObject({
    pooling: [],
    normalize: true,
  });
  const both = '{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}';
  expect(recipeOf({ pooling: 'mean' }, { '1_Pooling/config.json': both })).toMatchObject({
    pooling: ['cls', 'mean'],
    dimensions: 96,
  });
  const prompts = '{"prompts": {"query": "query: "}, "default_prompt_name": "query"}';
  expect(recipeOf({}, { 'config_sentence_transformers.json': prompts })).toMatchObject({ prompt: 'query: ' });
});

test("a classifier's labels and what makes probabilities of them are read as transformers reads them", () => {
  const classifier = { ...shape, labels: 2 };
  expect(recipeOf({ shape: classifier, labels: ['no', 'yes'] })).toMatchObject({
    labels: ['no', 'yes'],
    activation: 'softmax',
    dimensions: 2,
  });
  expect(recipeOf({ shape: classifier, problem: 'multi_label_classification' }).activation).toBe('sigmoid');
  expect(recipeOf({ shape: classifier, problem: 'regression' }).activation).toBe('none');
  expect(recipeOf({ shape: { ...shape, labels: 1 } }).activation).toBe('sigmoid');
  expect(labelsOf({ id2label: { 0: 'a', 2: 'c' } }, 3)).toEqual(['a', 'LABEL_1', 'c']);
});

test('a step that the engine does not run is refused by its name, and a file that is wrong by its own', () => {
  const modules = (type: string, path: string): EncoderTexts => ({
    'modules.json': JSON.stringify([{ idx: 0, type: `sentence_transformers.models.${type}`, path }]),
  });
  const pooling = (text: string): EncoderTexts => ({ '1_Pooling/config.json': text });
  const cases: [EncoderTexts, RegExp][] = [
    [modules('Dense', '2_Dense'), /modules\.json asks for Dense in '2_Dense'/],
    [pooling('{"pooling_mode_weightedmean_tokens": true}'), /"pooling_mode_weightedmean_tokens"/],
    [pooling('{"pooling_mode": "mystery"}'), /asks for "mystery"/],
    [pooling('{'), /1_Pooling\/config\.json is not JSON/],
    [pooling('[]'), /1_Pooling\/config\.json does not hold a JSON object/],
    [{ 'modules.json': '{}' }, /modules\.json does not hold a list/],
    [{ 'config_sentence_transformers.json': '{"default_prompt_name": "query"}' }, /the prompt "query"/],
  ];
  for (const [change, message] of cases) expect(() => recipeOf({ pooling: 'mean' }, change)).toThrow(message);
});

test('a built encoder runs in 32, 16 and 4 bits, and its mask hides what is masked', async () => {
  const graphs = [encoder, buildEncoder({ ...shape, bits: 16 }, 1), quantiseMatMul4(encoder)];
  const outputs: number[][] = [];
  for (const graph of graphs) {
    checkGraph(readGraph(writeGraph(graph)), { files: new Map() });
    const session = await openSession(graph);
    const run = async (ids: readonly number[], mask: readonly number[]): Promise<number[]> => {
      const dims = [1, ids.length];
      const feeds = {
        input_ids: int64(ids, dims),
        attention_mask: int64(mask, dims),
        token_type_ids: int64(
          mask.map(() => 0),
          dims,
        ),
      };
      const { data } = (await session.run(feeds))['last_hidden_state'] as { data: ArrayLike<number> };
      return Array.from(data).slice(0, 3 * 48);
    };
    const first = await run([2, 7, 3, 9], [1, 1, 1, 0]);
    expect(await run([2, 7, 3, 200], [1, 1, 1, 0])).toEqual(first);
    expect(await run([2, 7, 3, 200], [1, 1, 1, 1])).not.toEqual(first);
    outputs.push(first);
    await session.release();
  }
  const [exact = [], half = [], quarter = []] = outputs;
  const distance = (other: readonly number[]): number =>
    Math.max(...exact.map((v, i) => Math.abs(v - Number(other[i]))));
  expect(distance(half)).toBeLessThan(0.05);
  expect(distance(quarter)).toBeLessThan(1.5);
});

test('half precision is rounded to the nearest, as Float16Array does', () => {
  const Half = (globalThis as unknown as { Float16Array: new (values: Float32Array) => ArrayBufferView }).Float16Array;
  const values = Float32Array.from({ length: 4_000 }, (_, i) => (i % 2 === 0 ? 1 : -1) * 1.013 ** (i - 2_000));
  const { buffer } = new Half(values);
  expect(halfBits(values)).toEqual(new Uint16Array(buffer));
});
