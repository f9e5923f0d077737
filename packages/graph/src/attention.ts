/**
 * Attention lifted out of a decoder: what is left of the graph treats every row of tokens by itself.
 *
 * A decoder mixes rows in one place only, where a query meets the keys and values of the rows before it. Taken out, the
 * rest can run rows of many sequences side by side, and whoever computes attention keeps keys and values as it likes.
 * Two forms are known: attention written out in MatMul and Softmax, as Optimum exports it, and GroupQueryAttention, as
 * ONNX Runtime GenAI builds it. The first is recognised by how its products hang together, not by what its mask holds:
 * whoever uses the result compares it with the whole graph.
 */
import { IdlewildError } from '@idlewild/protocol';
import { createGraphBuilder, type Attributes } from './builder.ts';
import { describeDecoder, type DecoderShape } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import { attributeOf, nodeTitle, type Graph, type Node } from './graph.ts';
import { createScalars } from './scalars.ts';

/** Attention of one layer: causal, softmax(scale · query · keyᵀ) · value, over this row and those before it. */
export interface Attention {
  /** Tensors that the graph makes: float32, their rows along the axis that `layout` says. */
  readonly query: string;
  readonly key: string;
  readonly value: string;
  /** An input that the graph takes in their place, float32, of the query's shape. */
  readonly output: string;
  /** `heads`: [1, heads, rows, head width]. `rows`: [1, rows, heads × head width]. */
  readonly layout: 'heads' | 'rows';
  readonly scale: number;
  /** Of how many rows each sees the last ones, itself included; 0 is all. */
  readonly window: number;
}

export interface LiftedDecoder {
  /** Inputs: `input_ids`, `position_ids` where it needs them, and all attentions' outputs. Outputs: `logits` and theirs. */
  readonly graph: Graph;
  /** By layer. */
  readonly attentions: readonly Attention[];
}

/** What a pattern found, in names of the graph as it is. */
interface Found extends Omit<Attention, 'output'> {
  /** The tensor that the pattern computes. */
  readonly result: string;
}

const MICROSOFT = 'com.microsoft';
/** Nodes between a product and its Softmax; real exports have at most five. */
const STEPS_MAX = 16;

const unsupported = (why: string): IdlewildError =>
  new IdlewildError('model_unsupported', `the attention of this graph cannot be told from the rest: ${why}`);

/** @throws IdlewildError `model_unsupported`, saying what is in the way; such a graph can be run as a whole only */
export function liftAttention(graph: Graph): LiftedDecoder {
  const shape = describeDecoder(graph);
  const draft = createDraft(graph);
  const found = Array.from({ length: shape.layers }, (_, layer) => findLayer(draft, shape, layer));
  return rebuild(draft, shape, found);
}

interface Draft {
  readonly graph: Graph;
  readonly builder: ReturnType<typeof createGraphBuilder>;
  readonly producers: ReadonlyMap<string, Node>;
  readonly consumers: ReadonlyMap<string, readonly Node[]>;
}

function createDraft(graph: Graph): Draft {
  const producers = new Map<string, Node>();
  const consumers = new Map<string, Node[]>();
  for (const node of graph.nodes) {
    for (const output of node.outputs) producers.set(output, node);
    for (const input of node.inputs) {
      const list = consumers.get(input);
      if (list === undefined) consumers.set(input, [node]);
      else list.push(node);
    }
  }
  return { graph, builder: createGraphBuilder({ from: graph }), producers, consumers };
}

function findLayer(draft: Draft, shape: DecoderShape, layer: number): Found {
  const key = shape.presentNames[2 * layer] as string;
  const value = shape.presentNames[2 * layer + 1] as string;
  const node = draft.producers.get(key);
  if (node?.op === 'GroupQueryAttention' && node.domain === MICROSOFT) return groupQuery(draft, shape, node);
  if (node?.op === 'Concat') return writtenOut(draft, shape, key, value);
  throw unsupported(`output '${key}' is made by ${node === undefined ? 'nothing' : nodeTitle(node)}`);
}

/** Attention in plain operators: from the keys forward to the Softmax, from there back to the query. */
function writtenOut(draft: Draft, { headDim }: DecoderShape, presentKey: string, presentValue: string): Found {
  const scores = productOver(draft, presentKey, headDim);
  const softmax = forwardTo(draft, scores.product, (node) => node.op === 'Softmax');
  const values = productOver(draft, presentValue, headDim);
  const weights = forwardTo(draft, softmax, (node) => node === values.product);
  const { name: query, scale } = unscaled(draft, scores.other, headDim);
  if (weights !== values.product || values.scale !== 1) throw unsupported(`'${presentValue}' is not what is mixed`);
  return {
    query,
    key: appended(draft, presentKey),
    value: appended(draft, presentValue),
    result: values.product.outputs[0] as string,
    layout: 'heads',
    scale: scale * scores.scale * scaleBetween(draft, scores.product, softmax, headDim),
    window: 0,
  };
}

/** What a Concat along the positions adds to the cache. */
function appended({ producers }: Draft, present: string): string {
  const node = producers.get(present) as Node;
  const axis = Number(attributeOf(node, 'axis', 'int') ?? 0);
  const [past, added, ...more] = node.inputs;
  if (!past?.startsWith('past_key_values.') || added === undefined || more.length > 0 || (axis !== 2 && axis !== -2))
    throw unsupported(`${nodeTitle(node)} does not just put new positions after the old`);
  return added;
}

/** Between a cache and the product that uses it: reshaped, repeated for grouped heads, turned, scaled. */
const BETWEEN = new Set(['Transpose', 'Reshape', 'Expand', 'Unsqueeze', 'Cast', 'Mul', 'Div', 'Identity']);

/** The one MatMul that has `present` on its right; its left side, and what scales the right one on its way. */
function productOver(draft: Draft, present: string, headDim: number): { product: Node; other: string; scale: number } {
  let name = present;
  let scale = 1;
  for (let step = 0; step < STEPS_MAX; step++) {
    const users = (draft.consumers.get(name) ?? []).filter(({ op }) => op === 'MatMul' || BETWEEN.has(op));
    const reading = users.filter((node) => node.inputs[0] === name || node.op === 'MatMul' || node.op === 'Mul');
    const [user] = reading;
    if (user === undefined || reading.length > 1) throw unsupported(`'${name}' has ${reading.length} uses, not one`);
    if (user.op === 'MatMul') {
      if (user.inputs[1] !== name) throw unsupported(`${nodeTitle(user)} has the cache on its left`);
      return { product: user, other: user.inputs[0] as string, scale };
    }
    scale *= factorOf(draft, user, name, headDim);
    name = user.outputs[0] as string;
  }
  throw unsupported(`nothing multiplies with '${present}'`);
}

/** What a Mul or Div with a number does to `name`; 1 for other operators. */
function factorOf(draft: Draft, node: Node, name: string, headDim: number): number {
  if (node.op !== 'Mul' && node.op !== 'Div') return 1;
  const other = node.inputs[0] === name ? node.inputs[1] : node.inputs[0];
  const factor = createScalars(draft.graph, draft.producers, headDim)(other ?? '');
  if (factor === undefined) throw unsupported(`${nodeTitle(node)} scales by something that is no constant`);
  return node.op === 'Mul' ? factor : 1 / factor;
}

/** Between scores and weights: scaled, masked, cast, guarded against rows that see nothing. */
const AFTER = new Set(['Add', 'Mul', 'Div', 'Cast', 'Where', 'Softmax', 'Identity']);

/** From a product on along its values to a node that fits; throws when it leads elsewhere. */
function forwardTo(draft: Draft, from: Node, isGoal: (node: Node) => boolean): Node {
  let node = from;
  for (let step = 0; step < STEPS_MAX; step++) {
    if (step > 0 && isGoal(node)) return node;
    const name = node.outputs[0] as string;
    // A guard reads the weights twice: once to ask whether they are numbers.
    const users: Node[] = (draft.consumers.get(name) ?? []).filter((user) => user.op !== 'IsNaN');
    const [user] = users;
    if (user === undefined || users.length > 1 || !(AFTER.has(user.op) || isGoal(user)))
      throw unsupported(`${nodeTitle(node)} leads to ${user === undefined ? 'nothing' : nodeTitle(user)}`);
    node = user;
  }
  throw unsupported(`${nodeTitle(from)} leads to nothing that is known`);
}

function scaleBetween(draft: Draft, product: Node, softmax: Node, headDim: number): number {
  let scale = 1;
  let node = product;
  while (node !== softmax) {
    const name = node.outputs[0] as string;
    const [user] = draft.consumers.get(name) as readonly [Node];
    scale *= factorOf(draft, user, name, headDim);
    node = user;
  }
  return scale;
}

/** Back over a Mul or Div with a number. */
function unscaled(draft: Draft, name: string, headDim: number): { name: string; scale: number } {
  const node = draft.producers.get(name);
  if (node?.op !== 'Mul' && node?.op !== 'Div') return { name, scale: 1 };
  const scalars = createScalars(draft.graph, draft.producers, headDim);
  for (const [index, input] of node.inputs.entries()) {
    const factor = scalars(input);
    if (factor === undefined || (node.op === 'Div' && index === 0)) continue;
    return { name: node.inputs[1 - index] as string, scale: node.op === 'Mul' ? factor : 1 / factor };
  }
  return { name, scale: 1 };
}

/** Inputs of GroupQueryAttention by position. */
const GQA = { query: 0, key: 1, value: 2, cos: 7, sin: 8, positions: 9 } as const;
const GQA_INPUTS_MAX = 10;

function groupQuery(draft: Draft, { kvHeads, headDim }: DecoderShape, node: Node): Found {
  const heads = Number(attributeOf(node, 'num_heads', 'int') ?? 0);
  const number = (name: string): number => Number(attributeOf(node, name, 'int') ?? 0);
  const extra = node.inputs.slice(GQA_INPUTS_MAX).some((input) => input !== '');
  if (extra || (attributeOf(node, 'softcap', 'float') ?? 0) !== 0 || number('smooth_softmax') > 0)
    throw unsupported(`${nodeTitle(node)} caps, biases or smooths its scores`);
  const names = splitHeads(draft, node, heads, kvHeads, headDim);
  const turned = (name: string, count: number): string =>
    number('do_rotary') === 1 ? rotated(draft, node, name, count, headDim) : name;
  const scale = attributeOf(node, 'scale', 'float') ?? 0;
  return {
    query: turned(names.query, heads),
    key: turned(names.key, kvHeads),
    value: names.value,
    result: node.outputs[0] as string,
    layout: 'rows',
    scale: scale === 0 ? 1 / Math.sqrt(headDim) : scale,
    window: Math.max(0, number('local_window_size')),
  };
}

/** Query, key and value, which may come packed as one. */
function splitHeads(
  { builder }: Draft,
  node: Node,
  heads: number,
  kvHeads: number,
  headDim: number,
): { query: string; key: string; value: string } {
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
    interleaved: Number(attributeOf(node, 'rotary_interleaved', 'int') ?? 0),
    num_heads: heads,
    ...(width === headDim ? {} : { rotary_embedding_dim: width }),
  };
  return builder.op(`${MICROSOFT}.RotaryEmbedding`, [name, 'position_ids', cos, sin], attributes);
}

/** The graph without the attentions, and without what only they needed. */
function rebuild(draft: Draft, shape: DecoderShape, found: readonly Found[]): LiftedDecoder {
  const { builder, graph } = draft;
  const half = shape.kvDtype === DTYPE.float16;
  const cast = (name: string): string => (half ? builder.op('Cast', [name], { to: DTYPE.float32 }) : name);
  const attentions = found.map(({ result, ...rest }, layer): Attention => {
    const output = half ? builder.uniqueName(`attention.${layer}`) : result;
    if (half) builder.op('Cast', [output], { to: DTYPE.float16 }, result);
    return { ...rest, query: cast(rest.query), key: cast(rest.key), value: cast(rest.value), output };
  });
  const results = new Set(found.map(({ result }) => result));
  const built = builder.build();
  const original = new Set(graph.nodes);
  const kept = built.nodes.filter((node) => !original.has(node) || !node.outputs.some((name) => results.has(name)));
  const wanted = ['logits', ...attentions.flatMap(({ query, key, value }) => [query, key, value])];
  const nodes = inOrder(needed(kept, wanted));
  const read = new Set(nodes.flatMap((node) => node.inputs));
  for (const name of ['attention_mask', ...shape.pastNames])
    if (read.has(name)) throw unsupported(`'${name}' is used outside of attention too`);
  const dims = (layout: Attention['layout']): (number | string)[] =>
    layout === 'heads' ? [1, 'heads', 'rows', shape.headDim] : [1, 'rows', 'width'];
  const inputs = ['input_ids', 'position_ids']
    .filter((name) => read.has(name))
    .map((name) => ({ name, dtype: DTYPE.int64, dims: [1, 'rows'] }));
  return {
    attentions,
    graph: {
      ...built,
      nodes,
      tensors: new Map([...built.tensors].filter(([name]) => read.has(name))),
      inputs: [
        ...inputs,
        ...attentions.map(({ output, layout }) => ({ name: output, dtype: DTYPE.float32, dims: dims(layout) })),
      ],
      outputs: wanted.map(
        (name) =>
          graph.outputs.find((output) => output.name === name) ?? { name, dtype: DTYPE.float32, dims: undefined },
      ),
    },
  };
}

/** The nodes on which `wanted` depends. */
function needed(nodes: readonly Node[], wanted: readonly string[]): Node[] {
  const producers = new Map(nodes.flatMap((node) => node.outputs.map((output) => [output, node] as const)));
  const kept = new Set<Node>();
  const open = [...wanted];
  while (open.length > 0) {
    const node = producers.get(open.pop() as string);
    if (node === undefined || kept.has(node)) continue;
    if ([...node.attributes.values()].some(({ kind }) => kind === 'graph'))
      throw unsupported(`${nodeTitle(node)} holds a graph of its own`);
    kept.add(node);
    open.push(...node.inputs);
  }
  return nodes.filter((node) => kept.has(node));
}

/** Nodes that were added stand at the end, after those that read them. */
function inOrder(nodes: readonly Node[]): Node[] {
  const missing = new Set(nodes.flatMap((node) => node.outputs));
  const ordered: Node[] = [];
  let rest = [...nodes];
  while (rest.length > 0) {
    const later: Node[] = [];
    for (const node of rest) {
      if (node.inputs.some((input) => missing.has(input))) later.push(node);
      else {
        ordered.push(node);
        for (const output of node.outputs) missing.delete(output);
      }
    }
    if (later.length === rest.length) throw unsupported('its nodes wait for each other');
    rest = later;
  }
  return ordered;
}
