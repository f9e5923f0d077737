/**
 * Small graphs that answer what cannot be read off a decoder's operators: which rows its masks let be seen, and which
 * of its tensors hold positions.
 *
 * They take `input_ids` [1, rows], `attention_mask` [1, total] and, where it is read, `position_ids` [1, rows], and
 * compute nothing but what was asked. Caches, scores and what attention gives are zeros of the sizes that they would
 * have, so a context of any length costs a few rows of it.
 */
import type { LiftedDecoder } from './attention.ts';
import { inOrder, neededFor } from './attention-draft.ts';
import { createGraphBuilder, type GraphBuilder } from './builder.ts';
import { describeDecoder, type DecoderShape } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import { createDtypes } from './element-types.ts';
import { tensorOf, type Graph } from './graph.ts';
import { positionCandidates } from './positions.ts';

export interface Probe {
  readonly graph: Graph;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

type Size = number | 'past' | 'rows' | 'total';

/**
 * The weights, [1, 1 or heads, rows, total], that each mask makes of equal scores: of a plain causal one, 1 / (position
 * + 1) up to a row's own position and 0 behind. `undefined` where no attention has a mask of its own. Throws
 * `model_unsupported`.
 */
export function probeMasks(graph: Graph, { sites }: LiftedDecoder, heads: number): Probe | undefined {
  const shape = describeDecoder(graph);
  const { kvHeads, headDim } = shape;
  const dtypes = createDtypes(graph);
  const zeros = new Map<string, readonly Size[]>();
  const weights: string[] = [];
  const biases: string[] = [];
  for (const name of shape.presentNames) zeros.set(name, [1, kvHeads, 'total', headDim]);
  for (const { result, layout, mask } of sites) {
    zeros.set(result, layout === 'heads' ? [1, heads, 'rows', headDim] : [1, 'rows', heads * headDim]);
    if (mask === undefined) continue;
    if ('bias' in mask) biases.push(mask.bias);
    else {
      // Of one head: what masks add to others grows out of that, and contexts are long.
      zeros.set(mask.scores, [1, 1, 'rows', 'total']);
      weights.push(mask.weights);
    }
  }
  if (weights.length + biases.length === 0) return undefined;
  return standIn(graph, shape, zeros, (b) => [
    ...weights,
    ...[...new Set(biases)].map((name) => b.op('Softmax', [added(b, name, dtypes(name))], { axis: -1 })),
  ]);
}

/** What a mask adds to scores; one of booleans says what is seen. */
function added(b: GraphBuilder, name: string, dtype: number): string {
  return dtype === DTYPE.bool ? b.op('Where', [name, b.float(0), b.float(Number.NEGATIVE_INFINITY)]) : name;
}

/** The values of all tensors that may hold positions; `undefined` when there are none. Throws `model_unsupported`. */
export function probePositions(graph: Graph): Probe | undefined {
  const candidates = positionCandidates(graph);
  return candidates.length === 0 ? undefined : standIn(graph, describeDecoder(graph), new Map(), () => candidates);
}

/** What `ask` names, computed with zeros in place of what the model would have made. */
function standIn(
  graph: Graph,
  { pastNames, kvHeads, headDim }: DecoderShape,
  zeros: ReadonlyMap<string, readonly Size[]>,
  ask: (builder: GraphBuilder) => readonly string[],
): Probe {
  const dtypes = createDtypes(graph);
  const b = createGraphBuilder({ from: graph });
  const lengthOf = (name: string): string => b.op('Slice', [b.op('Shape', [name]), b.ints(1), b.ints(2)]);
  const [rows, total] = [lengthOf('input_ids'), lengthOf('attention_mask')];
  const lengths = { rows, total, past: b.op('Sub', [total, rows]) };
  const replaced = new Map<string, readonly Size[]>(zeros);
  for (const name of pastNames) replaced.set(name, [1, kvHeads, 'past', headDim]);
  for (const [name, sizes] of replaced) {
    const parts = sizes.map((size) => (typeof size === 'number' ? b.ints(size) : lengths[size]));
    const zero = tensorOf('', [1], new Uint8Array(dtypes(name) === DTYPE.float16 ? 2 : 4), dtypes(name));
    b.op('ConstantOfShape', [b.op('Concat', parts, { axis: 0 })], { value: { kind: 'tensor', value: zero } }, name);
  }
  const asked = ask(b);
  const built = b.build();
  const own = new Set(graph.nodes);
  const nodes = inOrder(
    neededFor(
      built.nodes.filter((node) => !own.has(node) || !node.outputs.some((name) => replaced.has(name))),
      asked,
    ),
  );
  const read = new Set(nodes.flatMap((node) => node.inputs));
  const inputs = graph.inputs.filter(({ name }) => read.has(name) && !replaced.has(name));
  return {
    inputs: inputs.map(({ name }) => name),
    outputs: asked,
    graph: {
      ...built,
      nodes,
      inputs,
      tensors: new Map([...built.tensors].filter(([name]) => read.has(name))),
      outputs: asked.map((name) => ({ name, dtype: dtypes(name), dims: undefined })),
    },
  };
}
