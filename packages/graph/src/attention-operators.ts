/**
 * Attention in one operator: GroupQueryAttention, as ONNX Runtime GenAI builds it and the hub's own conversions have
 * it, MultiHeadAttention, as ONNX Runtime's optimiser fuses it, and ONNX's Attention, as newer exporters of torch
 * write it.
 */
import { unsupported, type AttentionSite, type Draft } from './attention-draft.ts';
import type { Attributes } from './builder.ts';
import type { DecoderShape } from './decoder.ts';
import { attributeOf, nodeTitle, type Node } from './graph.ts';

const MICROSOFT = 'com.microsoft';

/** The attention that this node computes; `undefined` when it is no such operator. Throws `model_unsupported`. */
export function operatorAttention(draft: Draft, shape: DecoderShape, node: Node): AttentionSite | undefined {
  if (node.domain === MICROSOFT && node.op === 'GroupQueryAttention') return groupQuery(draft, shape, node);
  if (node.domain === MICROSOFT && node.op === 'MultiHeadAttention') return multiHead(draft, shape, node);
  if (node.domain === '' && node.op === 'Attention') return standard(shape, node);
  return undefined;
}

const numberOf = (node: Node, name: string): number => Number(attributeOf(node, name, 'int') ?? 0);

const scaleOf = (node: Node, headDim: number): number => {
  const scale = attributeOf(node, 'scale', 'float') ?? 0;
  return scale === 0 ? 1 / Math.sqrt(headDim) : scale;
};

/** Inputs of GroupQueryAttention by position. */
const GQA = { query: 0, key: 1, value: 2, cos: 7, sin: 8, positions: 9 } as const;
const GQA_INPUTS_MAX = 10;

function groupQuery(draft: Draft, { kvHeads, headDim }: DecoderShape, node: Node): AttentionSite {
  const heads = numberOf(node, 'num_heads');
  const extra = node.inputs.slice(GQA_INPUTS_MAX).some((input) => input !== '');
  if (extra || (attributeOf(node, 'softcap', 'float') ?? 0) !== 0 || numberOf(node, 'smooth_softmax') > 0)
    throw unsupported(`${nodeTitle(node)} caps, biases or smooths its scores`);
  const positions = node.inputs[GQA.positions] ?? '';
  if (positions !== '' && positions !== 'position_ids')
    throw unsupported(`${nodeTitle(node)} has positions of its own ('${positions}')`);
  const names = splitHeads(draft, node, heads, kvHeads, headDim);
  const turned = (name: string, count: number): string =>
    numberOf(node, 'do_rotary') === 1 ? rotated(draft, node, name, count, headDim) : name;
  return {
    query: turned(names.query, heads),
    key: turned(names.key, kvHeads),
    value: names.value,
    result: node.outputs[0] as string,
    layout: 'rows',
    scale: scaleOf(node, headDim),
    window: Math.max(0, numberOf(node, 'local_window_size')),
  };
}

type Parts = Readonly<Record<'query' | 'key' | 'value', string>>;

/** Query, key and value, which may come packed as one. */
function splitHeads({ builder }: Draft, node: Node, heads: number, kvHeads: number, headDim: number): Parts {
  const [packed, key, value] = node.inputs as readonly [string, string, string];
  if (key !== '') return { query: packed, key, value };
  const parts = ['query', 'key', 'value'].map((part) => builder.uniqueName(part)) as [string, string, string];
  const widths = builder.ints(heads * headDim, kvHeads * headDim, kvHeads * headDim);
  builder.node('Split', [packed, widths], { axis: 2 }, parts);
  return { query: parts[0], key: parts[1], value: parts[2] };
}

/** Rotary positions, which the operator would apply itself. */
function rotated({ builder, graph }: Draft, node: Node, name: string, heads: number, headDim: number): string {
  const [cos, sin] = [node.inputs[GQA.cos], node.inputs[GQA.sin]];
  const cache = graph.tensors.get(cos ?? '');
  if (cos === undefined || sin === undefined || cache === undefined)
    throw unsupported(`${nodeTitle(node)} computes its table of rotary positions`);
  const width = 2 * (cache.dims[1] ?? 0);
  const attributes: Attributes = {
    interleaved: numberOf(node, 'rotary_interleaved'),
    num_heads: heads,
    ...(width === headDim ? {} : { rotary_embedding_dim: width }),
  };
  return builder.op(`${MICROSOFT}.RotaryEmbedding`, [name, 'position_ids', cos, sin], attributes);
}

/** Inputs of MultiHeadAttention by position. */
const MHA = { bias: 3, padding: 4, added: 5, pastKey: 6 } as const;

function multiHead({ graph }: Draft, { headDim, kvHeads }: DecoderShape, node: Node): AttentionSite {
  const [query, key, value] = node.inputs as readonly [string, string, string];
  const given = (at: number): string => node.inputs[at] ?? '';
  const [pastKey, pastValue, ...more] = node.inputs.slice(MHA.pastKey);
  const isCached = [pastKey, pastValue].every((name) => graph.inputs.some((input) => input.name === name));
  if (!isCached || more.some((name) => name !== '') || given(MHA.bias) !== '' || given(MHA.padding) !== '')
    throw unsupported(`${nodeTitle(node)} has a bias, a mask of padding or no cache of its own`);
  const added = given(MHA.added);
  const isCausal = numberOf(node, 'unidirectional') === 1;
  if (numberOf(node, 'num_heads') !== kvHeads || isCausal === (added !== ''))
    throw unsupported(`${nodeTitle(node)} is not either causal by itself or masked`);
  return {
    ...{ query, key, value, layout: 'rows', window: 0 },
    result: node.outputs[0] as string,
    scale: scaleOf(node, headDim),
    ...(isCausal ? {} : { mask: { bias: added } }),
  };
}

/** ONNX's own, of opset 23: four axes only, so that heads can be told. */
function standard({ headDim }: DecoderShape, node: Node): AttentionSite {
  const [query, key, value, mask = '', pastKey = '', , ...more] = node.inputs as readonly [string, string, string];
  const isCausal = numberOf(node, 'is_causal') === 1;
  if (pastKey === '' || more.some((name) => name !== '') || isCausal === (mask !== ''))
    throw unsupported(`${nodeTitle(node)} has no cache of its own, or is not either causal by itself or masked`);
  if (attributeOf(node, 'q_num_heads', 'int') !== undefined || (attributeOf(node, 'softcap', 'float') ?? 0) !== 0)
    throw unsupported(`${nodeTitle(node)} caps its scores, or has three axes`);
  return {
    ...{ query, key, value, layout: 'heads', window: 0 },
    result: node.outputs[0] as string,
    scale: scaleOf(node, headDim),
    ...(isCausal ? {} : { mask: { bias: mask } }),
  };
}
