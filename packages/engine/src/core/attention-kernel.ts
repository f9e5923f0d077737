/**
 * The attention kernel and the memory that it works in: room for one run at the bottom, pages of keys and values above.
 *
 * Addresses are bytes in that memory; strides count floats. Views go stale when the memory grows: they are made anew
 * for each use.
 */
import { IdlewildError } from '@idlewild/protocol';
import { ATTENTION_WASM } from './attention-wasm.ts';
import { PAGE_POSITIONS, type PageMemory } from './kv-pages.ts';
import { WASM_PAGE_BYTES, createWasm } from './wasm.ts';

/** Of the attention of one layer. */
export interface KernelShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly layers: number;
  /** Rows of one run at most, and positions of a sequence at most. */
  readonly rowsMax: number;
  readonly positionsMax: number;
}

/** Floats from one head to the next, and from one row to the next. */
export interface Strides {
  readonly head: number;
  readonly row: number;
}

export interface AttentionKernel {
  readonly pageBytes: number;
  readonly pages: PageMemory;
  /** Puts the query, key and value of all rows of a run where the kernel finds them. */
  load(query: Float32Array, key: Float32Array, value: Float32Array): void;
  /** Writes keys and values of `rows` rows from `row` on into the pages of a sequence, at positions from `first`. */
  append(part: KernelPart, strides: Strides): void;
  /** Computes attention for `rows` rows from `row` on. */
  attend(part: KernelPart, strides: Strides, scale: number, window: number): void;
  /** What `attend` wrote: `length` floats; valid until the next run. */
  output(length: number): Float32Array;
}

export interface KernelPart {
  readonly layer: number;
  readonly table: readonly number[];
  /** Position of the first row. */
  readonly first: number;
  /** Index of the first row in the run. */
  readonly row: number;
  readonly rows: number;
}

interface Exports {
  append(...numbers: readonly number[]): void;
  attend(...numbers: readonly number[]): void;
}

const FLOAT = 4;
/** Memory grows by this much at a time. */
const GROWTH_BYTES = 16 * 1_048_576;

const aligned = (bytes: number): number => Math.ceil(bytes / 16) * 16;

/** Throws `model_unsupported` for widths that the kernel does not take. */
export function createAttentionKernel(shape: KernelShape): AttentionKernel {
  const { heads, kvHeads, headDim, layers, rowsMax, positionsMax } = shape;
  if (headDim % 8 !== 0 || heads % kvHeads !== 0) {
    throw new IdlewildError(
      'model_unsupported',
      `the kernel does not take ${heads} heads over ${kvHeads}, ${headDim} wide`,
    );
  }
  const layerBytes = 2 * kvHeads * headDim * PAGE_POSITIONS * FLOAT;
  const pagesMax = Math.ceil(positionsMax / PAGE_POSITIONS);
  const query = 1_024;
  const key = query + aligned(rowsMax * heads * headDim * FLOAT);
  const value = key + aligned(rowsMax * kvHeads * headDim * FLOAT);
  const out = value + aligned(rowsMax * kvHeads * headDim * FLOAT);
  const table = out + aligned(rowsMax * heads * headDim * FLOAT);
  const scratch = table + aligned(pagesMax * FLOAT);
  let next = scratch + aligned(4 * pagesMax * PAGE_POSITIONS * FLOAT);
  const { memory, exports: kernel } = createWasm<Exports>(ATTENTION_WASM, Math.ceil(next / WASM_PAGE_BYTES));

  const floats = (address: number, length: number): Float32Array => new Float32Array(memory.buffer, address, length);
  function setTable(pages: readonly number[]): void {
    new Uint32Array(memory.buffer, table, pages.length).set(pages);
  }

  return {
    pageBytes: layers * layerBytes,
    pages: {
      grow(bytes) {
        const end = next + bytes;
        const missing = end - memory.buffer.byteLength;
        if (missing > 0) {
          try {
            memory.grow(Math.ceil(Math.max(missing, GROWTH_BYTES) / WASM_PAGE_BYTES));
          } catch {
            // The largest step may be too much where the exact one still fits.
            try {
              memory.grow(Math.ceil(missing / WASM_PAGE_BYTES));
            } catch {
              return undefined;
            }
          }
        }
        const address = next;
        next = end;
        return address;
      },
      copy(from, to, bytes) {
        new Uint8Array(memory.buffer).copyWithin(to, from, from + bytes);
      },
    },
    load(queries, keys, values) {
      floats(query, queries.length).set(queries);
      floats(key, keys.length).set(keys);
      floats(value, values.length).set(values);
    },
    append({ layer, table: pages, first, row, rows }, strides) {
      setTable(pages);
      const from = row * strides.row * FLOAT;
      kernel.append(
        key + from,
        value + from,
        strides.head,
        strides.row,
        rows,
        first,
        table,
        layer * layerBytes,
        kvHeads,
        headDim,
      );
    },
    attend({ layer, table: pages, first, row, rows }, strides, scale, window) {
      setTable(pages);
      const from = row * strides.row * FLOAT;
      kernel.attend(
        query + from,
        out + from,
        strides.head,
        strides.row,
        rows,
        first,
        table,
        layer * layerBytes,
        heads,
        kvHeads,
        headDim,
        scale,
        window,
        scratch,
      );
    },
    output: (length) => floats(out, length),
  };
}
