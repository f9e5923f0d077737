/**
 * The element types of ONNX tensors, in one table: TensorProto.DataType of onnx.proto3 (IR version 13).
 *
 * Names are those of ONNX Runtime's JavaScript tensors. Sub-byte types are packed, the first element in the low bits.
 * Text tensors are left out on purpose: no decoder carries weights of text.
 */
export const DTYPE = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  complex64: 14,
  complex128: 15,
  bfloat16: 16,
  float8e4m3fn: 17,
  float8e4m3fnuz: 18,
  float8e5m2: 19,
  float8e5m2fnuz: 20,
  uint4: 21,
  int4: 22,
  float4e2m1: 23,
  float8e8m0: 24,
  uint2: 25,
  int2: 26,
} as const;

export type DTypeName = keyof typeof DTYPE;

const BITS: Readonly<Record<DTypeName, number>> = {
  float32: 32,
  uint8: 8,
  int8: 8,
  uint16: 16,
  int16: 16,
  int32: 32,
  int64: 64,
  bool: 8,
  float16: 16,
  float64: 64,
  uint32: 32,
  uint64: 64,
  complex64: 64,
  complex128: 128,
  bfloat16: 16,
  float8e4m3fn: 8,
  float8e4m3fnuz: 8,
  float8e5m2: 8,
  float8e5m2fnuz: 8,
  uint4: 4,
  int4: 4,
  float4e2m1: 4,
  float8e8m0: 8,
  uint2: 2,
  int2: 2,
};

const NAMES = new Map(Object.entries(DTYPE).map(([name, dtype]) => [dtype as number, name as DTypeName]));

/** `undefined` for a number that is not in the table. */
export const dtypeName = (dtype: number): DTypeName | undefined => NAMES.get(dtype);

/** Bits of one element; `undefined` for a number that is not in the table. */
export function dtypeBits(dtype: number): number | undefined {
  const name = NAMES.get(dtype);
  return name === undefined ? undefined : BITS[name];
}

/** Number of elements; 1 for a scalar. */
export const elementsOf = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);

/** Bytes of a tensor without padding between elements; `undefined` for an unknown element type. */
export function bytesOf(dtype: number, dims: readonly number[]): number | undefined {
  const bits = dtypeBits(dtype);
  return bits === undefined ? undefined : Math.ceil((elementsOf(dims) * bits) / 8);
}
