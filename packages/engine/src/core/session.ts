/**
 * The port between decoding and whatever executes a graph: ONNX Runtime in Node, in a browser, or arithmetic in tests.
 *
 * Shapes are row-major. A tensor that came out of `run` may be fed to the next `run` as it is: that is how a key-value
 * cache goes round.
 */
import { floatOfHalf } from '@idlewild/graph';
import type { MaybePromise } from '@idlewild/protocol';

export type TensorType = 'float32' | 'float16' | 'int64';

export interface GraphTensor {
  readonly type: string;
  readonly dims: readonly number[];
  /**
   * Element i of the tensor; float16 as a `Uint16Array` of bits, or as numbers where the platform has `Float16Array`.
   */
  readonly data: ArrayLike<number> | BigInt64Array;
}

export interface GraphSession {
  /** Makes an input over `data`, without a copy: it must not change while a run reads it. */
  tensor(type: TensorType, data: Float32Array | Uint16Array | BigInt64Array, dims: readonly number[]): GraphTensor;
  /**
   * Computes the outputs named in `wanted`. Blocks its thread while it computes, and lets pending messages in before it
   * begins. Throws `engine_failed` when the runtime does.
   */
  run(
    feeds: Readonly<Record<string, GraphTensor>>,
    wanted: readonly string[],
  ): Promise<Readonly<Record<string, GraphTensor>>>;
  close(): MaybePromise<void>;
}

/** `length` elements from `from` as numbers of float32: a view where the tensor holds such, else a copy. */
export function floatsOfTensor({ data }: GraphTensor, from: number, length: number): Float32Array {
  if (data instanceof Float32Array) return data.subarray(from, from + length);
  const values = data as ArrayLike<number>;
  const decode = data instanceof Uint16Array ? floatOfHalf : Number;
  return Float32Array.from({ length }, (_, i) => decode(values[from + i] as number));
}
