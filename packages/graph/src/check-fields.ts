/**
 * What may stand in a file beside what we understand: notes for people and tools, by field number, and nothing else.
 *
 * The codec carries unknown fields along, and the runtime, which is handed them, may be newer than our table. Each of
 * these fields was looked up in onnx.proto3 (IR version 13): none says where data lies, what a node does or of which
 * type a value is.
 */
import type { Block, Graph, Unknown } from './graph.ts';
import { fieldNumbers } from './protobuf.ts';

type Holder = 'a model' | 'a graph' | 'a node' | 'a tensor' | 'a value' | 'a type';

const NOTES: Readonly<Record<Holder, readonly number[]>> = {
  // The producer's name and version, a domain, the model's version, a text, metadata.
  'a model': [2, 3, 4, 5, 6, 14],
  // A text, notes on quantisation, metadata.
  'a graph': [10, 14, 16],
  'a node': [6, 9],
  'a tensor': [12, 16],
  'a value': [3, 4],
  // Denotation: what the tensor is of.
  'a type': [6],
};

/** What is there that is no note, for people; `undefined` when all are. */
function strange(holder: Holder, unknown: Unknown | undefined): string | undefined {
  for (const bytes of unknown ?? []) {
    for (const number of fieldNumbers(bytes))
      if (!NOTES[holder].includes(number)) return `${holder} with a field ${number}, which is not known`;
  }
  return undefined;
}

export const strangeInModel = (graph: Graph): string | undefined => strange('a model', graph.unknownModel);

/** Of the block itself, not of its subgraphs. */
export function strangeInBlock(block: Block): string | undefined {
  const found = strange('a graph', block.unknown);
  if (found !== undefined) return found;
  for (const node of block.nodes) {
    const inNode = strange('a node', node.unknown);
    if (inNode !== undefined) return inNode;
    for (const attribute of node.attributes.values()) {
      const inTensor = attribute.kind === 'tensor' ? strange('a tensor', attribute.value.unknown) : undefined;
      if (inTensor !== undefined) return inTensor;
    }
  }
  for (const tensor of block.tensors.values()) {
    const inTensor = strange('a tensor', tensor.unknown);
    if (inTensor !== undefined) return inTensor;
  }
  for (const value of [...block.inputs, ...block.outputs, ...block.values]) {
    const inValue = strange('a value', value.unknown) ?? strange('a type', value.unknownType);
    if (inValue !== undefined) return inValue;
  }
  return undefined;
}
