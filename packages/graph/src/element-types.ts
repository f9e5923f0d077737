/** Element types of tensors that a graph does not declare: what follows from the operators that make them. */
import { present } from './attention-draft.ts';
import { DTYPE } from './dtypes.ts';
import { attributeOf, isExternal, type Graph, type Node } from './graph.ts';

/** Operators whose output has a type of its own. */
const FIXED: Readonly<Record<string, number>> = {
  Shape: DTYPE.int64,
  Size: DTYPE.int64,
  NonZero: DTYPE.int64,
  ArgMax: DTYPE.int64,
  ArgMin: DTYPE.int64,
  Equal: DTYPE.bool,
  Greater: DTYPE.bool,
  GreaterOrEqual: DTYPE.bool,
  Less: DTYPE.bool,
  LessOrEqual: DTYPE.bool,
  And: DTYPE.bool,
  Or: DTYPE.bool,
  Not: DTYPE.bool,
  IsNaN: DTYPE.bool,
  IsInf: DTYPE.bool,
};

/** Of which input an operator's output has the type, where it is not the first. */
const TYPED_BY: Readonly<Record<string, number>> = {
  Where: 1,
  CastLike: 1,
  DequantizeLinear: 1,
  GatherBlockQuantized: 2,
};

/** Element types of tensors: what the file states, or what follows from operators. */
export function createDtypes(graph: Graph): (name: string) => number {
  const known = new Map<string, number>();
  for (const { name, dtype } of [...graph.inputs, ...graph.outputs, ...graph.values])
    if (dtype !== 0) known.set(name, dtype);
  for (const { name, dtype } of graph.tensors.values()) known.set(name, dtype);
  for (const node of graph.nodes) {
    for (const output of present(node.outputs)) if (!known.has(output)) known.set(output, dtypeOf(node, known));
  }
  return (name) => known.get(name) ?? DTYPE.float32;
}

function dtypeOf(node: Node, known: ReadonlyMap<string, number>): number {
  const fixed = FIXED[node.op];
  if (fixed !== undefined) return fixed;
  const to = attributeOf(node, 'to', 'int');
  if (node.op === 'Cast' && to !== undefined) return Number(to);
  if (node.op === 'Constant' || node.op === 'ConstantOfShape') {
    const tensor = attributeOf(node, 'value', 'tensor');
    if (tensor !== undefined && !isExternal(tensor)) return tensor.dtype;
    return attributeOf(node, 'value_int', 'int') === undefined && !node.attributes.has('value_ints')
      ? DTYPE.float32
      : DTYPE.int64;
  }
  return known.get(node.inputs[TYPED_BY[node.op] ?? 0] ?? '') ?? DTYPE.float32;
}
