/**
 * ONNX as data: the types on which every transformation of this package works.
 *
 * Values are immutable: a transformation returns a new graph that shares what it did not change with the old one. A
 * tensor is inline (its bytes are here, little-endian, row by row) or external (its bytes lie in a side file). The
 * domain of ONNX's own operators is always written ''. What this package does not interpret is carried along in
 * `unknown` and written back. Nothing here knows about files, devices or runtimes.
 */
import { IdlewildError } from '@idlewild/protocol';

import { DTYPE, bytesOf } from './dtypes.ts';
import type { Int, Message } from './schema.ts';

export type Unknown = readonly Uint8Array[];

/** A size, the name of a size that is known at run time only, or `undefined`. */
export type Dimension = number | string | undefined;

export interface ValueInfo {
  readonly name: string;
  /** ONNX number of the element type; 0 when the file says none, or when the value is no tensor. */
  readonly dtype: number;
  /** `undefined` when not even the rank is known. */
  readonly dims: readonly Dimension[] | undefined;
  readonly unknown?: Unknown;
  /** What a type other than a tensor's said. */
  readonly unknownType?: Unknown;
}

export interface TensorHead {
  readonly name: string;
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly unknown?: Unknown;
}

export interface InlineTensor extends TensorHead {
  readonly data: Uint8Array;
}

/** `bytes` from `offset` of the file at `location`, relative to the model. */
export interface External {
  readonly location: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface ExternalTensor extends TensorHead {
  readonly external: External;
}

export type Tensor = InlineTensor | ExternalTensor;

export const isExternal = (tensor: Tensor): tensor is ExternalTensor => 'external' in tensor;

/** What an attribute of each kind holds. */
export interface AttributeValues {
  readonly int: Int;
  readonly float: number;
  readonly string: string;
  readonly ints: readonly Int[];
  readonly floats: readonly number[];
  readonly strings: readonly string[];
  readonly tensor: Tensor;
  /** A branch of an If, the body of a Loop: it sees the values of the graph around it. */
  readonly graph: Block;
  /** Anything else, as the file had it. */
  readonly other: Message<'Attribute'>;
}

export type AttributeKind = keyof AttributeValues;
export type Attribute = {
  [Kind in AttributeKind]: { readonly kind: Kind; readonly value: AttributeValues[Kind] };
}[AttributeKind];

export interface Node {
  readonly name: string;
  readonly domain: string;
  readonly op: string;
  /** '' stands for an optional input that is not given. */
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, Attribute>;
  readonly unknown?: Unknown;
}

/** What a model and a subgraph have in common. Nodes are in an order in which they can run. */
export interface Block {
  readonly name: string;
  readonly nodes: readonly Node[];
  /** Initialisers by name, in file order. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** As declared. Old files declare initialisers too: `feedsOf` leaves these out. */
  readonly inputs: readonly ValueInfo[];
  readonly outputs: readonly ValueInfo[];
  /** Types that the file states for intermediate values. */
  readonly values: readonly ValueInfo[];
  readonly sparseTensors: Unknown;
  readonly unknown?: Unknown;
}

export interface Graph extends Block {
  readonly irVersion: number;
  /** Version of each operator domain. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly functions: Unknown;
  readonly trainingInfo: Unknown;
  readonly unknownModel?: Unknown;
}

/** The inputs that a caller must feed. */
export const feedsOf = (block: Block): ValueInfo[] => block.inputs.filter((input) => !block.tensors.has(input.name));

/** A name for messages: nodes may be anonymous, their outputs are not. */
export const nodeTitle = (node: Node): string =>
  `${node.domain === '' ? '' : `${node.domain}.`}${node.op} '${node.name || (node.outputs[0] ?? '')}'`;

/** The value of an attribute of this kind, or `undefined` when the node has none of that name and kind. */
export function attributeOf<Kind extends AttributeKind>(
  node: Node,
  name: string,
  kind: Kind,
): AttributeValues[Kind] | undefined {
  const attribute = node.attributes.get(name);
  return attribute?.kind === kind ? (attribute.value as AttributeValues[Kind]) : undefined;
}

/** Subgraphs of a node, none for most. */
export const blocksOf = (node: Node): Block[] =>
  [...node.attributes.values()].flatMap((attribute) => (attribute.kind === 'graph' ? [attribute.value] : []));

export type NumberArray =
  Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array;

const ARRAY_DTYPE: ReadonlyArray<readonly [new () => NumberArray, number]> = [
  [Float32Array, DTYPE.float32],
  [Float64Array, DTYPE.float64],
  [Int32Array, DTYPE.int32],
  [BigInt64Array, DTYPE.int64],
  [Uint8Array, DTYPE.uint8],
  [Int8Array, DTYPE.int8],
  [Uint16Array, DTYPE.uint16],
];

/**
 * An inline tensor that shares the array's memory. `dtype` is taken from the array unless given (float16 bits in a
 * Uint16Array).
 */
export function tensorOf(name: string, dims: readonly number[], values: NumberArray, dtype?: number): InlineTensor {
  const type = dtype ?? ARRAY_DTYPE.find(([constructor]) => values instanceof constructor)?.[1] ?? DTYPE.uint8;
  const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (bytesOf(type, dims) !== data.length) {
    throw new IdlewildError('model_invalid', `tensor '${name}' [${dims.join(', ')}] is given ${data.length} bytes`);
  }
  return { name, dtype: type, dims, data };
}

/** The values of an inline f32 tensor: a view where the bytes are aligned, else a copy. */
export function floatsOf(tensor: InlineTensor): Float32Array {
  const { data } = tensor;
  if (data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, data.length / 4);
  return new Float32Array(data.slice().buffer);
}
