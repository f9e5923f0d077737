/**
 * A `Decoder` made of arithmetic that takes rows of many sequences: the logits of a row are a hash of all tokens up to
 * it, read back from what it kept of them.
 *
 * It refuses what a loop must never do: rows that do not follow what is there, a sequence twice in one run, rows for
 * which no room was made, and anything with a sequence that was released.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Decoder, DecoderPart, Kv } from '../core/decoder.ts';

export interface MemoryDecoderOptions {
  readonly vocabulary: number;
  /** Room for so many positions, over all sequences. */
  readonly positionsMax?: number | undefined;
  readonly partsMax?: number | undefined;
  /** Waited for in each run: lets a test spend time on its clock. */
  readonly spend?: ((rows: number) => Promise<void>) | undefined;
}

export interface MemoryDecoder extends Decoder {
  /** Rows of each part of each run so far. */
  readonly runs: readonly (readonly number[])[];
  /** Sequences that were opened and not released. */
  openCount(): number;
}

interface MemoryKv extends Kv {
  tokens: number[];
  reserved: number;
  released: boolean;
}

export function createMemoryDecoder(options: MemoryDecoderOptions): MemoryDecoder {
  const { vocabulary, positionsMax = 1_000_000, partsMax = Number.POSITIVE_INFINITY, spend } = options;
  const runs: number[][] = [];
  const open = new Set<MemoryKv>();
  const used = (): number => [...open].reduce((sum, { reserved }) => sum + reserved, 0);
  const own = (kv: Kv): MemoryKv => {
    const known = kv as MemoryKv;
    if (known.released) throw fault('with a sequence that was released');
    return known;
  };
  const create = (tokens: readonly number[]): MemoryKv => {
    const kv = {
      tokens: [...tokens],
      reserved: tokens.length,
      released: false,
      get length() {
        return this.tokens.length;
      },
    };
    open.add(kv);
    return kv;
  };

  function run({ kv, ids, from, before, logitRows }: DecoderPart): readonly Float32Array[] {
    const { tokens, reserved } = own(kv);
    if (from > tokens.length || ids.length === 0) throw fault(`from ${from} after ${tokens.length} positions`);
    if (from + ids.length > reserved) throw fault(`up to ${from + ids.length} of ${reserved} reserved positions`);
    if (from > 0 && tokens[from - 1] !== before) throw fault(`after token ${before} instead of ${tokens[from - 1]}`);
    tokens.length = from;
    tokens.push(...ids);
    return logitsOf(tokens, logitRows, vocabulary);
  }

  return {
    runs,
    openCount: () => open.size,
    partsMax,
    rowsMax: 512,
    bytesPerPosition: 1,
    open: () => create([]),
    reserve(kv, positions) {
      const known = own(kv);
      const more = Math.max(0, positions - known.reserved);
      if (used() + more > positionsMax) return false;
      known.reserved += more;
      return true;
    },
    fork(kv, length) {
      const tokens = own(kv).tokens.slice(0, length);
      return used() + tokens.length > positionsMax ? undefined : create(tokens);
    },
    release(kv) {
      const known = kv as MemoryKv;
      known.released = true;
      open.delete(known);
    },
    trim(kv, length) {
      const known = own(kv);
      known.tokens.length = Math.min(known.tokens.length, length);
      known.reserved = Math.min(known.reserved, length);
    },
    usedBytes: used,
    async run(parts) {
      if (parts.length > partsMax || new Set(parts.map(({ kv }) => kv)).size < parts.length)
        throw fault(`with ${parts.length} parts`);
      runs.push(parts.map(({ ids }) => ids.length));
      await spend?.(parts.reduce((sum, { ids }) => sum + ids.length, 0));
      return parts.map(run);
    },
    close: async () => undefined,
  };
}

const fault = (what: string): IdlewildError =>
  new IdlewildError('internal', `the memory decoder was run wrongly: ${what}`);

/** Of the last `rows` of them. */
function logitsOf(tokens: readonly number[], rows: number, vocabulary: number): Float32Array[] {
  let state = 0x9e3779b9;
  const logits: Float32Array[] = [];
  for (const [position, id] of tokens.entries()) {
    state = mix(state ^ (id + 1));
    if (position < tokens.length - rows) continue;
    logits.push(Float32Array.from({ length: vocabulary }, (_, token) => (mix(state + token) / 2 ** 32) * 8));
  }
  return logits;
}

/** SplitMix32's finaliser: unsigned. */
export function mix(value: number): number {
  let mixed = (value + 0x9e3779b9) | 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}
