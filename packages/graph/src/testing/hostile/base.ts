/** What hostile graphs are made from: one that is good, and ways to change one thing in it. */
import { createGraphBuilder } from '../../builder.ts';
import { DTYPE } from '../../dtypes.ts';
import type { Attribute, Block, ExternalTensor, Graph, InlineTensor, Node, Tensor } from '../../graph.ts';

export interface Hostile {
  readonly name: string;
  readonly tries: string;
  readonly bytes: Uint8Array;
  readonly files: ReadonlyMap<string, number>;
  /** How it has to end; `model_refused` if it is a graph at all. */
  readonly code: 'model_refused' | 'model_invalid' | 'model_unsupported';
  /** What the message says of it. */
  readonly says: RegExp;
}

export type Case = readonly [
  name: string,
  tries: string,
  says: RegExp,
  graph: Graph,
  files?: ReadonlyMap<string, number>,
];

export const FILES: ReadonlyMap<string, number> = new Map([['weights.bin', 1_000]]);
export const WEIGHT: InlineTensor = { name: 'w', dtype: DTYPE.float32, dims: [4, 4], data: new Uint8Array(64) };
export const EXTERNAL: ExternalTensor = {
  name: 'w',
  dtype: DTYPE.float32,
  dims: [4, 4],
  external: { location: 'weights.bin', offset: 936, bytes: 64 },
};

/** The good one: y = x · w. */
export function harmlessGraph(tensor: Tensor = WEIGHT): Graph {
  const b = createGraphBuilder();
  b.node('MatMul', [b.input('x', DTYPE.float32, [2, 4]), tensor.name], {}, ['y']);
  b.output('y', DTYPE.float32, [2, 4]);
  return { ...b.build(), tensors: new Map([[tensor.name, tensor]]) };
}

export const changed = (change: Partial<Graph>): Graph => ({ ...harmlessGraph(), ...change });
export const operator = (op: string, domain = ''): Graph =>
  changed({ nodes: [{ ...nodeOf(harmlessGraph()), op, domain }] });
export const nodeOf = (graph: Graph): Node => graph.nodes[0] as Node;
export const weight = (change: Partial<InlineTensor>): Graph => harmlessGraph({ ...WEIGHT, ...change });
export const external = (change: Partial<ExternalTensor['external']>, dims = EXTERNAL.dims): Graph =>
  harmlessGraph({ ...EXTERNAL, dims, external: { ...EXTERNAL.external, ...change } });
export const withAttribute = (name: string, attribute: Attribute, op = 'MatMul'): Graph =>
  changed({ nodes: [{ ...nodeOf(harmlessGraph()), op, attributes: new Map([[name, attribute]]) }] });

/** Nodes that go before the product, on constants of its graph. */
export function before(build: (b: ReturnType<typeof createGraphBuilder>) => void): Graph {
  const b = createGraphBuilder({ from: harmlessGraph() });
  build(b);
  const graph = b.build();
  return { ...graph, nodes: [...graph.nodes.slice(1), nodeOf(graph)] };
}

/** A branch or a body that computes `out` with one node of `op`. */
export function block(op: string, over: Partial<Node> = {}, inputs: readonly string[] = ['x', 'w']): Block {
  const node = {
    name: '',
    domain: '',
    op,
    inputs,
    outputs: ['out'],
    attributes: new Map<string, Attribute>(),
    ...over,
  };
  const output = { name: 'out', dtype: DTYPE.float32, dims: undefined };
  return {
    name: 'inner',
    nodes: [node],
    tensors: new Map(),
    inputs: [],
    outputs: [output],
    values: [],
    sparseTensors: [],
  };
}

export const asGraph = (value: Block): Attribute => ({ kind: 'graph', value });

/** `if` with this branch on either side. */
export function branching(inner: Block): Graph {
  return before((b) => {
    b.tensor('yes', [], Uint8Array.of(1), DTYPE.bool);
    b.node('If', ['yes'], { then_branch: asGraph(inner), else_branch: asGraph(block('MatMul')) }, ['z']);
  });
}

/** A body that hands its condition on, and goes on with what is in it. */
export function loopBody(nodes: readonly Node[] = []): Block {
  const hands: Node = { name: '', domain: '', op: 'Identity', inputs: ['go'], outputs: ['on'], attributes: new Map() };
  const [round, go, on] = [
    { name: 'round', dtype: DTYPE.int64, dims: [] },
    { name: 'go', dtype: DTYPE.bool, dims: [] },
    { name: 'on', dtype: DTYPE.bool, dims: [] },
  ] as const;
  return {
    name: 'body',
    nodes: [hands, ...nodes],
    tensors: new Map(),
    inputs: [round, go],
    outputs: [on],
    values: [],
    sparseTensors: [],
  };
}

/** Rounds: constant, or `undefined` for "while"; or a name that is fed. */
export function looping(rounds: number | undefined | string, body: Block = loopBody()): Graph {
  return before((b) => {
    const yes = b.tensor('yes', [], Uint8Array.of(1), DTYPE.bool);
    const count =
      typeof rounds === 'number' ? b.tensor('rounds', [], BigInt64Array.of(BigInt(rounds))) : (rounds ?? '');
    if (typeof rounds === 'string') b.input(rounds, DTYPE.int64, []);
    b.node('Loop', [count, yes], { body: asGraph(body) }, []);
  });
}

export function nested(depth: number): Block {
  let inner = block('MatMul');
  for (let i = 0; i < depth; i++) {
    const attributes = new Map([
      ['then_branch', asGraph(inner)],
      ['else_branch', asGraph(inner)],
    ]);
    inner = block('If', { attributes, outputs: ['out'] }, ['yes']);
  }
  return renamed(inner, 0);
}

/** Names of inner blocks must differ from those around them. */
export function renamed(inner: Block, depth: number): Block {
  const name = `out_${depth}`;
  const nodes = inner.nodes.map((node) => ({
    ...node,
    outputs: [name],
    attributes: new Map(
      [...node.attributes].map(([key, value]) => [
        key,
        value.kind === 'graph' ? asGraph(renamed(value.value, depth + 1)) : value,
      ]),
    ),
  }));
  return { ...inner, nodes, outputs: inner.outputs.map((output) => ({ ...output, name })) };
}
