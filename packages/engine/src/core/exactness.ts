/**
 * Whether a decoder keeps its promise on this machine: a row's logits do not depend on what else is in the run, nor on
 * how the rows before it were cut.
 *
 * It holds for the kernels that we know, not for all: heads wider than 128 in the runtime's own attention, for one, go
 * through kernels that split their sums by the number of rows. So each model is asked when it is loaded. Whether that
 * also holds where the logits of many rows are computed at once is asked by itself: without it drafts are left alone.
 */
import type { Decoder, Kv } from './decoder.ts';
import { LIMITS } from './limits.ts';

/** Rows that are read: one more than a block of the kernels that are known to differ. */
const ROWS = 65;
/** Below this every chunk is the whole. */
const ROWS_MIN = 16;
const BESIDE = 3;

interface Reader {
  readonly kv: Kv;
  /** Logits of the last of the rows up to `until`. */
  read(until: number): Promise<Float32Array>;
}

/** Tokens that are no text: what they say does not matter here. */
export const probeTokens = (count: number, vocabulary: number | undefined): number[] =>
  Array.from({ length: count }, (_, i) => (i * 11 + 3) % (vocabulary ?? 256));

export async function isExact(
  decoder: Decoder,
  vocabulary: number | undefined,
  contextTokens: number,
): Promise<boolean> {
  const ids = probeTokens(Math.min(ROWS, contextTokens), vocabulary);
  const last = ids.length - 1;
  if (ids.length < ROWS_MIN) return true;
  const open: Kv[] = [];
  const reader = (): Reader => {
    const kv = decoder.open();
    open.push(kv);
    return { kv, read: (until) => readUntil(decoder, kv, ids, until) };
  };
  try {
    const whole = await reader().read(ids.length);
    for (const cuts of [[last], [Math.floor(ids.length / 3), last - 1, last]]) {
      const cut = reader();
      for (const until of cuts) await cut.read(until);
      if (!sameBits(whole, await cut.read(ids.length))) return false;
    }
    return decoder.partsMax === 1 || sameBits(whole, await besideOthers(decoder, ids, reader));
  } finally {
    for (const kv of open) decoder.release(kv);
  }
}

/** Of a decoder that is exact: whether it is so for as many guesses as a draft may have run at once. */
export async function isExactInBulk(
  decoder: Decoder,
  vocabulary: number | undefined,
  contextTokens: number,
): Promise<boolean> {
  const ids = probeTokens(Math.min(ROWS, contextTokens), vocabulary);
  const bulk = Math.min(LIMITS.draftRowsMax + 1, ids.length - 1);
  if (ids.length < ROWS_MIN) return true;
  const from = ids.length - bulk;
  const open = [decoder.open(), decoder.open()] as const;
  const [whole, cut] = open;
  try {
    await readUntil(decoder, whole, ids, from);
    decoder.reserve(whole, ids.length);
    const part = { kv: whole, ids: ids.slice(from), from, before: ids[from - 1], logitRows: bulk };
    const rows = ((await decoder.run([part]))[0] ?? []).map((row) => row.slice());
    for (const row of [0, bulk >> 1, bulk - 2, bulk - 1]) {
      const alone = await readUntil(decoder, cut, ids, from + row + 1);
      if (!sameBits(alone, rows[row] ?? new Float32Array())) return false;
    }
    return true;
  } finally {
    for (const kv of open) decoder.release(kv);
  }
}

async function besideOthers(decoder: Decoder, ids: readonly number[], reader: () => Reader): Promise<Float32Array> {
  const last = ids.length - 1;
  const readers = Array.from({ length: BESIDE }, reader);
  for (const [i, each] of readers.entries()) await each.read(last - 5 * i);
  const parts = readers.map(({ kv }) => {
    decoder.reserve(kv, kv.length + 1);
    return { kv, ids: [ids[kv.length] as number], from: kv.length, before: ids[kv.length - 1], logitRows: 1 };
  });
  const [logits = []] = await decoder.run(parts);
  return (logits[0] as Float32Array).slice();
}

async function readUntil(decoder: Decoder, kv: Kv, ids: readonly number[], until: number): Promise<Float32Array> {
  const from = kv.length;
  decoder.reserve(kv, until);
  const before = from === 0 ? undefined : ids[from - 1];
  const [logits = []] = await decoder.run([{ kv, ids: ids.slice(from, until), from, before, logitRows: 1 }]);
  // Copied: they are valid until the next run only.
  return (logits[0] as Float32Array).slice();
}

function sameBits(left: Float32Array, right: Float32Array): boolean {
  return left.length === right.length && left.every((value, i) => Object.is(value, right[i]));
}
