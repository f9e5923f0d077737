/**
 * A lifted decoder cut at its attentions: one graph before the first, one between each two, one after the last.
 *
 * A node goes into the first part in which all its inputs are known. Tensors that a later part needs are outputs of the
 * part that makes them; what depends on constants alone is repeated in each part that reads it. A part's rows are rows
 * of tokens; nothing in it looks from one to another.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Attention, LiftedDecoder } from './attention.ts';
import { present } from './attention-draft.ts';
import { createDtypes } from './element-types.ts';
import type { Graph, Node, ValueInfo } from './graph.ts';

export interface Segment {
  readonly graph: Graph;
  /** Names of what it takes and gives, as declared in the graph. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
}

/** Of a part for constants: it is no part of its own. */
const CONSTANT = -1;

/**
 * One more part than there are attentions; part i makes the query, key and value of attention i, the last the logits.
 *
 * @throws IdlewildError `model_unsupported` for attentions that do not follow one another
 */
export function cutAtAttention({ graph, attentions }: LiftedDecoder): Segment[] {
  const levels = levelsOf(graph, attentions);
  for (const [layer, { query, key, value, output }] of attentions.entries()) {
    if ([query, key, value].some((name) => (levels.get(name) ?? 0) > layer)) {
      throw new IdlewildError('model_unsupported', `attention ${layer} ('${output}') waits for a later one`);
    }
  }
  const parts = Array.from({ length: attentions.length + 1 }, (_, level) => nodesOf(graph, levels, level));
  const made = new Map(parts.flatMap((nodes, level) => nodes.flatMap((node) => node.outputs.map((o) => [o, level]))));
  const dtypes = createDtypes(graph);
  const ends = new Set(graph.outputs.map(({ name }) => name));
  return parts.map((nodes, level) => {
    const own = new Set(nodes.flatMap((node) => present(node.outputs)));
    const read = new Set(nodes.flatMap((node) => present(node.inputs)));
    const inputs = [...read].filter((name) => !own.has(name) && !graph.tensors.has(name));
    const outputs = [...own].filter(
      (name) =>
        made.get(name) === level &&
        levels.get(name) !== CONSTANT &&
        (ends.has(name) || parts.some((other, at) => at > level && other.some((node) => node.inputs.includes(name)))),
    );
    const info = (name: string): ValueInfo =>
      [...graph.inputs, ...graph.outputs].find((value) => value.name === name && value.dtype !== 0) ?? {
        name,
        dtype: dtypes(name),
        dims: undefined,
      };
    const part: Graph = {
      ...graph,
      nodes,
      tensors: new Map([...graph.tensors].filter(([name]) => read.has(name))),
      inputs: inputs.map(info),
      outputs: outputs.map(info),
      values: graph.values.filter(({ name }) => own.has(name)),
    };
    return { graph: part, inputs, outputs };
  });
}

/** The first part in which each tensor can be known. */
function levelsOf(graph: Graph, attentions: readonly Attention[]): Map<string, number> {
  const levels = new Map<string, number>(graph.inputs.map(({ name }) => [name, 0]));
  for (const [layer, { output }] of attentions.entries()) levels.set(output, layer + 1);
  for (const node of graph.nodes) {
    const level = Math.max(CONSTANT, ...node.inputs.map((input) => levels.get(input) ?? CONSTANT));
    for (const output of present(node.outputs)) levels.set(output, level);
  }
  return levels;
}

/** The nodes of one part, and those of constants that they read. */
function nodesOf(graph: Graph, levels: ReadonlyMap<string, number>, level: number): Node[] {
  const chosen = new Set<Node>();
  const wanted = new Set<string>();
  for (const node of graph.nodes.toReversed()) {
    const own = levels.get(node.outputs[0] as string) ?? CONSTANT;
    if (own !== level && !(own === CONSTANT && node.outputs.some((output) => wanted.has(output)))) continue;
    chosen.add(node);
    for (const input of present(node.inputs)) wanted.add(input);
  }
  return graph.nodes.filter((node) => chosen.has(node));
}
