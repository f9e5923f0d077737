/** The same decoder in 16 bits, as the converters of ONNX make it: weights, arithmetic, cache and logits. */
import { DTYPE } from '../dtypes.ts';
import { floatsOf, isExternal, tensorOf, type Attribute, type Graph, type Tensor, type ValueInfo } from '../graph.ts';
import { halfBits } from './half-bits.ts';

/** What the converters write for numbers that 16 bits cannot hold. */
const LARGEST = 1e4;

/** Weights in side files are left as they are. */
export function halfGraph(graph: Graph): Graph {
  const value = (info: ValueInfo): ValueInfo =>
    info.dtype === DTYPE.float32 ? { ...info, dtype: DTYPE.float16 } : info;
  const attribute = (name: string, given: Attribute): Attribute => {
    if (given.kind === 'tensor') return { kind: 'tensor', value: halved(given.value) };
    const isCast = name === 'to' && given.kind === 'int' && Number(given.value) === DTYPE.float32;
    return isCast ? { kind: 'int', value: DTYPE.float16 } : given;
  };
  return {
    ...graph,
    inputs: graph.inputs.map(value),
    outputs: graph.outputs.map(value),
    tensors: new Map([...graph.tensors].map(([name, tensor]) => [name, halved(tensor)])),
    nodes: graph.nodes.map((node) => ({
      ...node,
      attributes: new Map([...node.attributes].map(([name, given]) => [name, attribute(name, given)])),
    })),
  };
}

function halved(tensor: Tensor): Tensor {
  if (tensor.dtype !== DTYPE.float32 || isExternal(tensor)) return tensor;
  const values = floatsOf(tensor).map((value) => Math.max(-LARGEST, Math.min(LARGEST, value)));
  return tensorOf(tensor.name, tensor.dims, halfBits(values), DTYPE.float16);
}
