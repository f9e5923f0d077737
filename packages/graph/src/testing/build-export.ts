/**
 * Decoders with random weights as torch and Optimum export them, in plain operators, one style for each habit that real
 * files show: where positions come from, how scores are scaled and masked, how projections are laid out. Same shape,
 * style and seed, same bytes.
 */
import { createGraphBuilder } from '../builder.ts';
import { DTYPE } from '../dtypes.ts';
import type { Graph } from '../graph.ts';
import {
  feedForward,
  repeatHeads,
  residualShare,
  rmsNorm,
  rotaryTables,
  rotate,
  splitHeads,
  weight,
  type Parts,
  type Rotary,
  type TestDecoderShape,
} from './build-decoder.ts';
import { createSeededNumbers } from './seeds.ts';

export interface ExportStyle {
  /** Llama: RMS norms, rotary positions, SwiGLU. GPT-2: norms and products with a bias, learned positions, Gelu. */
  readonly family?: 'llama' | 'gpt2';
  /** An input; counted in the attention mask; or following the length of the cache. */
  readonly positions?: 'input' | 'mask' | 'past';
  /** Angles computed from positions, or looked up in a table that is cut to the positions so far. */
  readonly rotary?: 'computed' | 'table';
  /** After the product with a number; or √ of it on both sides, computed from the query's shape. */
  readonly scale?: 'number' | 'roots';
  /** −3.4 × 10³⁸ added above the diagonal; or chosen in place of scores. */
  readonly mask?: 'add' | 'where';
  /** Weights that are no numbers become 0, as torch's attention guards rows that see nothing. */
  readonly guard?: boolean;
  /** One product for query, key and value, and a Split. */
  readonly packed?: boolean;
  /** The table of embeddings is the last matrix too. */
  readonly tied?: boolean;
  /** ONNX's own Attention, of opset 23, over the cache; of the family GPT-2 only, whose norms are operators too. */
  readonly operator?: boolean;
  /** Width of a head where it is not the share of the whole. */
  readonly headWidth?: number;
  /** What makes attention other than causal: rows seen; a slope over distance; scores kept below a bound. */
  readonly window?: number;
  readonly slope?: number;
  readonly cap?: number;
  /** Rotary frequencies shrink beyond so many positions, by the longest in the run: dynamic scaling. */
  readonly stretchedBeyond?: number;
}

interface Context extends Parts {
  readonly style: ExportStyle;
  /** int64 [1, sequence] */
  readonly ids: string;
  /** Booleans, true where a row sees. */
  readonly seen: string;
  readonly rotary: Rotary | undefined;
}

const FLOAT_LOWEST = -3.4028234663852886e38;

export function buildExport(shape: TestDecoderShape, style: ExportStyle, seed: number): Graph {
  const { vocab, width, layers, kvHeads } = shape;
  const b = createGraphBuilder({ name: 'main_graph', ...(style.operator === true && { opset: 23, irVersion: 11 }) });
  const headDim = style.headWidth ?? width / shape.heads;
  const parts: Parts = { b, numbers: createSeededNumbers(seed), shape, headDim, deviation: 1.2 / Math.sqrt(width) };
  b.input('input_ids', DTYPE.int64, ['batch_size', 'sequence_length']);
  b.input('attention_mask', DTYPE.int64, ['batch_size', 'total_length']);
  if ((style.positions ?? 'input') === 'input') b.input('position_ids', DTYPE.int64, ['batch_size', 'sequence_length']);
  b.output('logits', DTYPE.float32, ['batch_size', 'sequence_length', vocab]);
  for (let layer = 0; layer < layers; layer++) {
    for (const part of ['key', 'value']) {
      b.input(`past_key_values.${layer}.${part}`, DTYPE.float32, ['batch_size', kvHeads, 'past_length', headDim]);
      b.output(`present.${layer}.${part}`, DTYPE.float32, ['batch_size', kvHeads, 'total_length', headDim]);
    }
  }
  const ids = positionsOf(parts, style);
  const embedding = weight(parts, 'embedding', vocab, width);
  let x = b.op('Gather', [embedding, 'input_ids'], { axis: 0 });
  const isGpt = style.family === 'gpt2';
  if (isGpt) x = b.op('Add', [x, b.op('Gather', [weight(parts, 'positions', shape.context ?? 2_048, width), ids])]);
  const rotary = isGpt ? undefined : rotaryOf(parts, style, ids);
  const context: Context = { ...parts, style, ids, seen: seenOf(parts, style, ids), rotary };
  for (let layer = 0; layer < layers; layer++) {
    x = b.op('Add', [x, attention(context, layer, norm(context, x, `layer.${layer}.attention_norm`))]);
    const between = norm(context, x, `layer.${layer}.feed_forward_norm`);
    x = b.op('Add', [x, isGpt ? gelu(context, layer, between) : feedForward(parts, layer, between)]);
  }
  const head =
    style.tied === true ? b.op('Transpose', [embedding], { perm: [1, 0] }) : weight(parts, 'head', width, vocab);
  b.op('MatMul', [norm(context, x, 'norm'), head], {}, 'logits');
  return b.build();
}

/** int64 [1] of one axis. */
const sizeOf = ({ b }: Parts, name: string, axis: number): string =>
  b.op('Unsqueeze', [b.op('Gather', [b.op('Shape', [name]), b.int(axis)], { axis: 0 }), b.ints(0)]);

const scalarOf = ({ b }: Parts, name: string, axis: number): string =>
  b.op('Gather', [b.op('Shape', [name]), b.int(axis)], { axis: 0 });

function positionsOf(parts: Parts, { positions = 'input' }: ExportStyle): string {
  const { b } = parts;
  if (positions === 'input') return 'position_ids';
  const past = scalarOf(parts, 'past_key_values.0.key', 2);
  if (positions === 'past') {
    const total = b.op('Add', [past, scalarOf(parts, 'input_ids', 1)]);
    return b.op('Unsqueeze', [b.op('Range', [past, total, b.int(1)]), b.ints(0)]);
  }
  const counted = b.op('Sub', [b.op('CumSum', ['attention_mask', b.int(1)]), b.int(1)]);
  const hidden = b.op('Equal', ['attention_mask', b.int(0)]);
  const all = b.op('Where', [hidden, b.int(1), counted]);
  const from = b.op('Unsqueeze', [past, b.ints(0)]);
  return b.op('Slice', [all, from, b.ints(Number.MAX_SAFE_INTEGER), b.ints(1)]);
}

function rotaryOf(parts: Parts, style: ExportStyle, ids: string): Rotary {
  const { b, shape, headDim } = parts;
  if (style.stretchedBeyond !== undefined) return stretched(parts, ids, style.stretchedBeyond);
  if (style.rotary !== 'table') return rotaryTables(parts, ids);
  const context = shape.context ?? 2_048;
  const angle = (at: number): number =>
    Math.floor(at / headDim) / (shape.theta ?? 10_000) ** ((2 * (at % (headDim / 2))) / headDim);
  const table = (name: string, of: (angle: number) => number): string => {
    const values = Float32Array.from({ length: context * headDim }, (_, at) => of(angle(at)));
    const total = b.op('Add', [sizeOf(parts, 'past_key_values.0.key', 2), sizeOf(parts, 'input_ids', 1)]);
    const cut = b.op('Slice', [b.tensor(name, [context, headDim], values), b.ints(0), total, b.ints(0)]);
    return b.op('Unsqueeze', [b.op('Gather', [cut, ids], { axis: 0 }), b.ints(1)]);
  };
  return { cos: table('cos_cached', Math.cos), sin: table('sin_cached', Math.sin) };
}

function stretched(parts: Parts, ids: string, beyond: number): Rotary {
  const { b } = parts;
  const longest = b.op('Cast', [b.op('ReduceMax', [ids], { keepdims: 0 })], { to: DTYPE.float32 });
  const factor = b.op('Max', [b.op('Div', [longest, b.float(beyond)]), b.float(1)]);
  const { cos, sin } = rotaryTables(parts, ids);
  return { cos: b.op('Div', [cos, factor]), sin: b.op('Div', [sin, factor]) };
}

/** bool [1, 1, sequence, total] */
function seenOf(parts: Parts, { window }: ExportStyle, ids: string): string {
  const { b } = parts;
  const columns = b.op('Range', [b.int(0), scalarOf(parts, 'attention_mask', 1), b.int(1)]);
  const rows = b.op('Unsqueeze', [ids, b.ints(1, 3)]);
  const allowed = b.op('Cast', [b.op('Unsqueeze', ['attention_mask', b.ints(1, 2)])], { to: DTYPE.bool });
  const seen = b.op('And', [b.op('LessOrEqual', [columns, rows]), allowed]);
  if (window === undefined) return seen;
  return b.op('And', [seen, b.op('Greater', [columns, b.op('Sub', [rows, b.int(window)])])]);
}

function attention(context: Context, layer: number, x: string): string {
  const { b, shape, style, rotary } = context;
  const { heads, kvHeads } = shape;
  const [query, newKey, value] = projected(context, layer, x);
  const turned = (name: string): string => (rotary === undefined ? name : rotate(context, name, rotary));
  const back = (mixed: string): string => joined(context, layer, x, mixed);
  if (style.operator === true) {
    const parts = [
      turned(splitHeads(context, query, heads)),
      ...[newKey, value].map((each) => splitHeads(context, each, kvHeads)),
    ];
    return back(fused(context, layer, parts));
  }
  const past = (part: string, added: string): string =>
    b.op('Concat', [`past_key_values.${layer}.${part}`, added], { axis: -2 }, `present.${layer}.${part}`);
  const key = repeatHeads(context, past('key', turned(splitHeads(context, newKey, kvHeads))));
  const values = repeatHeads(context, past('value', splitHeads(context, value, kvHeads)));
  const weights = masked(context, turned(splitHeads(context, query, heads)), key);
  return back(b.op('MatMul', [weights, values]));
}

/** One operator from query, key and value to what they are mixed to, its mask of booleans. */
function fused({ b, seen }: Context, layer: number, parts: readonly string[]): string {
  const output = b.uniqueName('attention');
  const of = (name: string): string[] => ['key', 'value'].map((part) => `${name}.${layer}.${part}`);
  b.node('Attention', [...parts, seen, ...of('past_key_values')], {}, [output, ...of('present')]);
  return output;
}

function joined(context: Context, layer: number, x: string, mixed: string): string {
  const { b, shape, headDim } = context;
  const columns = shape.heads * headDim;
  const turned = b.op('Transpose', [mixed], { perm: [0, 2, 1, 3] });
  // Sizes are those that came in, as torch keeps them over the attention.
  const sizes = b.op('Concat', [sizeOf(context, x, 0), sizeOf(context, x, 1), b.ints(columns)], { axis: 0 });
  const flat = b.op('Reshape', [turned, sizes]);
  return project(context, flat, `layer.${layer}.output`, columns, shape.width, residualShare(context));
}

function projected(context: Context, layer: number, x: string): [query: string, key: string, value: string] {
  const { b, shape, headDim, style } = context;
  const widths = [shape.heads, shape.kvHeads, shape.kvHeads].map((count) => count * headDim);
  const name = (part: string): string => `layer.${layer}.${part}`;
  if (style.packed !== true)
    return ['query', 'key', 'value'].map((part, i) =>
      project(context, x, name(part), shape.width, widths[i] as number),
    ) as [string, string, string];
  const total = widths.reduce((sum, size) => sum + size, 0);
  const outputs = ['q', 'k', 'v'].map((part) => b.uniqueName(part)) as [string, string, string];
  const packed = project(context, x, name('query_key_value'), shape.width, total);
  b.node('Split', [packed, b.ints(...widths)], { axis: 2 }, outputs);
  return outputs;
}

/** A product; of GPT-2 with a bias, over two axes, as torch writes its Conv1D. */
function project(context: Context, x: string, name: string, rows: number, columns: number, share = 1): string {
  const { b, numbers, style } = context;
  const matrix = weight(context, name, rows, columns, share);
  if (style.family !== 'gpt2') return b.op('MatMul', [x, matrix]);
  const bias = b.tensor(`${name}.bias`, [columns], numbers.floats(columns, 0.1));
  const sizes = b.op('Concat', [sizeOf(context, x, 0), sizeOf(context, x, 1), b.ints(columns)], { axis: 0 });
  const flat = b.op('Gemm', [b.op('Reshape', [x, b.ints(-1, rows)]), matrix, bias]);
  return b.op('Reshape', [flat, sizes]);
}

function masked(context: Context, query: string, key: string): string {
  const { b, headDim, style, seen } = context;
  const columns = b.op('Transpose', [key], { perm: [0, 1, 3, 2] });
  let scores: string;
  if (style.scale === 'roots') {
    const width = b.op('Cast', [b.op('Gather', [b.op('Shape', [query]), b.ints(3)])], { to: DTYPE.float32 });
    const root = (): string => b.op('Sqrt', [b.op('Div', [b.float(1), b.op('Sqrt', [width])])]);
    scores = b.op('MatMul', [b.op('Mul', [query, root()]), b.op('Mul', [columns, root()])]);
  } else scores = b.op('Div', [b.op('MatMul', [query, columns]), b.float(Math.sqrt(headDim))]);
  if (style.cap !== undefined)
    scores = b.op('Mul', [b.op('Tanh', [b.op('Div', [scores, b.float(style.cap)])]), b.float(style.cap)]);
  if (style.slope !== undefined) scores = b.op('Add', [scores, sloped(context, style.slope)]);
  const hidden =
    style.mask === 'where'
      ? b.op('Where', [seen, scores, b.float(FLOAT_LOWEST)])
      : b.op('Add', [scores, b.op('Where', [seen, b.float(0), b.float(FLOAT_LOWEST)])]);
  const weights = b.op('Softmax', [hidden], { axis: -1 });
  return style.guard === true ? b.op('Where', [b.op('IsNaN', [weights]), b.float(0), weights]) : weights;
}

/** ALiBi: the farther, the less. */
function sloped(context: Context, slope: number): string {
  const { b, ids } = context;
  const columns = b.op('Range', [b.int(0), scalarOf(context, 'attention_mask', 1), b.int(1)]);
  const distance = b.op('Sub', [columns, b.op('Unsqueeze', [ids, b.ints(1, 3)])]);
  return b.op('Mul', [b.op('Cast', [distance], { to: DTYPE.float32 }), b.float(slope)]);
}

function norm(context: Context, x: string, name: string): string {
  const { b, numbers, shape, style } = context;
  if (style.family !== 'gpt2') return rmsNorm(context, x, name);
  const scale = b.tensor(`${name}.scale`, [shape.width], new Float32Array(shape.width).fill(1));
  const bias = b.tensor(`${name}.bias`, [shape.width], numbers.floats(shape.width, 0.1));
  return b.op('LayerNormalization', [x, scale, bias], { axis: -1, epsilon: { kind: 'float', value: 1e-5 } });
}

/** GPT-2's, with the tangent. */
function gelu(context: Context, layer: number, x: string): string {
  const { b, shape } = context;
  const { width, feedForward: inner } = shape;
  const up = project(context, x, `layer.${layer}.up`, width, inner);
  const cube = b.op('Mul', [b.op('Pow', [up, b.float(3)]), b.float(0.044715)]);
  const angle = b.op('Mul', [b.op('Add', [up, cube]), b.float(Math.sqrt(2 / Math.PI))]);
  const gate = b.op('Add', [b.op('Tanh', [angle]), b.float(1)]);
  const open = b.op('Mul', [b.op('Mul', [up, b.float(0.5)]), gate]);
  return project(context, open, `layer.${layer}.down`, inner, width, residualShare(context));
}
