/**
 * Inputs and outputs of 16 bits made to take and give 32: the graph computes as before, and casts at its ends. Every
 * number of 16 bits is one of 32, so nothing is rounded on the way out and back in.
 *
 * Node's binding of ONNX Runtime 1.30 takes no input of 16 bits where the platform has a `Float16Array` (it reads its
 * length as 0; https://github.com/microsoft/onnxruntime/pull/32323).
 */
import { createGraphBuilder } from './builder.ts';
import { DTYPE } from './dtypes.ts';
import { feedsOf, type Graph, type ValueInfo } from './graph.ts';

/** The graph itself where it has no such ends. Its subgraphs must not read them. */
export function floatEnds(graph: Graph): Graph {
  const isHalf = ({ dtype }: ValueInfo): boolean => dtype === DTYPE.float16;
  const [inputs, outputs] = [feedsOf(graph).filter(isHalf), graph.outputs.filter(isHalf)];
  if (inputs.length + outputs.length === 0) return graph;
  const builder = createGraphBuilder({ from: graph });
  const taken = new Map(
    inputs.map(({ name }) => [
      name,
      builder.op('Cast', [name], { to: DTYPE.float16 }, builder.uniqueName(`${name}.half`)),
    ]),
  );
  const given = new Map(outputs.map(({ name }) => [name, builder.uniqueName(`${name}.half`)]));
  for (const [name, half] of given) builder.op('Cast', [taken.get(name) ?? half], { to: DTYPE.float32 }, name);
  const built = builder.build();
  const renamed = (name: string): string => taken.get(name) ?? given.get(name) ?? name;
  const casts = built.nodes.slice(graph.nodes.length);
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(renamed),
    outputs: node.outputs.map((name) => given.get(name) ?? name),
  }));
  const wide = (value: ValueInfo): ValueInfo => (isHalf(value) ? { ...value, dtype: DTYPE.float32 } : value);
  return {
    ...built,
    nodes: [...casts.slice(0, inputs.length), ...nodes, ...casts.slice(inputs.length)],
    inputs: built.inputs.map(wide),
    outputs: built.outputs.map(wide),
    values: built.values.filter(({ name }) => !given.has(name)),
  };
}
