/**
 * A decoder graph as a function: rows of tokens after a cache in, a longer cache and the logits of one row out.
 *
 * The graph is one that `trimmablePast` of @idlewild/graph made, so a caller names how many positions of a cache it
 * keeps and no cache is ever copied here. Never runs fewer than two rows: one row takes another kernel, and its last
 * bits would differ from prefill's.
 */
import { PAST_KEEP, type DecoderShape } from '@idlewild/graph';
import { IdlewildError } from '@idlewild/protocol';
import { LIMITS } from './limits.ts';
import type { GraphSession, GraphTensor } from './session.ts';

/** Keys and values of all layers; immutable. */
export type Cache = readonly GraphTensor[];

export interface DecoderRun {
  readonly cache: Cache;
  /** Of the row asked for; absent when none was. Valid until the next run. */
  readonly logits?: Float32Array;
}

export interface Decoder {
  readonly empty: Cache;
  /**
   * Runs `ids` at positions `keep`, `keep` + 1, … over the first `keep` positions of `cache`. `logitsRow` is an index
   * into `ids`. Throws `engine_failed`.
   */
  run(cache: Cache, ids: readonly number[], keep: number, logitsRow?: number): Promise<DecoderRun>;
}

/** ONNX number of float16. */
const FLOAT16 = 10;

export function createDecoder(session: GraphSession, shape: DecoderShape, contextTokens: number): Decoder {
  // A run over the last position reaches one past it when a prompt of one token is doubled.
  const positionsMax = contextTokens + 1;
  const ones = new BigInt64Array(positionsMax).fill(1n);
  const positions = BigInt64Array.from({ length: positionsMax }, (_, i) => BigInt(i));
  const isHalf = shape.kvDtype === FLOAT16;
  const nothing = session.tensor(isHalf ? 'float16' : 'float32', isHalf ? new Uint16Array(0) : new Float32Array(0), [
    1,
    shape.kvHeads,
    0,
    shape.headDim,
  ]);
  const withoutLogits = shape.presentNames;
  const withLogits = [...shape.presentNames, 'logits'];

  return {
    empty: shape.pastNames.map(() => nothing),
    async run(cache, ids, keep, logitsRow) {
      const rows = ids.length;
      const total = keep + rows;
      if (rows < LIMITS.rowsMin || total > positionsMax) {
        throw new IdlewildError(
          'internal',
          `a run of ${rows} rows after ${keep} positions is outside this decoder's ${contextTokens}`,
        );
      }
      const feeds: Record<string, GraphTensor> = {
        input_ids: session.tensor('int64', BigInt64Array.from(ids, BigInt), [1, rows]),
        attention_mask: session.tensor('int64', ones.subarray(0, total), [1, total]),
        [PAST_KEEP]: session.tensor('int64', positions.subarray(keep, keep + 1), [1]),
      };
      if (shape.hasPositionIds)
        feeds['position_ids'] = session.tensor('int64', positions.subarray(keep, total), [1, rows]);
      for (const [i, name] of shape.pastNames.entries()) feeds[name] = cache[i] as GraphTensor;
      const outputs = await session.run(feeds, logitsRow === undefined ? withoutLogits : withLogits);
      const next = shape.presentNames.map((name) => outputs[name] as GraphTensor);
      if (logitsRow === undefined) return { cache: next };
      return { cache: next, logits: rowOf(outputs['logits'] as GraphTensor, logitsRow) };
    },
  };
}

function rowOf({ data, dims }: GraphTensor, row: number): Float32Array {
  const vocabulary = dims[2] as number;
  const from = row * vocabulary;
  if (data instanceof Float32Array) return data.subarray(from, from + vocabulary);
  const values = data as ArrayLike<number>;
  const decode = data instanceof Uint16Array ? floatOfHalf : Number;
  return Float32Array.from({ length: vocabulary }, (_, i) => decode(values[from + i] as number));
}

/** IEEE 754 binary16 from its bits. */
function floatOfHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1_024 + fraction) * 2 ** (exponent - 25);
}
