/**
 * A decoder that runs its graph as a whole, one sequence at a time: for graphs whose attention cannot be told from the
 * rest.
 *
 * The graph is one that `trimmablePast` of @idlewild/graph made, so a caller names how many positions of a cache it
 * keeps and no cache is ever copied here. Never runs fewer than two rows: one row takes another kernel in the attention
 * of the runtime, and its last bits would differ from prefill's. So a step at position p runs p − 1 again (its key and
 * value come out the same), and a prompt of one token is run twice in one step.
 */
import { PAST_KEEP, type DecoderShape } from '@idlewild/graph';
import { IdlewildError } from '@idlewild/protocol';
import type { Decoder, DecoderPart, Kv } from './decoder.ts';
import { floatsOfTensor, type GraphSession, type GraphTensor } from './session.ts';
import { LIMITS } from './limits.ts';

/** Keys and values of all layers; tensors are immutable, so sequences may share them. */
interface WholeKv extends Kv {
  length: number;
  tensors: readonly GraphTensor[];
}

export interface WholeDecoderOptions {
  readonly contextTokens: number;
  /** Memory for keys and values of all sequences. */
  readonly cacheBytesMax: number;
}

/** ONNX number of float16. */
const FLOAT16 = 10;

export function createWholeDecoder(
  session: GraphSession,
  shape: DecoderShape,
  { contextTokens, cacheBytesMax }: WholeDecoderOptions,
): Decoder {
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
  const empty = shape.pastNames.map(() => nothing);
  const bytesPerPosition = 2 * shape.layers * shape.kvHeads * shape.headDim * (isHalf ? 2 : 4);
  const open = new Map<WholeKv, number>();
  const reservedPositions = (): number => [...open.values()].reduce((sum, reserved) => sum + reserved, 0);

  async function run({ kv, ids, from, before, logitRows }: DecoderPart): Promise<readonly Float32Array[]> {
    const own = kv as WholeKv;
    const one = ids.length === 1;
    const keep = one && before !== undefined ? from - 1 : from;
    const rows = one ? [before ?? ids[0] ?? 0, ...ids] : ids;
    const total = keep + rows.length;
    if (total > positionsMax || keep > own.length) {
      throw new IdlewildError(
        'internal',
        `a run of ${rows.length} rows after ${keep} positions is outside this decoder's ${contextTokens}`,
      );
    }
    const feeds: Record<string, GraphTensor> = {
      input_ids: session.tensor('int64', BigInt64Array.from(rows, BigInt), [1, rows.length]),
      attention_mask: session.tensor('int64', ones.subarray(0, total), [1, total]),
      [PAST_KEEP]: session.tensor('int64', positions.subarray(keep, keep + 1), [1]),
    };
    if (shape.hasPositionIds)
      feeds['position_ids'] = session.tensor('int64', positions.subarray(keep, total), [1, rows.length]);
    for (const [i, name] of shape.pastNames.entries()) feeds[name] = own.tensors[i] as GraphTensor;
    const outputs = await session.run(feeds, logitRows > 0 ? [...shape.presentNames, 'logits'] : shape.presentNames);
    own.tensors = shape.presentNames.map((name) => outputs[name] as GraphTensor);
    own.length = from + ids.length;
    const last = one && before === undefined ? 0 : rows.length - 1;
    const wanted = Array.from({ length: logitRows }, (_, i) => last + 1 - logitRows + i);
    return wanted.map((row) => rowOf(outputs['logits'] as GraphTensor, row));
  }

  return {
    partsMax: 1,
    rowsMax: LIMITS.rowsMax,
    bytesPerPosition,
    open() {
      const kv: WholeKv = { length: 0, tensors: empty };
      open.set(kv, 0);
      return kv;
    },
    reserve(kv, wanted) {
      const more = Math.max(0, wanted - (open.get(kv as WholeKv) ?? 0));
      if ((reservedPositions() + more) * bytesPerPosition > cacheBytesMax) return false;
      open.set(kv as WholeKv, wanted);
      return true;
    },
    fork(kv, length) {
      if ((reservedPositions() + length) * bytesPerPosition > cacheBytesMax) return undefined;
      const copy: WholeKv = { length: Math.min(length, kv.length), tensors: (kv as WholeKv).tensors };
      open.set(copy, length);
      return copy;
    },
    release(kv) {
      open.delete(kv as WholeKv);
      (kv as WholeKv).tensors = [];
    },
    trim(kv, length) {
      const own = kv as WholeKv;
      own.length = Math.min(own.length, length);
    },
    usedBytes: () => reservedPositions() * bytesPerPosition,
    run: async (parts) => (parts.length === 0 ? [] : [await run(parts[0] as DecoderPart)]),
    close: async () => session.close(),
  };
}

function rowOf(logits: GraphTensor, row: number): Float32Array {
  const vocabulary = logits.dims[2] as number;
  return floatsOfTensor(logits, row * vocabulary, vocabulary);
}
