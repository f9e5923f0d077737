import { codeOf } from '@idlewild/protocol';
import { expect, test } from 'vitest';

import { checkGraph } from './check.ts';
import { createGraphBuilder } from './builder.ts';
import { trimmablePast } from './decoder.ts';
import { DTYPE } from './dtypes.ts';
import { externalise } from './externalise.ts';
import type { ExternalTensor, Graph, Node, Tensor } from './graph.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { readJacobean } from './testing/jacobean.ts';
import { writeGraph } from './write.ts';

const jacobean = readGraph(readJacobean());

/** What `checkGraph` says of the graph once it has been written and read: empty when it passes. */
function verdict(graph: Graph, files: ReadonlyMap<string, number> = new Map([['weights.bin', 1_000]])): string {
  try {
    checkGraph(readGraph(writeGraph(graph)), { files });
    return '';
  } catch (error) {
    if (codeOf(error) !== 'model_refused') throw error;
    return (error as Error).message;
  }
}

function graphOf(op: string, tensor: Tensor): Graph {
  const b = createGraphBuilder();
  b.node(op, [b.input('x', DTYPE.float32, [2, 4]), tensor.name], {}, ['y']);
  b.output('y', DTYPE.float32, [2, 4]);
  const graph = b.build();
  return { ...graph, tensors: new Map([[tensor.name, tensor]]) };
}

const inline: Tensor = { name: 'w', dtype: DTYPE.float32, dims: [4, 4], data: new Uint8Array(64) };
const external = (change: Partial<ExternalTensor['external']>): Tensor => ({
  name: 'w',
  dtype: DTYPE.float32,
  dims: [4, 4],
  external: { location: 'weights.bin', offset: 936, bytes: 64, ...change },
});

test('the bundled model passes, whole, quantised, trimmable and weight-free', () => {
  for (const graph of [jacobean, quantiseMatMul4(jacobean), trimmablePast(jacobean)]) {
    expect(verdict(graph)).toBe('');
    const moved = externalise(graph);
    expect(verdict(moved.graph, new Map([['weights.bin', moved.bytes]]))).toBe('');
    expect(verdict(moved.graph, new Map([['weights.bin', moved.bytes - 1]]))).toMatch(/lies at bytes/);
  }
});

test('an operator that is not on the table is refused by name', () => {
  expect(verdict(graphOf('MatMul', inline))).toBe('');
  for (const op of [
    'RandomNormal',
    'com.example.MatMul',
    'com.microsoft.Trainer',
    'com.microsoft.PackedAttention',
    'com.microsoft.RelativePositionBias',
    'ai.onnx.ml.LinearRegressor',
    'constructor',
  ]) {
    expect(verdict(graphOf(op, inline))).toMatch(new RegExp(`${op} '.*' is not on the table`));
  }
});

test('a tensor outside its file, or in what is no file of the model, is refused', () => {
  expect(verdict(graphOf('MatMul', external({})))).toBe('');
  expect(verdict(graphOf('MatMul', external({ offset: 937 })))).toMatch(/tensor 'w' lies at bytes 937 to 1001/);
  expect(verdict(graphOf('MatMul', external({ offset: 2 ** 53 - 1 })))).toMatch(/'w' lies at bytes/);
  expect(verdict(graphOf('MatMul', external({ bytes: 63 })))).toMatch(/needs 64 bytes and has 63/);
  expect(verdict(graphOf('MatMul', external({ location: 'other.bin' })))).toMatch(/not a file of the model/);
  for (const location of [
    '../weights.bin',
    '/etc/passwd',
    'a/weights.bin',
    'a\\weights.bin',
    '..',
    '.',
    '',
    'C:weights.bin',
    'weights.bin\0',
    '*/_ORT_MEM_ADDR_/*',
  ]) {
    expect(verdict(graphOf('MatMul', external({ location })), new Map([[location, 1_000]]))).toMatch(
      /not a plain file name/,
    );
  }
});

test('a tensor whose bytes do not match its type and dims is refused', () => {
  expect(verdict(graphOf('MatMul', { ...inline, data: new Uint8Array(60) }))).toMatch(
    /tensor 'w' \(float32 \[4, 4\]\) needs 64 bytes and has 60/,
  );
  expect(verdict(graphOf('MatMul', { ...inline, dtype: 99 }))).toMatch(/element type 99/);
  expect(verdict(graphOf('MatMul', { ...inline, dims: [4, -4] }))).toMatch(/has dims \[4, -4\]/);
  expect(verdict(graphOf('MatMul', { ...inline, dims: [0, 2 ** 41], data: new Uint8Array(0) }))).toMatch(/has dims/);
  expect(verdict(graphOf('MatMul', { ...inline, dims: new Array(9).fill(1), data: new Uint8Array(4) }))).toMatch(
    /rank 9/,
  );
});

test('a graph with functions, training information or sparse tensors is refused', () => {
  const bytes = [new Uint8Array(4)];
  expect(verdict({ ...graphOf('MatMul', inline), functions: bytes })).toMatch(/functions of its own/);
  expect(verdict({ ...graphOf('MatMul', inline), trainingInfo: bytes })).toMatch(/training information/);
  expect(verdict({ ...graphOf('MatMul', inline), sparseTensors: bytes })).toMatch(/sparse/);
});

test('a graph that does not hang together is refused', () => {
  const graph = graphOf('MatMul', inline);
  const node = graph.nodes[0] as Node;
  expect(verdict({ ...graph, nodes: [{ ...node, inputs: ['x', 'ghost'] }] })).toMatch(/reads 'ghost'/);
  expect(verdict({ ...graph, nodes: [node, node] })).toMatch(/computes 'y', which there is already/);
  expect(verdict({ ...graph, nodes: [] })).toMatch(/nothing computes its output 'y'/);
  expect(verdict({ ...graph, opsets: new Map([['', 1_000]]) })).toMatch(/opset 1000/);
});

test('what hides in a subgraph or in an attribute is found', () => {
  const inner = graphOf('RandomNormal', inline);
  const block = { ...inner, inputs: [] };
  const graph = graphOf('If', inline);
  const node = graph.nodes[0] as Node;
  const withAttribute = (
    attribute: readonly [string, Node['attributes'] extends ReadonlyMap<string, infer Value> ? Value : never],
  ): Graph => ({ ...graph, nodes: [{ ...node, attributes: new Map([attribute]) }] });
  expect(
    verdict(
      withAttribute([
        'then_branch',
        { kind: 'graph', value: { ...block, nodes: [{ ...(block.nodes[0] as Node), outputs: ['z'] }] } },
      ]),
    ),
  ).toMatch(/RandomNormal/);
  expect(verdict(withAttribute(['value', { kind: 'tensor', value: external({}) }]))).toMatch(/points to a file/);
  const other = { name: 'alpha', type: 13, floats: [], ints: [], strings: [], tensors: [], graphs: [] };
  expect(verdict(withAttribute(['alpha', { kind: 'other', value: other }]))).toMatch(/attribute 'alpha' .* kind 13/);
});
