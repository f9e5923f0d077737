import { expect, test } from 'vitest';
import { chooseGraph, type GraphChoice, type ListedFile, type Quant } from './graph-files.ts';

const MB = 1_000_000;
const list = (sizes: Readonly<Record<string, number>>): ListedFile[] =>
  Object.entries(sizes).map(([path, megabytes]) => ({ path, bytes: megabytes * MB }));
const choose = (sizes: Readonly<Record<string, number>>, quant?: Quant): GraphChoice =>
  chooseGraph(list(sizes), quant, 'hf:acme/tiny');

/** As `onnx-community` lays out a large model. */
const LARGE = {
  'onnx/model.onnx': 1,
  'onnx/model.onnx_data': 2_000,
  'onnx/model.onnx_data_1': 1_500,
  'onnx/model_fp16.onnx': 1,
  'onnx/model_fp16.onnx_data': 1_750,
  'onnx/model_q4.onnx': 1,
  'onnx/model_q4.onnx_data': 900,
  'onnx/model_q4f16.onnx': 800,
  'onnx/model_quantized.onnx': 880,
  'model.safetensors': 3_500,
};

test('a graph of up to a gigabyte is taken in full precision, a larger one in 4 bits where there is one', () => {
  const small = { 'onnx/model.onnx': 540, 'onnx/model_q4.onnx': 120 };
  expect(choose(small)).toMatchObject({ quant: 'f32', path: 'onnx/model.onnx', sides: [], quants: ['q4', 'f32'] });
  expect(choose(LARGE)).toMatchObject({ quant: 'q4', path: 'onnx/model_q4.onnx', sides: ['onnx/model_q4.onnx_data'] });
  expect(choose(LARGE).why).toBe('the one in full precision has 3.5 GB');
  const only = { 'onnx/model.onnx': 1, 'onnx/model.onnx_data': 3_000 };
  expect(choose(only)).toMatchObject({ quant: 'f32', why: 'there is no smaller one; it has 3.0 GB' });
  expect(choose({ 'onnx/model_q4f16.onnx': 800, 'onnx/model_fp16.onnx': 1_700 })).toMatchObject({ quant: 'f16' });
});

test('what is asked for is taken with its own side files, or what there is instead is named', () => {
  expect(choose(LARGE, 'f32')).toMatchObject({
    bytes: 3_501 * MB,
    sides: ['onnx/model.onnx_data', 'onnx/model.onnx_data_1'],
  });
  expect(choose(LARGE, 'q8')).toMatchObject({ path: 'onnx/model_quantized.onnx', sides: [] });
  expect(choose(LARGE, 'q4f16')).toMatchObject({ path: 'onnx/model_q4f16.onnx', why: 'as asked' });
  expect(() => choose({ 'model.onnx': 1, 'onnx/model_fp16.onnx': 1 }, 'q4')).toThrow(
    'hf:acme/tiny holds no q4 graph; it has f16, f32',
  );
});

test('graphs lie in onnx/ or beside the texts, and side files are named in several ways', () => {
  const sides = { 'model.onnx': 1, 'model.onnx.data': 2, 'model.onnx_data_12': 3, 'model.onnx_database': 4 };
  expect(choose(sides).sides).toEqual(['model.onnx.data', 'model.onnx_data_12']);
  expect(choose({ ...sides, 'onnx/model.onnx': 5 }).path).toBe('onnx/model.onnx');
});

test('no graph at all is refused with what to do about it', () => {
  expect(() => choose({ 'model.safetensors': 500, 'onnx/encoder_model.onnx': 5 })).toThrow(
    /hf:acme\/tiny holds no onnx\/model\.onnx and no model\.onnx; export .*optimum-cli export onnx/,
  );
});
