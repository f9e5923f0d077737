/**
 * What the engine must know about a decoder to run it, read off the inputs and outputs that its graph declares, and the
 * one change that it makes to every decoder: a cache whose tail can be dropped.
 *
 * Names are those that Optimum and ONNX Runtime GenAI write: `input_ids`, `attention_mask`, `position_ids` (optional),
 * `past_key_values.N.key|value` of shape [batch, key-value heads, past, head width], `logits`, `present.N.key|value`.
 * Anything else that a graph asks for is refused by name: the engine would not know what to feed.
 */
import { IdlewildError } from '@idlewild/protocol';

import { createGraphBuilder } from './builder.ts';
import { DTYPE, dtypeName } from './dtypes.ts';
import type { Attribute, Block, Graph, Node, ValueInfo } from './graph.ts';
import { feedsOf } from './graph.ts';

export interface DecoderShape {
  /** Pairs of key and value caches. */
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** ONNX number of the cache's element type: float32 or float16. */
  readonly kvDtype: number;
  /** Absent when the graph does not state the last dimension of its logits. */
  readonly vocab?: number;
  readonly hasPositionIds: boolean;
  /**
   * Cache inputs by layer, key before value; the output at the same index of `presentNames` takes its place in the next
   * step.
   */
  readonly pastNames: readonly string[];
  readonly presentNames: readonly string[];
}

/** The int64 [1] input that `trimmablePast` adds. */
export const PAST_KEEP = 'past_keep';

const PAST_NAME = /^past_key_values\.(\d{1,4})\.(key|value)$/;
const TOKEN_INPUTS: readonly string[] = ['input_ids', 'attention_mask', 'position_ids', PAST_KEEP];

/** What is known of inputs that no text answers, so that a refusal says more than a name. */
const FOREIGN: ReadonlyArray<readonly [pattern: RegExp, what: string]> = [
  [/^(encoder_|decoder_|cross_)/, 'it is one half of an encoder-decoder'],
  [/^pixel_|^image_/, 'it reads images'],
  [/^input_(features|values)$|^audio_/, 'it reads sound'],
  [/^inputs_embeds$/, 'it begins after the embeddings, as one part of a larger model'],
  [
    /^use_cache_branch$/,
    'it is two decoders merged, with and without a cache; export it anew, or take the one with a cache',
  ],
  [/^past_(conv|ssm|state)|^past_key_values\.\d+\.(conv|ssm)/, 'it keeps a state that is no cache of keys and values'],
  [/^past_key_values\.\d+\.(encoder|decoder)\./, 'it is one half of an encoder-decoder'],
];

const unsupported = (message: string): IdlewildError =>
  new IdlewildError('model_unsupported', `this graph is not a decoder that the engine runs: ${message}`);

/** @throws IdlewildError `model_unsupported`, naming the input or output at fault */
export function describeDecoder(graph: Graph): DecoderShape {
  const inputs = new Map(feedsOf(graph).map((input) => [input.name, input]));
  for (const { name } of inputs.values()) {
    const foreign = FOREIGN.find(([pattern]) => pattern.test(name));
    if (foreign !== undefined) throw unsupported(`${foreign[1]} (its input '${name}')`);
  }
  for (const name of ['input_ids', 'attention_mask']) {
    if (!inputs.has(name)) throw unsupported(`it has no input '${name}'`);
  }
  for (const input of inputs.values()) {
    if (TOKEN_INPUTS.includes(input.name)) expectInt64(input);
    else if (!PAST_NAME.test(input.name))
      throw unsupported(`the engine does not know what to feed to its input '${input.name}'`);
  }
  const past = [...inputs.values()]
    .filter((input) => PAST_NAME.test(input.name))
    .sort((a, b) => pastOrder(a.name) - pastOrder(b.name));
  const first = past[0];
  if (first === undefined)
    throw unsupported("it has no inputs 'past_key_values.N.key': export it with a key-value cache");
  const cache = cacheShape(first);
  for (const input of past) expectSameCache(first, cache, input);
  const pastNames = past.map((input) => input.name);
  const vocab = vocabOf(graph);
  return {
    layers: pastNames.length / 2,
    ...cache,
    ...(vocab === undefined ? {} : { vocab }),
    hasPositionIds: inputs.has('position_ids'),
    pastNames,
    presentNames: pastNames.map((name) => presentName(graph, name)),
  };
}

function expectInt64(input: ValueInfo): void {
  if (input.dtype !== DTYPE.int64)
    throw unsupported(`its input '${input.name}' is of type ${dtypeName(input.dtype) ?? input.dtype}, not int64`);
}

function pastOrder(name: string): number {
  const [, layer, part] = PAST_NAME.exec(name) as unknown as [string, string, string];
  return Number(layer) * 2 + (part === 'key' ? 0 : 1);
}

type CacheShape = Pick<DecoderShape, 'kvHeads' | 'headDim' | 'kvDtype'>;

function cacheShape({ name, dtype, dims }: ValueInfo): CacheShape {
  if (dtype !== DTYPE.float32 && dtype !== DTYPE.float16) {
    throw unsupported(`its input '${name}' is of type ${dtypeName(dtype) ?? dtype}, not float32 or float16`);
  }
  const [, kvHeads, , headDim] = dims ?? [];
  if (dims?.length !== 4 || typeof kvHeads !== 'number' || typeof headDim !== 'number') {
    throw unsupported(
      `its input '${name}' has shape [${dims?.join(', ') ?? '?'}], not [batch, key-value heads, past, head width] ` +
        'with numbers for the heads and their width',
    );
  }
  return { kvHeads, headDim, kvDtype: dtype };
}

function expectSameCache(first: ValueInfo, cache: CacheShape, input: ValueInfo): void {
  const own = cacheShape(input);
  if (own.kvHeads !== cache.kvHeads || own.headDim !== cache.headDim || own.kvDtype !== cache.kvDtype) {
    throw unsupported(`its inputs '${first.name}' and '${input.name}' differ in shape or type`);
  }
}

function presentName(graph: Graph, pastName: string): string {
  const name = pastName.replace('past_key_values', 'present');
  if (!graph.outputs.some((output) => output.name === name))
    throw unsupported(`input '${pastName}' has no output '${name}' beside it`);
  const other = pastName.endsWith('.key') ? pastName.replace(/key$/, 'value') : pastName.replace(/value$/, 'key');
  if (!graph.inputs.some((input) => input.name === other))
    throw unsupported(`input '${pastName}' has no input '${other}' beside it`);
  return name;
}

function vocabOf(graph: Graph): number | undefined {
  const logits = graph.outputs.find((output) => output.name === 'logits');
  if (logits === undefined) throw unsupported("it has no output 'logits'");
  if (logits.dims !== undefined && logits.dims.length !== 3) {
    throw unsupported(`its output 'logits' has rank ${logits.dims.length}, not [batch, sequence, vocabulary]`);
  }
  const last = logits.dims?.[2];
  return typeof last === 'number' ? last : undefined;
}

/**
 * Adds the input `past_keep`, int64 [1]: of each `past_key_values.*` the graph then uses only the first `past_keep`
 * positions. The caller drops the tail of its cache by naming a smaller number, without copying; `attention_mask`
 * covers kept and new positions.
 *
 * Why: the engine decodes in steps of two rows, the last cached position computed again beside the new one, since a
 * product of one row takes another kernel and its last bits differ from prefill's. With steps of two rows or more a
 * text's logits do not depend on how it was cut, provided that heads are at most 128 wide and that, where attention is
 * written out in MatMuls, a session has no more threads than the model has attention heads: beyond that the runtime
 * splits sums by the size of the step (measured on onnxruntime 1.30, x86; GroupQueryAttention takes any threads).
 */
export function trimmablePast(graph: Graph): Graph {
  const { pastNames } = describeDecoder(graph);
  if (graph.inputs.some((input) => input.name === PAST_KEEP)) return graph;
  const builder = createGraphBuilder({ from: graph });
  builder.input(PAST_KEEP, DTYPE.int64, [1]);
  const zero = builder.ints(0);
  const axis = builder.ints(2);
  const kept = new Map(
    pastNames.map((name) => [
      name,
      builder.op('Slice', [name, zero, PAST_KEEP, axis], {}, builder.uniqueName(`${name}.kept`)),
    ]),
  );
  const built = builder.build();
  const slices = built.nodes.slice(graph.nodes.length);
  const nodes = graph.nodes.map((node) => renameUses(node, kept));
  return { ...built, nodes: [...slices, ...nodes] };
}

/** The node, reading the new names; in its subgraphs too, as far as these do not define the name themselves. */
function renameUses(node: Node, names: ReadonlyMap<string, string>): Node {
  const inputs = node.inputs.map((input) => names.get(input) ?? input);
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) {
    attributes.set(
      name,
      attribute.kind === 'graph' ? { kind: 'graph', value: renameInBlock(attribute.value, names) } : attribute,
    );
  }
  return { ...node, inputs, attributes };
}

function renameInBlock(block: Block, names: ReadonlyMap<string, string>): Block {
  const own = new Set([...block.inputs.map((input) => input.name), ...block.tensors.keys()]);
  const outer = new Map([...names].filter(([name]) => !own.has(name)));
  // A subgraph may hand an outer value straight to its output: the declaration then carries the name.
  const outputs = block.outputs.map((output) => ({ ...output, name: outer.get(output.name) ?? output.name }));
  return { ...block, outputs, nodes: block.nodes.map((inner) => renameUses(inner, outer)) };
}
