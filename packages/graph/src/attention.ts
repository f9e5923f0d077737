/**
 * Attention lifted out of a decoder: what is left of the graph treats every row of tokens by itself.
 *
 * A decoder mixes rows in one place only, where a query meets the keys and values of the rows before it. Taken out, the
 * rest can run rows of many sequences side by side, and whoever computes attention keeps keys and values as it likes.
 * What a mask in the graph hides cannot be read off it: whoever uses the result runs `probeMasks`, and compares it with
 * the whole graph.
 */
import { createDraft, inOrder, neededFor, unsupported, type AttentionSite, type Draft } from './attention-draft.ts';
import { operatorAttention } from './attention-operators.ts';
import { writtenAttention } from './attention-written.ts';
import { describeDecoder, type DecoderShape } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import { nodeTitle, tensorOf, type Graph, type Node, type Tensor } from './graph.ts';
import { positionsMixed } from './positions.ts';

/** Attention of one layer: causal, softmax(scale · query · keyᵀ) · value, over this row and those before it. */
export interface Attention extends Pick<AttentionSite, 'query' | 'key' | 'value' | 'layout' | 'scale' | 'window'> {
  /** An input that the graph takes in place of what was computed, float32, of the query's shape. */
  readonly output: string;
}

export interface LiftedDecoder {
  /**
   * Inputs: `input_ids`, `position_ids` where it needs them, and all attentions' outputs. Outputs: `logits` and theirs.
   */
  readonly graph: Graph;
  /** By layer; query, key and value are float32, their rows along the axis that `layout` says. */
  readonly attentions: readonly Attention[];
  /** By layer, in names of the graph that was given. */
  readonly sites: readonly AttentionSite[];
}

/** Tensors of a graph that say where rows stand, as `findPositions` tells them from others. */
export interface Positions {
  /** Those that hold the rows' positions, by name, with their sizes, -1 for the rows. */
  readonly rows: ReadonlyMap<string, readonly number[]>;
  /** Those that hold how many positions there are, the run's own included, by name, with their sizes. */
  readonly totals: ReadonlyMap<string, readonly number[]>;
}

/**
 * `positions`: what a graph computes of its masks and caches, and can be told instead.
 *
 * @throws IdlewildError `model_unsupported`, saying what is in the way; such a graph can be run as a whole only
 */
export function liftAttention(graph: Graph, positions?: Positions): LiftedDecoder {
  const shape = describeDecoder(graph);
  const draft = createDraft(graph);
  const sites = Array.from({ length: shape.layers }, (_, layer) => findLayer(draft, shape, layer));
  return rebuild(draft, shape, sites, positions);
}

function findLayer(draft: Draft, shape: DecoderShape, layer: number): AttentionSite {
  const key = shape.presentNames[2 * layer] as string;
  const value = shape.presentNames[2 * layer + 1] as string;
  const node = draft.producers.get(key);
  const found =
    node?.op === 'Concat'
      ? writtenAttention(draft, shape.headDim, key, value)
      : node && operatorAttention(draft, shape, node);
  if (found === undefined)
    throw unsupported(`output '${key}' is made by ${node === undefined ? 'nothing' : nodeTitle(node)}`);
  return found;
}

/** Ends of slices are cut to what is there, so this stands for any number of positions. */
const ANY_LENGTH = 2 ** 31 - 1;

/** The graph without the attentions, and without what only they needed. */
function rebuild(
  draft: Draft,
  shape: DecoderShape,
  sites: readonly AttentionSite[],
  positions: Positions | undefined,
): LiftedDecoder {
  const { builder, graph } = draft;
  const half = shape.kvDtype === DTYPE.float16;
  const cast = (name: string): string => (half ? builder.op('Cast', [name], { to: DTYPE.float32 }) : name);
  const attentions = sites.map(({ query, key, value, result, layout, scale, window }, layer): Attention => {
    const output = half ? builder.uniqueName(`attention.${layer}`) : result;
    if (half) builder.op('Cast', [output], { to: DTYPE.float16 }, result);
    return { query: cast(query), key: cast(key), value: cast(value), output, layout, scale, window };
  });
  const told = new Set([...sites.map(({ result }) => result), ...(positions?.rows.keys() ?? [])]);
  for (const [name, dims] of positions?.rows ?? [])
    builder.op('Reshape', ['position_ids', builder.ints(...dims)], {}, name);
  const built = builder.build();
  const original = new Set(graph.nodes);
  const kept = built.nodes.filter((node) => !original.has(node) || !node.outputs.some((name) => told.has(name)));
  const wanted = ['logits', ...attentions.flatMap(({ query, key, value }) => [query, key, value])];
  const lengths = lengthsOf(neededFor(kept, wanted), positions);
  const nodes = inOrder(
    neededFor(
      kept.filter((node) => !node.outputs.some((name) => lengths.has(name))),
      wanted,
    ),
  );
  checkRows(nodes, shape);
  return { attentions, sites, graph: withEnds({ ...built, nodes }, lengths, shape, attentions, wanted) };
}

/** Constants in place of how many positions there are, where nothing but the end of a slice comes of it. */
function lengthsOf(nodes: readonly Node[], positions: Positions | undefined): Map<string, Tensor> {
  const lengths = new Map<string, Tensor>();
  for (const [name, dims] of positions?.totals ?? []) {
    const readers = nodes.filter(({ inputs }) => inputs.includes(name));
    const isEnd = ({ op, inputs }: Node): boolean =>
      op === 'Slice' && inputs.indexOf(name) === 2 && inputs.lastIndexOf(name) === 2;
    if (readers.length > 0 && readers.every(isEnd))
      lengths.set(name, tensorOf(name, dims, BigInt64Array.of(BigInt(ANY_LENGTH))));
  }
  return lengths;
}

/** Throws for what would make a row depend on what is run beside it. */
function checkRows(nodes: readonly Node[], { pastNames }: DecoderShape): void {
  const read = new Set(nodes.flatMap((node) => node.inputs));
  for (const name of ['attention_mask', ...pastNames])
    if (read.has(name)) throw unsupported(`'${name}' is used outside of attention too`);
  const shared = nodes.find(({ op }) => op === 'DynamicQuantizeLinear' || op === 'DynamicQuantizeMatMul');
  if (shared !== undefined) throw unsupported(`${nodeTitle(shared)} rounds all rows to one scale`);
  const mixed = positionsMixed(nodes);
  if (mixed !== undefined) throw unsupported(`${nodeTitle(mixed)} looks at the positions of all rows`);
}

function withEnds(
  graph: Graph,
  lengths: ReadonlyMap<string, Tensor>,
  shape: DecoderShape,
  attentions: readonly Attention[],
  wanted: readonly string[],
): Graph {
  const read = new Set(graph.nodes.flatMap((node) => node.inputs));
  const dims = (layout: Attention['layout']): (number | string)[] =>
    layout === 'heads' ? [1, 'heads', 'rows', shape.headDim] : [1, 'rows', 'width'];
  const tokens = ['input_ids', 'position_ids']
    .filter((name) => read.has(name))
    .map((name) => ({ name, dtype: DTYPE.int64, dims: [1, 'rows'] }));
  return {
    ...graph,
    tensors: new Map([...graph.tensors, ...lengths].filter(([name]) => read.has(name))),
    inputs: [
      ...tokens,
      ...attentions.map(({ output, layout }) => ({ name: output, dtype: DTYPE.float32, dims: dims(layout) })),
    ],
    outputs: wanted.map(
      (name) => graph.outputs.find((output) => output.name === name) ?? { name, dtype: DTYPE.float32, dims: undefined },
    ),
  };
}
