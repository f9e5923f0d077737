/**
 * The part of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3) that Idlewild understands, as a
 * table.
 *
 * Field names are ONNX's in camelCase. Fields that are not in the table (doc strings, metadata, the producer's name)
 * are kept verbatim by the codec in `unknown`. Functions, training info and sparse tensors are in the table as opaque
 * bytes so that a device can see, and refuse, that they are there.
 */
export type FieldKind = 'int' | 'uint' | 'float' | 'double' | 'string' | 'bytes' | 'message';
export type Field = readonly [name: string, kind: FieldKind, count: 'one' | 'many', message?: string];

export const SCHEMA = {
  Model: {
    1: ['irVersion', 'int', 'one'],
    7: ['graph', 'message', 'one', 'Graph'],
    8: ['opsetImport', 'message', 'many', 'OperatorSet'],
    20: ['trainingInfo', 'bytes', 'many'],
    25: ['functions', 'bytes', 'many'],
  },
  OperatorSet: { 1: ['domain', 'string', 'one'], 2: ['version', 'int', 'one'] },
  Graph: {
    1: ['node', 'message', 'many', 'Node'],
    2: ['name', 'string', 'one'],
    5: ['initializer', 'message', 'many', 'Tensor'],
    11: ['input', 'message', 'many', 'ValueInfo'],
    12: ['output', 'message', 'many', 'ValueInfo'],
    13: ['valueInfo', 'message', 'many', 'ValueInfo'],
    15: ['sparseInitializer', 'bytes', 'many'],
  },
  Node: {
    1: ['input', 'string', 'many'],
    2: ['output', 'string', 'many'],
    3: ['name', 'string', 'one'],
    4: ['opType', 'string', 'one'],
    5: ['attribute', 'message', 'many', 'Attribute'],
    7: ['domain', 'string', 'one'],
  },
  Attribute: {
    1: ['name', 'string', 'one'],
    2: ['f', 'float', 'one'],
    3: ['i', 'int', 'one'],
    4: ['s', 'bytes', 'one'],
    5: ['t', 'message', 'one', 'Tensor'],
    6: ['g', 'message', 'one', 'Graph'],
    7: ['floats', 'float', 'many'],
    8: ['ints', 'int', 'many'],
    9: ['strings', 'bytes', 'many'],
    10: ['tensors', 'message', 'many', 'Tensor'],
    11: ['graphs', 'message', 'many', 'Graph'],
    20: ['type', 'int', 'one'],
    21: ['refAttrName', 'string', 'one'],
  },
  Tensor: {
    1: ['dims', 'int', 'many'],
    2: ['dataType', 'int', 'one'],
    4: ['floatData', 'float', 'many'],
    5: ['int32Data', 'int', 'many'],
    6: ['stringData', 'bytes', 'many'],
    7: ['int64Data', 'int', 'many'],
    8: ['name', 'string', 'one'],
    9: ['rawData', 'bytes', 'one'],
    10: ['doubleData', 'double', 'many'],
    11: ['uint64Data', 'uint', 'many'],
    13: ['externalData', 'message', 'many', 'Entry'],
    14: ['dataLocation', 'int', 'one'],
  },
  Entry: { 1: ['key', 'string', 'one'], 2: ['value', 'string', 'one'] },
  ValueInfo: { 1: ['name', 'string', 'one'], 2: ['type', 'message', 'one', 'Type'] },
  Type: { 1: ['tensorType', 'message', 'one', 'TensorType'] },
  TensorType: { 1: ['elemType', 'int', 'one'], 2: ['shape', 'message', 'one', 'Shape'] },
  Shape: { 1: ['dim', 'message', 'many', 'Dimension'] },
  Dimension: { 1: ['dimValue', 'int', 'one'], 2: ['dimParam', 'string', 'one'] },
} as const satisfies Record<string, Readonly<Record<number, Field>>>;

export type MessageName = keyof typeof SCHEMA;

/** A 64-bit integer: a number when it is exact as one, otherwise a bigint. */
export type Int = number | bigint;

interface ScalarOf {
  int: Int;
  uint: Int;
  float: number;
  double: number;
  string: string;
  bytes: Uint8Array;
}

type FieldOf<Name extends MessageName> = Extract<(typeof SCHEMA)[Name][keyof (typeof SCHEMA)[Name]], Field>;

type ValueOf<F extends Field> = F extends readonly [string, 'message', string, infer Inner extends MessageName]
  ? Message<Inner>
  : F extends readonly [string, infer Kind extends keyof ScalarOf, ...unknown[]]
    ? ScalarOf[Kind]
    : never;

/**
 * A message as the codec reads it: repeated fields are always arrays, single ones are absent when the file has none.
 */
export type Message<Name extends MessageName> = {
  [F in Extract<FieldOf<Name>, readonly [string, FieldKind, 'one', ...unknown[]]> as F[0]]?: ValueOf<F>;
} & { [F in Extract<FieldOf<Name>, readonly [string, FieldKind, 'many', ...unknown[]]> as F[0]]: ValueOf<F>[] } & {
  /** Fields that the table does not have, tag and all, as they stood in the file. */
  unknown?: Uint8Array[];
};
