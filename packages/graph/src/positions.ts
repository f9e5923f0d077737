/**
 * Positions that a graph works out by itself, from its attention mask or from how long its cache is: which tensors may
 * hold them, and whether a graph looks at the positions of several rows together.
 *
 * That a tensor holds positions cannot be read off the operators that make it, of which exporters know many; it shows
 * when they are run. So the candidates are named here, and told apart by what comes out.
 */
import { present } from './attention-draft.ts';
import { DTYPE } from './dtypes.ts';
import { createDtypes } from './element-types.ts';
import type { Graph, Node } from './graph.ts';

/** Of what a tensor is made: constants, sizes and positions alone, or of tokens and what the model makes of them. */
type Kind = 'constant' | 'index' | 'data';

function kindsOf(
  nodes: readonly Node[],
  indexInputs: readonly string[],
  dataInputs: readonly string[],
): Map<string, Kind> {
  const kinds = new Map<string, Kind>();
  for (const name of indexInputs) kinds.set(name, 'index');
  for (const name of dataInputs) kinds.set(name, 'data');
  for (const node of nodes) {
    const kind = kindOf(node, kinds, dataInputs);
    for (const output of present(node.outputs)) kinds.set(output, kind);
  }
  return kinds;
}

function kindOf({ op, inputs, attributes }: Node, kinds: ReadonlyMap<string, Kind>, feeds: readonly string[]): Kind {
  // The size of a feed is at hand; that of anything else would have to be computed first.
  if (op === 'Shape' && feeds.includes(inputs[0] ?? '')) return 'index';
  if ([...attributes.values()].some(({ kind }) => kind === 'graph')) return 'data';
  const made = present(inputs).map((input) => kinds.get(input) ?? 'constant');
  if (made.includes('data')) return 'data';
  return made.includes('index') ? 'index' : 'constant';
}

/** What one looks up of tokens is embeddings: their sizes are those of the tokens. */
function embeddings(nodes: readonly Node[]): string[] {
  return nodes
    .filter(({ op, inputs }) => op === 'Gather' && inputs[1] === 'input_ids')
    .flatMap(({ outputs }) => outputs);
}

/** Tensors of int64 that are made of the attention mask, of positions and of sizes only. */
export function positionCandidates(graph: Graph): string[] {
  const past = graph.inputs.map(({ name }) => name).filter((name) => name.startsWith('past_key_values.'));
  const feeds = ['input_ids', ...past, ...embeddings(graph.nodes)];
  const kinds = kindsOf(graph.nodes, ['attention_mask', 'position_ids'], feeds);
  const dtypes = createDtypes(graph);
  return graph.nodes.flatMap(({ outputs }) =>
    present(outputs).filter((name) => kinds.get(name) === 'index' && dtypes(name) === DTYPE.int64),
  );
}

/** Operators whose results depend on several rows, where rows are what they run along. */
const TOGETHER = /^(Reduce.*|ArgM.*|CumSum|TopK|NonZero|Unique|Sort)$/;

/** A node that makes something of the positions of several rows: a table that stretches with the longest, for one. */
export function positionsMixed(nodes: readonly Node[]): Node | undefined {
  const kinds = kindsOf(nodes, ['position_ids'], ['input_ids']);
  const held = new Set(['position_ids']);
  for (const node of nodes) {
    if (node.op === 'Shape' || !node.inputs.some((input) => held.has(input))) continue;
    if (TOGETHER.test(node.op)) return node;
    for (const output of node.outputs) if (kinds.get(output) === 'index') held.add(output);
  }
  return undefined;
}
