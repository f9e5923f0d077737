/**
 * Numbers that a graph computes from constants alone, or from the width of a head: exporters write the scale of
 * attention as 1 / √(last dimension of the query) rather than as a number.
 */
import { DTYPE } from './dtypes.ts';
import { attributeOf, isExternal, type Graph, type Node, type Tensor } from './graph.ts';
import { floatOfHalf } from './half.ts';

const DEPTH_MAX = 12;

/** The value of a tensor of one number, or `undefined` where it is none that can be told. */
export function createScalars(
  graph: Graph,
  producers: ReadonlyMap<string, Node>,
  headDim: number,
): (name: string) => number | undefined {
  function valueOf(name: string, depth: number): number | undefined {
    const tensor = graph.tensors.get(name);
    if (tensor !== undefined) return scalar(tensor);
    const node = producers.get(name);
    if (node === undefined || depth > DEPTH_MAX) return undefined;
    if (node.op === 'Constant') return ofConstant(node);
    // A dimension that scales attention is the width of a head; the whole is compared with the graph anyway.
    if (node.op === 'Shape') return headDim;
    const [a, b] = node.inputs.slice(0, 2).map((input) => valueOf(input, depth + 1));
    if (a === undefined) return undefined;
    switch (node.op) {
      case 'Cast':
      case 'Identity':
      case 'Slice':
      case 'Gather':
      case 'Squeeze':
      case 'Unsqueeze':
      case 'Reshape':
        return a;
      case 'Sqrt':
        return Math.sqrt(a);
      case 'Reciprocal':
        return 1 / a;
      case 'Div':
        return b === undefined ? undefined : a / b;
      case 'Mul':
        return b === undefined ? undefined : a * b;
      case 'Pow':
        return b === undefined ? undefined : a ** b;
      default:
        return undefined;
    }
  }
  return (name) => valueOf(name, 0);
}

function ofConstant(node: Node): number | undefined {
  const tensor = attributeOf(node, 'value', 'tensor');
  return tensor === undefined ? attributeOf(node, 'value_float', 'float') : scalar(tensor);
}

function scalar(tensor: Tensor): number | undefined {
  if (isExternal(tensor) || tensor.dims.some((size) => size !== 1)) return undefined;
  const { data, dtype } = tensor;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  switch (dtype) {
    case DTYPE.float32:
      return view.getFloat32(0, true);
    case DTYPE.float64:
      return view.getFloat64(0, true);
    case DTYPE.float16:
      return floatOfHalf(view.getUint16(0, true));
    case DTYPE.int64:
      return Number(view.getBigInt64(0, true));
    default:
      return undefined;
  }
}
