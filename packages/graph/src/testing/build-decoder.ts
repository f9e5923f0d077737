/**
 * A decoder of the Llama architecture with random weights, as Optimum would export it: opset 17, RMS norms and rotary
 * positions written out in plain operators, grouped key-value heads, SwiGLU. Same shape and seed, same bytes. It says
 * nothing sensible, at the speed of one that would: for benchmarks, and for tests that need a model of a certain shape.
 */
import { createGraphBuilder } from '../builder.ts';
import type { GraphBuilder } from '../builder.ts';
import { DTYPE } from '../dtypes.ts';
import type { Graph } from '../graph.ts';
import { createSeededNumbers } from './seeds.ts';
import type { SeededNumbers } from './seeds.ts';

export interface TestDecoderShape {
  readonly vocab: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly feedForward: number;
  /**
   * Positions that the model's folder declares; rotary positions are computed, so the graph itself has no bound. 2,048
   * by default.
   */
  readonly context?: number;
  /** Base of the rotary frequencies; 10,000 by default. */
  readonly theta?: number;
  /** Of the RMS norms; 1e-5 by default. */
  readonly eps?: number;
}

/** Standard deviation of the weights, and what makes an even spread of it. */
const WEIGHT_DEVIATION = 0.02;
const SPREAD = Math.sqrt(3);

/** What the builders of decoders have in common. */
export interface Parts {
  readonly b: GraphBuilder;
  readonly numbers: SeededNumbers;
  readonly shape: TestDecoderShape;
  readonly headDim: number;
  /** Standard deviation of the weights; 0.02 by default, as large models begin. */
  readonly deviation?: number;
}

export interface Rotary {
  readonly cos: string;
  readonly sin: string;
}

interface Shared extends Rotary {
  /** [batch, 1, sequence, total]: 0 where a position may be seen, -1e9 where not. */
  readonly mask: string;
}

export function buildDecoder(shape: TestDecoderShape, seed: number): Graph {
  const { vocab, width, layers, heads, kvHeads } = shape;
  const b = createGraphBuilder({ name: 'decoder' });
  const parts: Parts = { b, numbers: createSeededNumbers(seed), shape, headDim: width / heads };
  const ids = b.input('input_ids', DTYPE.int64, ['batch', 'sequence']);
  b.input('attention_mask', DTYPE.int64, ['batch', 'total']);
  b.input('position_ids', DTYPE.int64, ['batch', 'sequence']);
  b.output('logits', DTYPE.float32, ['batch', 'sequence', vocab]);
  for (let layer = 0; layer < layers; layer++) {
    for (const part of ['key', 'value']) {
      b.input(`past_key_values.${layer}.${part}`, DTYPE.float32, ['batch', kvHeads, 'past', parts.headDim]);
      b.output(`present.${layer}.${part}`, DTYPE.float32, ['batch', kvHeads, 'total', parts.headDim]);
    }
  }
  const shared = { ...rotaryTables(parts, 'position_ids'), mask: causalMask(parts) };
  let x = b.op('Gather', [weight(parts, 'embedding', vocab, width), ids], { axis: 0 });
  for (let layer = 0; layer < layers; layer++) {
    x = b.op('Add', [x, attention(parts, layer, rmsNorm(parts, x, `layer.${layer}.attention_norm`), shared)]);
    x = b.op('Add', [x, feedForward(parts, layer, rmsNorm(parts, x, `layer.${layer}.feed_forward_norm`))]);
  }
  b.op('MatMul', [rmsNorm(parts, x, 'norm'), weight(parts, 'head', width, vocab)], {}, 'logits');
  return b.build();
}

export function weight(
  { b, numbers, deviation = WEIGHT_DEVIATION }: Parts,
  name: string,
  rows: number,
  columns: number,
  share = 1,
): string {
  return b.tensor(name, [rows, columns], numbers.floats(rows * columns, deviation * SPREAD * share));
}

/** What is added to the residual stream gets smaller weights, the more layers add to it (GPT-2's initialisation). */
export const residualShare = ({ shape }: Parts): number => 1 / Math.sqrt(2 * shape.layers);

export function rotaryTables({ b, shape, headDim }: Parts, ids: string): Rotary {
  const frequencies = Float32Array.from(
    { length: headDim / 2 },
    (_, i) => (shape.theta ?? 10_000) ** ((-2 * i) / headDim),
  );
  const inverse = b.tensor('inverse_frequency', [1, 1, headDim / 2], frequencies);
  const positions = b.op('Unsqueeze', [b.op('Cast', [ids], { to: DTYPE.float32 }), b.ints(2)]);
  const angles = b.op('Mul', [positions, inverse]);
  const both = b.op('Unsqueeze', [b.op('Concat', [angles, angles], { axis: 2 }), b.ints(1)]);
  return { cos: b.op('Cos', [both]), sin: b.op('Sin', [both]) };
}

/** A position sees those up to itself that the attention mask allows. */
function causalMask({ b }: Parts): string {
  const total = b.op('Squeeze', [b.op('Slice', [b.op('Shape', ['attention_mask']), b.ints(1), b.ints(2)]), b.ints(0)]);
  const columns = b.op('Range', [b.int(0), total, b.int(1)]);
  const causal = b.op('LessOrEqual', [columns, b.op('Unsqueeze', ['position_ids', b.ints(1, 3)])]);
  const allowed = b.op('Cast', [b.op('Unsqueeze', ['attention_mask', b.ints(1, 2)])], { to: DTYPE.bool });
  return b.op('Where', [b.op('And', [causal, allowed]), b.float(0), b.float(-1e9)]);
}

export function rmsNorm({ b, shape }: Parts, x: string, name: string): string {
  const scale = b.tensor(name, [shape.width], new Float32Array(shape.width).fill(1));
  const meanSquare = b.op('ReduceMean', [b.op('Pow', [x, b.float(2)])], { axes: [-1], keepdims: 1 });
  const root = b.op('Sqrt', [b.op('Add', [meanSquare, b.float(shape.eps ?? 1e-5)])]);
  return b.op('Mul', [b.op('Mul', [x, b.op('Div', [b.float(1), root])]), scale]);
}

function attention(parts: Parts, layer: number, x: string, shared: Shared): string {
  const { b, shape, headDim } = parts;
  const { width, heads, kvHeads } = shape;
  const project = (name: string, columns: number): string =>
    b.op('MatMul', [x, weight(parts, `layer.${layer}.${name}`, width, columns)]);
  const query = rotate(parts, splitHeads(parts, project('query', width), heads), shared);
  const newKey = rotate(parts, splitHeads(parts, project('key', kvHeads * headDim), kvHeads), shared);
  const newValue = splitHeads(parts, project('value', kvHeads * headDim), kvHeads);
  const key = b.op('Concat', [`past_key_values.${layer}.key`, newKey], { axis: 2 }, `present.${layer}.key`);
  const value = b.op('Concat', [`past_key_values.${layer}.value`, newValue], { axis: 2 }, `present.${layer}.value`);
  const keyColumns = b.op('Transpose', [repeatHeads(parts, key)], { perm: [0, 1, 3, 2] });
  const scores = b.op('Mul', [b.op('MatMul', [query, keyColumns]), b.float(1 / Math.sqrt(headDim))]);
  const weights = b.op('Softmax', [b.op('Add', [scores, shared.mask])], { axis: -1 });
  const mixed = b.op('Transpose', [b.op('MatMul', [weights, repeatHeads(parts, value)])], { perm: [0, 2, 1, 3] });
  const joined = b.op('Reshape', [mixed, b.ints(0, 0, width)]);
  return b.op('MatMul', [joined, weight(parts, `layer.${layer}.output`, width, width, residualShare(parts))]);
}

/** [batch, sequence, heads × head width] → [batch, heads, sequence, head width] */
export function splitHeads({ b, headDim }: Parts, x: string, heads: number): string {
  return b.op('Transpose', [b.op('Reshape', [x, b.ints(0, 0, heads, headDim)])], { perm: [0, 2, 1, 3] });
}

export function rotate({ b, headDim }: Parts, x: string, { cos, sin }: Rotary): string {
  const half = headDim / 2;
  const first = b.op('Slice', [x, b.ints(0), b.ints(half), b.ints(3)]);
  const second = b.op('Slice', [x, b.ints(half), b.ints(headDim), b.ints(3)]);
  const turned = b.op('Concat', [b.op('Neg', [second]), first], { axis: 3 });
  return b.op('Add', [b.op('Mul', [x, cos]), b.op('Mul', [turned, sin])]);
}

/** Each key-value head serves `heads / kvHeads` neighbouring query heads. */
export function repeatHeads({ b, shape, headDim }: Parts, x: string): string {
  const group = shape.heads / shape.kvHeads;
  if (group === 1) return x;
  const sizes = b.op('Shape', [x]);
  const batch = b.op('Slice', [sizes, b.ints(0), b.ints(1)]);
  const total = b.op('Slice', [sizes, b.ints(2), b.ints(3)]);
  const wide = b.op('Concat', [batch, b.ints(shape.kvHeads, group), total, b.ints(headDim)], { axis: 0 });
  const flat = b.op('Concat', [batch, b.ints(shape.heads), total, b.ints(headDim)], { axis: 0 });
  return b.op('Reshape', [b.op('Expand', [b.op('Unsqueeze', [x, b.ints(2)]), wide]), flat]);
}

export function feedForward(parts: Parts, layer: number, x: string): string {
  const { b, shape } = parts;
  const project = (name: string): string =>
    b.op('MatMul', [x, weight(parts, `layer.${layer}.${name}`, shape.width, shape.feedForward)]);
  const gate = project('gate');
  const gated = b.op('Mul', [b.op('Mul', [gate, b.op('Sigmoid', [gate])]), project('up')]);
  return b.op('MatMul', [
    gated,
    weight(parts, `layer.${layer}.down`, shape.feedForward, shape.width, residualShare(parts)),
  ]);
}
