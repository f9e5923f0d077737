/**
 * From the bytes of an ONNX file to a `Graph`.
 *
 * Tensors come out in one form, whatever field the file kept their values in; large ones are views into the input. This
 * refuses what would be ambiguous (one name twice) or has no place in a decoder (tensors of text); whether a graph is
 * safe is `check.ts`'s matter.
 */
import { IdlewildError } from '@idlewild/protocol';

import { DTYPE, bytesOf, dtypeBits } from './dtypes.ts';
import type {
  Attribute,
  Block,
  Dimension,
  External,
  Graph,
  InlineTensor,
  Node,
  Tensor,
  Unknown,
  ValueInfo,
} from './graph.ts';
import { decodeMessage } from './protobuf.ts';
import type { Int, Message } from './schema.ts';

const invalid = (message: string): IdlewildError => new IdlewildError('model_invalid', message);

/**
 * Reads a model file. The graph holds views of `bytes`: do not change them. @throws IdlewildError `model_invalid`,
 * `model_unsupported`
 */
export function readGraph(bytes: Uint8Array): Graph {
  const model = decodeMessage('Model', bytes);
  if (model.graph === undefined) throw invalid('reading an ONNX file: it holds no graph; is it an ONNX model?');
  const opsets = new Map<string, number>();
  for (const { domain, version } of model.opsetImport) {
    addOnce(opsets, canonicalDomain(domain), Number(version ?? 0), 'operator set');
  }
  return {
    ...readBlock(model.graph),
    irVersion: Number(model.irVersion ?? 0),
    opsets,
    functions: model.functions,
    trainingInfo: model.trainingInfo,
    ...kept('unknownModel', model.unknown),
  };
}

/** ONNX's own operators have two spellings of their domain. */
const canonicalDomain = (domain: string | undefined): string =>
  domain === undefined || domain === 'ai.onnx' ? '' : domain;

function kept<Name extends string>(name: Name, unknown: Unknown | undefined): { [key in Name]?: Unknown } {
  return unknown === undefined ? {} : ({ [name]: unknown } as { [key in Name]: Unknown });
}

function addOnce<Value>(map: Map<string, Value>, name: string, value: Value, what: string): void {
  if (map.has(name)) throw invalid(`reading an ONNX file: two ${what}s are called '${name}'`);
  map.set(name, value);
}

function readBlock(graph: Message<'Graph'>): Block {
  const tensors = new Map<string, Tensor>();
  for (const message of graph.initializer) {
    const tensor = readTensor(message);
    addOnce(tensors, tensor.name, tensor, 'initialiser');
  }
  return {
    name: graph.name ?? '',
    nodes: graph.node.map(readNode),
    tensors,
    inputs: graph.input.map(readValueInfo),
    outputs: graph.output.map(readValueInfo),
    values: graph.valueInfo.map(readValueInfo),
    sparseTensors: graph.sparseInitializer,
    ...kept('unknown', graph.unknown),
  };
}

function readNode(message: Message<'Node'>): Node {
  const attributes = new Map<string, Attribute>();
  for (const attribute of message.attribute)
    addOnce(attributes, attribute.name ?? '', readAttribute(attribute), 'attribute');
  return {
    name: message.name ?? '',
    domain: canonicalDomain(message.domain),
    op: message.opType ?? '',
    inputs: message.input,
    outputs: message.output,
    attributes,
    ...kept('unknown', message.unknown),
  };
}

/** AttributeProto.AttributeType; other kinds are carried as they are. */
function readAttribute(message: Message<'Attribute'>): Attribute {
  if (message.refAttrName !== undefined) return { kind: 'other', value: message };
  switch (message.type) {
    case 1:
      return { kind: 'float', value: message.f ?? 0 };
    case 2:
      return { kind: 'int', value: message.i ?? 0 };
    case 3:
      return { kind: 'string', value: attributeText(message, message.s ?? new Uint8Array()) };
    case 4:
      return message.t === undefined
        ? { kind: 'other', value: message }
        : { kind: 'tensor', value: readTensor(message.t) };
    case 5:
      return message.g === undefined
        ? { kind: 'other', value: message }
        : { kind: 'graph', value: readBlock(message.g) };
    case 6:
      return { kind: 'floats', value: message.floats };
    case 7:
      return { kind: 'ints', value: message.ints };
    case 8:
      return { kind: 'strings', value: message.strings.map((bytes) => attributeText(message, bytes)) };
    default:
      return { kind: 'other', value: message };
  }
}

function attributeText(message: Message<'Attribute'>, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new IdlewildError('model_invalid', `attribute '${message.name ?? ''}' holds text that is not UTF-8`, {
      cause,
    });
  }
}

function readValueInfo(message: Message<'ValueInfo'>): ValueInfo {
  const tensorType = message.type?.tensorType;
  return {
    name: message.name ?? '',
    dtype: Number(tensorType?.elemType ?? 0),
    dims: tensorType?.shape?.dim.map(readDimension),
    ...kept('unknown', message.unknown),
    ...kept('unknownType', message.type?.unknown),
  };
}

const readDimension = (dim: Message<'Dimension'>): Dimension =>
  dim.dimParam ?? (dim.dimValue === undefined ? undefined : Number(dim.dimValue));

function readTensor(message: Message<'Tensor'>): Tensor {
  const name = message.name ?? '';
  const dtype = Number(message.dataType ?? 0);
  const dims = message.dims.map(Number);
  if (dtype === 8 || message.stringData.length > 0) {
    throw new IdlewildError('model_unsupported', `tensor '${name}' holds text; only numeric tensors are supported`);
  }
  const head = { name, dtype, dims, ...kept('unknown', message.unknown) };
  const location = message.dataLocation ?? 0;
  if (location === 1) return { ...head, external: readExternal(name, message, bytesOf(dtype, dims)) };
  if (location !== 0) throw invalid(`tensor '${name}' has data location ${location}; ONNX defines 0 and 1`);
  return { ...head, data: message.rawData ?? typedData(name, dtype, message) };
}

/** The keys `offset` and `length` are optional: the start of the file, and what type and dims need. */
function readExternal(name: string, message: Message<'Tensor'>, bytesNeeded: number | undefined): External {
  const entries = new Map<string, string>();
  for (const { key, value } of message.externalData)
    addOnce(entries, key ?? '', value ?? '', `external data key of tensor '${name}'`);
  const location = entries.get('location');
  if (location === undefined) throw invalid(`external tensor '${name}' does not say in which file it is`);
  const offset = decimal(name, entries.get('offset')) ?? 0;
  const bytes = decimal(name, entries.get('length')) ?? bytesNeeded;
  if (bytes === undefined)
    throw invalid(`external tensor '${name}' has element type ${String(message.dataType)}, which ONNX does not define`);
  return { location, offset, bytes };
}

function decimal(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw invalid(`external tensor '${name}' has '${text}' where a number of bytes belongs`);
  return value;
}

/**
 * Values that the file keeps in typed fields instead of raw bytes; onnx.proto3 says at each field which types may use
 * it.
 */
function typedData(name: string, dtype: number, message: Message<'Tensor'>): InlineTensor['data'] {
  const { floatData, doubleData, int32Data, int64Data, uint64Data } = message;
  if (floatData.length > 0) return bytesOfArray(Float32Array.from(floatData));
  if (doubleData.length > 0) return bytesOfArray(Float64Array.from(doubleData));
  if (int64Data.length > 0) return bytesOfArray(BigInt64Array.from(int64Data, BigInt));
  if (uint64Data.length > 0) {
    return dtype === DTYPE.uint32
      ? bytesOfArray(Uint32Array.from(uint64Data, Number))
      : bytesOfArray(BigUint64Array.from(uint64Data, BigInt));
  }
  if (int32Data.length === 0) return new Uint8Array(0);
  return narrowInts(name, dtype, int32Data);
}

/** Small types travel as one 32-bit integer for each element; types below a byte, for each packed byte. */
function narrowInts(name: string, dtype: number, values: readonly Int[]): Uint8Array {
  const bits = dtypeBits(dtype) ?? 0;
  if (bits === 32) return bytesOfArray(Int32Array.from(values, Number));
  if (bits === 16) return bytesOfArray(Uint16Array.from(values, Number));
  if (bits > 0 && bits <= 8) return Uint8Array.from(values, Number);
  throw invalid(`tensor '${name}' of element type ${dtype} keeps its values in int32_data, which ONNX does not allow`);
}

const bytesOfArray = (array: { readonly buffer: ArrayBufferLike }): Uint8Array => new Uint8Array(array.buffer);
