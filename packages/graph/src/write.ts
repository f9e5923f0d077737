/**
 * From a `Graph` to the bytes of an ONNX file.
 *
 * Inline tensors are written as raw bytes, and, in the list of chunks, not copied. What `readGraph` carried in
 * `unknown` is written back.
 */
import type { Attribute, Block, Graph, Node, Tensor, Unknown, ValueInfo } from './graph.ts';
import { isExternal } from './graph.ts';
import { encodeMessage } from './protobuf.ts';
import type { EncodedMessage } from './protobuf.ts';
import type { Message } from './schema.ts';

/** The file in pieces that share memory with the graph's tensors. */
export const writeGraphChunks = (graph: Graph): EncodedMessage => encodeMessage('Model', modelMessage(graph));

/** The file in one piece. */
export function writeGraph(graph: Graph): Uint8Array {
  const { chunks, bytes } = writeGraphChunks(graph);
  const file = new Uint8Array(bytes);
  let at = 0;
  for (const chunk of chunks) {
    file.set(chunk, at);
    at += chunk.length;
  }
  return file;
}

const keep = (unknown: Unknown | undefined): { unknown?: Uint8Array[] } =>
  unknown === undefined ? {} : { unknown: [...unknown] };

const modelMessage = (graph: Graph): Message<'Model'> => ({
  irVersion: graph.irVersion,
  graph: blockMessage(graph),
  opsetImport: [...graph.opsets].map(([domain, version]) => ({ domain, version })),
  functions: [...graph.functions],
  trainingInfo: [...graph.trainingInfo],
  ...keep(graph.unknownModel),
});

const blockMessage = (block: Block): Message<'Graph'> => ({
  name: block.name,
  node: block.nodes.map(nodeMessage),
  initializer: [...block.tensors.values()].map(tensorMessage),
  input: block.inputs.map(valueInfoMessage),
  output: block.outputs.map(valueInfoMessage),
  valueInfo: block.values.map(valueInfoMessage),
  sparseInitializer: [...block.sparseTensors],
  ...keep(block.unknown),
});

const nodeMessage = (node: Node): Message<'Node'> => ({
  input: [...node.inputs],
  output: [...node.outputs],
  name: node.name,
  opType: node.op,
  attribute: [...node.attributes].map(([name, attribute]) => attributeMessage(name, attribute)),
  ...(node.domain === '' ? {} : { domain: node.domain }),
  ...keep(node.unknown),
});

function attributeMessage(name: string, attribute: Attribute): Message<'Attribute'> {
  const encoder = new TextEncoder();
  const empty = { name, floats: [], ints: [], strings: [], tensors: [], graphs: [] };
  switch (attribute.kind) {
    case 'float':
      return { ...empty, type: 1, f: attribute.value };
    case 'int':
      return { ...empty, type: 2, i: attribute.value };
    case 'string':
      return { ...empty, type: 3, s: encoder.encode(attribute.value) };
    case 'tensor':
      return { ...empty, type: 4, t: tensorMessage(attribute.value) };
    case 'graph':
      return { ...empty, type: 5, g: blockMessage(attribute.value) };
    case 'floats':
      return { ...empty, type: 6, floats: [...attribute.value] };
    case 'ints':
      return { ...empty, type: 7, ints: [...attribute.value] };
    case 'strings':
      return { ...empty, type: 8, strings: attribute.value.map((text) => encoder.encode(text)) };
    case 'other':
      return attribute.value;
  }
}

function valueInfoMessage(value: ValueInfo): Message<'ValueInfo'> {
  const shape = value.dims?.map((dim) =>
    typeof dim === 'string' ? { dimParam: dim } : dim === undefined ? {} : { dimValue: dim },
  );
  const tensorType = { elemType: value.dtype, ...(shape === undefined ? {} : { shape: { dim: shape } }) };
  // A name alone is a legal declaration; the runtime then infers the type.
  const typed = value.dtype !== 0 || value.unknownType !== undefined;
  const type = { ...(value.dtype === 0 ? {} : { tensorType }), ...keep(value.unknownType) };
  return { name: value.name, ...(typed ? { type } : {}), ...keep(value.unknown) };
}

function tensorMessage(tensor: Tensor): Message<'Tensor'> {
  const head = {
    name: tensor.name,
    dataType: tensor.dtype,
    dims: [...tensor.dims],
    floatData: [],
    int32Data: [],
    stringData: [],
    int64Data: [],
    doubleData: [],
    uint64Data: [],
    externalData: [],
    ...keep(tensor.unknown),
  };
  if (!isExternal(tensor)) return { ...head, rawData: tensor.data };
  const { location, offset, bytes } = tensor.external;
  const externalData = [
    { key: 'location', value: location },
    { key: 'offset', value: String(offset) },
    { key: 'length', value: String(bytes) },
  ];
  return { ...head, dataLocation: 1, externalData };
}
