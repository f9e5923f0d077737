/**
 * An encoder of the BERT architecture with random weights, as Optimum would export it: opset 17, learned positions,
 * attention over all tokens under the mask, LayerNorm after each half, GELU. With `labels` it ends in BERT's pooler and
 * a classification head. Same shape and seed, same bytes. For benchmarks, and for tests that need a certain shape.
 */
import { createGraphBuilder } from '../builder.ts';
import type { GraphBuilder } from '../builder.ts';
import { DTYPE } from '../dtypes.ts';
import type { Graph } from '../graph.ts';
import { halfBits } from './half-bits.ts';
import { createSeededNumbers } from './seeds.ts';
import type { SeededNumbers } from './seeds.ts';

export interface TestEncoderShape {
  readonly vocab: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForward: number;
  /** Learned positions, so the graph runs no longer text. */
  readonly context: number;
  /** With the input `token_type_ids`; true by default. */
  readonly tokenTypes?: boolean;
  /** A classifier of so many labels, instead of an encoder. */
  readonly labels?: number;
  /** Of weights, arithmetic and output; 32 by default. */
  readonly bits?: 32 | 16;
  /** With `sentence_embedding` beside `token_embeddings`: the mean, normalised, in the graph itself. */
  readonly pooled?: boolean;
}

const WEIGHT_DEVIATION = 0.08;
const SPREAD = Math.sqrt(3);

interface Parts {
  readonly b: GraphBuilder;
  readonly numbers: SeededNumbers;
  readonly shape: TestEncoderShape;
  readonly dtype: number;
}

export function buildEncoder(shape: TestEncoderShape, seed: number): Graph {
  const { vocab, width, layers, context, labels, pooled = false, tokenTypes = true } = shape;
  const b = createGraphBuilder({ name: 'encoder' });
  const dtype = shape.bits === 16 ? DTYPE.float16 : DTYPE.float32;
  const parts: Parts = { b, numbers: createSeededNumbers(seed), shape, dtype };
  const ids = b.input('input_ids', DTYPE.int64, ['batch', 'sequence']);
  const mask = b.input('attention_mask', DTYPE.int64, ['batch', 'sequence']);
  let x = b.op('Gather', [weight(parts, 'words', vocab, width), ids], { axis: 0 });
  if (tokenTypes) {
    const types = b.input('token_type_ids', DTYPE.int64, ['batch', 'sequence']);
    x = b.op('Add', [x, b.op('Gather', [weight(parts, 'types', 2, width), types], { axis: 0 })]);
  }
  const length = b.op('Slice', [b.op('Shape', [ids]), b.ints(1), b.ints(2)]);
  const positions = b.op('Slice', [weight(parts, 'positions', context, width), b.ints(0), length, b.ints(0)]);
  x = layerNorm(parts, b.op('Add', [x, positions]), 'embedding_norm');
  const hidden = b.op('Sub', [constant(parts, 1), b.op('Cast', [mask], { to: dtype })]);
  const added = b.op('Unsqueeze', [b.op('Mul', [hidden, constant(parts, -10_000)]), b.ints(1, 2)]);
  for (let layer = 0; layer < layers; layer++) {
    const name = `layer.${layer}`;
    x = layerNorm(parts, b.op('Add', [x, attention(parts, name, x, added)]), `${name}.attention_norm`);
    x = layerNorm(parts, b.op('Add', [x, feedForward(parts, name, x)]), `${name}.feed_forward_norm`);
  }
  if (labels !== undefined) {
    const first = b.op('Gather', [x, b.int(0)], { axis: 1 });
    b.op(
      'Identity',
      [dense(parts, 'classes', b.op('Tanh', [dense(parts, 'pooler', first, width)]), labels)],
      {},
      'logits',
    );
    b.output('logits', dtype, ['batch', labels]);
    return b.build();
  }
  const name = pooled ? 'token_embeddings' : 'last_hidden_state';
  b.op('Identity', [x], {}, name);
  b.output(name, dtype, ['batch', 'sequence', width]);
  if (pooled) {
    const kept = b.op('Unsqueeze', [b.op('Cast', [mask], { to: dtype }), b.ints(2)]);
    const sum = b.op('ReduceSum', [b.op('Mul', [x, kept]), b.ints(1)], { keepdims: 0 });
    const mean = b.op('Div', [sum, b.op('ReduceSum', [kept, b.ints(1)], { keepdims: 0 })]);
    b.op('Div', [mean, b.op('ReduceL2', [mean], { axes: [1], keepdims: 1 })], {}, 'sentence_embedding');
    b.output('sentence_embedding', dtype, ['batch', width]);
  }
  return b.build();
}

function tensor({ b, dtype }: Parts, name: string, dims: readonly number[], values: Float32Array): string {
  return dtype === DTYPE.float16 ? b.tensor(name, dims, halfBits(values), dtype) : b.tensor(name, dims, values);
}

const weight = (parts: Parts, name: string, rows: number, columns: number): string =>
  tensor(parts, name, [rows, columns], parts.numbers.floats(rows * columns, WEIGHT_DEVIATION * SPREAD));

const constant = (parts: Parts, value: number): string =>
  parts.dtype === DTYPE.float16
    ? tensor(parts, parts.b.uniqueName('constant'), [], Float32Array.of(value))
    : parts.b.float(value);

function dense(parts: Parts, name: string, x: string, columns: number): string {
  const { b, numbers, shape } = parts;
  const rows = name.endsWith('.down') ? shape.feedForward : shape.width;
  const bias = tensor(parts, `${name}.bias`, [columns], numbers.floats(columns, WEIGHT_DEVIATION));
  return b.op('Add', [b.op('MatMul', [x, weight(parts, name, rows, columns)]), bias]);
}

function layerNorm(parts: Parts, x: string, name: string): string {
  const { width } = parts.shape;
  const scale = tensor(parts, `${name}.scale`, [width], new Float32Array(width).fill(1));
  const bias = tensor(parts, `${name}.bias`, [width], parts.numbers.floats(width, WEIGHT_DEVIATION));
  return parts.b.op('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: { kind: 'float', value: 1e-12 } });
}

function attention(parts: Parts, name: string, x: string, added: string): string {
  const { b, shape } = parts;
  const { width, heads } = shape;
  const split = (of: string): string =>
    b.op(
      'Transpose',
      [b.op('Reshape', [dense(parts, `${name}.${of}`, x, width), b.ints(0, 0, heads, width / heads)])],
      { perm: [0, 2, 1, 3] },
    );
  const [query, key, value] = [split('query'), split('key'), split('value')] as const;
  const products = b.op('MatMul', [query, b.op('Transpose', [key], { perm: [0, 1, 3, 2] })]);
  const scores = b.op('Add', [b.op('Mul', [products, constant(parts, 1 / Math.sqrt(width / heads))]), added]);
  const mixed = b.op('MatMul', [b.op('Softmax', [scores], { axis: -1 }), value]);
  const joined = b.op('Reshape', [b.op('Transpose', [mixed], { perm: [0, 2, 1, 3] }), b.ints(0, 0, width)]);
  return dense(parts, `${name}.output`, joined, width);
}

/** GELU written out with the error function. */
function feedForward(parts: Parts, name: string, x: string): string {
  const { b, shape } = parts;
  const up = dense(parts, `${name}.up`, x, shape.feedForward);
  const erf = b.op('Erf', [b.op('Mul', [up, constant(parts, Math.SQRT1_2)])]);
  const gate = b.op('Mul', [b.op('Add', [erf, constant(parts, 1)]), constant(parts, 0.5)]);
  return dense(parts, `${name}.down`, b.op('Mul', [up, gate]), shape.width);
}
