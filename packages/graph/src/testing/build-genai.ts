/**
 * Decoders with random weights as ONNX Runtime GenAI builds them and as the hub's own conversions come: attention in
 * one operator, norms that add the residual, lengths worked out of the attention mask. Same shape, style and seed, same
 * bytes.
 */
import { createGraphBuilder, type Attributes } from '../builder.ts';
import { DTYPE } from '../dtypes.ts';
import type { Attribute, Graph } from '../graph.ts';
import { feedForward, residualShare, weight, type Parts, type TestDecoderShape } from './build-decoder.ts';
import { createSeededNumbers } from './seeds.ts';

export interface GenaiStyle {
  /** MultiHeadAttention takes a mask and as many key heads as heads; the cache is then its own too. */
  readonly attention?: 'group' | 'multi';
  /** Positions within the operator; by operators before it; or none. */
  readonly rotary?: 'inside' | 'before' | 'none';
  readonly interleaved?: boolean;
  /** Of each head, so many numbers are turned; all by default. */
  readonly turned?: number;
  /** Query, key and value in one input. */
  readonly packed?: boolean;
  /** Rows that each sees, its own included. */
  readonly window?: number;
  readonly cap?: number;
  readonly headWidth?: number;
}

const float = (value: number): Attribute => ({ kind: 'float', value });

export function buildGenai(shape: TestDecoderShape, style: GenaiStyle, seed: number): Graph {
  const { vocab, width, layers, kvHeads } = shape;
  const b = createGraphBuilder({ name: 'main_graph', opset: 14 });
  const headDim = style.headWidth ?? width / shape.heads;
  const parts: Parts = { b, numbers: createSeededNumbers(seed), shape, headDim, deviation: 1.2 / Math.sqrt(width) };
  b.input('input_ids', DTYPE.int64, ['batch_size', 'sequence_length']);
  b.input('attention_mask', DTYPE.int64, ['batch_size', 'total_sequence_length']);
  if (style.rotary === 'before') b.input('position_ids', DTYPE.int64, ['batch_size', 'sequence_length']);
  b.output('logits', DTYPE.float32, ['batch_size', 'sequence_length', vocab]);
  for (let layer = 0; layer < layers; layer++) {
    for (const part of ['key', 'value']) {
      b.input(`past_key_values.${layer}.${part}`, DTYPE.float32, ['batch_size', kvHeads, 'past_length', headDim]);
      b.output(`present.${layer}.${part}`, DTYPE.float32, ['batch_size', kvHeads, 'total_length', headDim]);
    }
  }
  const attend = style.attention === 'multi' ? multiHead(parts, style) : groupQuery(parts, style);
  let x = b.op('Gather', [weight(parts, 'model.embed_tokens.weight', vocab, width), 'input_ids'], { axis: 0 });
  let between = b.op('SimplifiedLayerNormalization', [x, normWeight(parts, 'layers.0.input')], normAttributes(shape));
  for (let layer = 0; layer < layers; layer++) {
    const heads = attend(layer, between);
    const columns = shape.heads * headDim;
    const added = b.op('MatMul', [heads, weight(parts, `layers.${layer}.o`, columns, width, residualShare(parts))]);
    [between, x] = skipNorm(parts, x, added, `layers.${layer}.post_attention`);
    const next = layer === layers - 1 ? 'layers.norm' : `layers.${layer + 1}.input`;
    [between, x] = skipNorm(parts, x, feedForward(parts, layer, between), next);
  }
  b.op('MatMul', [between, weight(parts, 'lm_head.weight', width, vocab)], {}, 'logits');
  return b.build();
}

const normAttributes = ({ eps }: TestDecoderShape): Attributes => ({
  axis: -1,
  epsilon: float(eps ?? 1e-5),
  stash_type: 1,
});

const normWeight = ({ b, shape }: Parts, name: string): string =>
  b.tensor(`${name}_layernorm.weight`, [shape.width], new Float32Array(shape.width).fill(1));

/** The norm of both together, and both together. */
function skipNorm(parts: Parts, x: string, skip: string, name: string): [normed: string, sum: string] {
  const { b, shape } = parts;
  const outputs = [b.uniqueName('normed'), b.uniqueName('sum')] as [string, string];
  const inputs = [x, skip, normWeight(parts, name)];
  b.node('com.microsoft.SkipSimplifiedLayerNormalization', inputs, { epsilon: float(shape.eps ?? 1e-5) }, [
    outputs[0],
    '',
    '',
    outputs[1],
  ]);
  return outputs;
}

type Attend = (layer: number, x: string) => string;

/** cos and sin of every position, [context, turned / 2]. */
function rotaryCaches({ b, shape, headDim }: Parts, { turned = headDim }: GenaiStyle): readonly [string, string] {
  const context = shape.context ?? 2_048;
  const half = turned / 2;
  const table = (name: string, of: (angle: number) => number): string =>
    b.tensor(
      name,
      [context, half],
      Float32Array.from({ length: context * half }, (_, at) =>
        of(Math.floor(at / half) / (shape.theta ?? 10_000) ** ((2 * (at % half)) / turned)),
      ),
    );
  return [table('cos_cache', Math.cos), table('sin_cache', Math.sin)];
}

function groupQuery(parts: Parts, style: GenaiStyle): Attend {
  const { b, shape, headDim } = parts;
  const { heads, kvHeads, width } = shape;
  // As in /model/attn_mask_reformat: how many positions there are, less one, and how many at most.
  const ones = b.op('ReduceSum', ['attention_mask', b.ints(1)], { keepdims: 1 });
  const before = b.op('Cast', [b.op('Sub', [ones, b.ints(1)])], { to: DTYPE.int32 });
  const total = b.op('Cast', [b.op('Gather', [b.op('Shape', ['attention_mask']), b.int(1)], { axis: 0 })], {
    to: DTYPE.int32,
  });
  const caches = style.rotary === 'none' ? ['', ''] : rotaryCaches(parts, style);
  const attributes: Attributes = {
    num_heads: heads,
    kv_num_heads: kvHeads,
    scale: float(1 / Math.sqrt(headDim)),
    local_window_size: style.window ?? -1,
    do_rotary: (style.rotary ?? 'inside') === 'inside' ? 1 : 0,
    rotary_interleaved: style.interleaved === true ? 1 : 0,
    softcap: float(style.cap ?? 0),
  };
  return (layer, x) => {
    const project = (name: string, columns: number): string =>
      b.op('MatMul', [x, weight(parts, `layers.${layer}.${name}`, width, columns)]);
    const turn = (name: string, count: number): string =>
      style.rotary === 'before' ? rotated(parts, style, caches, name, count) : name;
    const inputs =
      style.packed === true
        ? [project('qkv', (heads + 2 * kvHeads) * headDim), '', '']
        : [
            turn(project('q', heads * headDim), heads),
            turn(project('k', kvHeads * headDim), kvHeads),
            project('v', kvHeads * headDim),
          ];
    const output = b.uniqueName('attention');
    const past = ['key', 'value'].map((part) => `past_key_values.${layer}.${part}`);
    const inside = attributes['do_rotary'] === 1 ? caches : [];
    b.node('com.microsoft.GroupQueryAttention', [...inputs, ...past, before, total, ...inside], attributes, [
      output,
      ...['key', 'value'].map((part) => `present.${layer}.${part}`),
    ]);
    return output;
  };
}

function rotated(
  { b, headDim }: Parts,
  { interleaved, turned }: GenaiStyle,
  caches: readonly string[],
  name: string,
  heads: number,
): string {
  return b.op('com.microsoft.RotaryEmbedding', [name, 'position_ids', ...caches], {
    interleaved: interleaved === true ? 1 : 0,
    num_heads: heads,
    ...(turned === undefined || turned === headDim ? {} : { rotary_embedding_dim: turned }),
  });
}

/** With a mask that is added, made of the lengths of mask and tokens. */
function multiHead(parts: Parts, style: GenaiStyle): Attend {
  const { b, shape, headDim } = parts;
  const size = (name: string): string => b.op('Gather', [b.op('Shape', [name]), b.int(1)], { axis: 0 });
  const [total, rows] = [size('attention_mask'), size('input_ids')];
  const columns = b.op('Range', [b.int(0), total, b.int(1)]);
  const own = b.op('Unsqueeze', [b.op('Range', [b.op('Sub', [total, rows]), total, b.int(1)]), b.ints(1)]);
  const seen = b.op('LessOrEqual', [columns, own]);
  const near = (): string => b.op('Greater', [columns, b.op('Sub', [own, b.int(style.window ?? 0)])]);
  const kept = style.window === undefined ? seen : b.op('And', [seen, near()]);
  const mask = b.op('Unsqueeze', [b.op('Where', [kept, b.float(0), b.float(-3.4e38)]), b.ints(0, 1)]);
  const caches = rotaryCaches(parts, style);
  return (layer, x) => {
    const project = (name: string): string =>
      b.op('MatMul', [x, weight(parts, `layers.${layer}.${name}`, shape.width, shape.heads * headDim)]);
    const turn = (name: string): string =>
      style.rotary === 'before' ? rotated(parts, style, caches, name, shape.heads) : name;
    const output = b.uniqueName('attention');
    const past = ['key', 'value'].map((part) => `past_key_values.${layer}.${part}`);
    const inputs = [turn(project('q')), turn(project('k')), project('v'), '', '', mask, ...past];
    b.node('com.microsoft.MultiHeadAttention', inputs, { num_heads: shape.heads }, [
      output,
      ...['key', 'value'].map((part) => `present.${layer}.${part}`),
    ]);
    return output;
  };
}
