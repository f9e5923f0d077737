/**
 * How products with 4-bit weights are computed: in int8, where the graph leaves it to the runtime.
 *
 * MatMulNBits says with `accuracy_level` how exact the left side has to be at least. Left out, the runtime unpacks the
 * weights to float32 for every run of more than one row; with level 4 it rounds the left side to int8 by blocks and
 * multiplies integers, as ONNX Runtime GenAI's own builds for processors ask for. A step of decoding then takes a
 * quarter of the time, and one row gives the same bits as many.
 */
import { attributeOf, type Graph, type Node } from './graph.ts';

const INT8 = 4;

const isFree = (node: Node): boolean =>
  node.op === 'MatMulNBits' &&
  Number(attributeOf(node, 'bits', 'int') ?? 4) === 4 &&
  Number(attributeOf(node, 'accuracy_level', 'int') ?? 0) === 0;

/** The graph, its free products computed in int8; itself when there are none. */
export function computeInInt8(graph: Graph): Graph {
  if (!graph.nodes.some(isFree)) return graph;
  const level = { kind: 'int', value: INT8 } as const;
  const nodes = graph.nodes.map((node) =>
    isFree(node) ? { ...node, attributes: new Map([...node.attributes, ['accuracy_level', level]]) } : node,
  );
  return { ...graph, nodes };
}
