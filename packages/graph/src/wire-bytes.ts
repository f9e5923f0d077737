/**
 * The primitive writes of protobuf, gathered into chunks.
 *
 * Short writes share pages, long byte arrays are passed through uncopied: a model is written without its weights ever
 * being in memory twice. Nothing here knows what a message is.
 */
import type { Int } from './schema.ts';

/** Below this a copy into the page costs less than one more chunk to write. */
const COPY_BYTES_MAX = 4_096;
const PAGE_BYTES = 65_536;

export interface ByteWriter {
  uint(value: number): void;
  int(value: Int): void;
  float(value: number): void;
  double(value: number): void;
  bytes(value: Uint8Array): void;
  /** UTF-8, remembered: names occur in several nodes, and once for measuring and once for writing. */
  textBytes(text: string): Uint8Array;
  finish(): Uint8Array[];
}

/** Bytes of an unsigned varint below 2^53. */
export function uintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}

/** Bytes of a 64-bit varint; a negative one always takes ten. */
export function intBytes(value: Int): number {
  if (value < 0) return 10;
  if (typeof value === 'number') return uintBytes(value);
  let bytes = 1;
  for (let rest = value; rest > 127n; rest >>= 7n) bytes += 1;
  return bytes;
}

export function createByteWriter(): ByteWriter {
  const chunks: Uint8Array[] = [];
  let page = new Uint8Array(PAGE_BYTES);
  let view = new DataView(page.buffer);
  let flushed = 0;
  let at = 0;

  function flush(): void {
    if (at > flushed) chunks.push(page.subarray(flushed, at));
    flushed = at;
  }

  /** Makes sure that the page has room, and returns where to write. */
  function reserve(bytes: number): number {
    if (at + bytes > page.length) {
      flush();
      page = new Uint8Array(PAGE_BYTES);
      view = new DataView(page.buffer);
      at = flushed = 0;
    }
    at += bytes;
    return at - bytes;
  }

  function uint(value: number): void {
    let rest = value;
    for (let i = reserve(uintBytes(value)); i < at; i++) {
      page[i] = (rest % 128) + (i === at - 1 ? 0 : 128);
      rest = Math.floor(rest / 128);
    }
  }

  function int(value: Int): void {
    if (typeof value === 'number' && value >= 0) return uint(value);
    let rest = BigInt.asUintN(64, BigInt(value));
    for (let i = reserve(intBytes(value)); i < at; i++) {
      page[i] = Number(rest & 127n) + (i === at - 1 ? 0 : 128);
      rest >>= 7n;
    }
  }

  function bytes(value: Uint8Array): void {
    if (value.length <= COPY_BYTES_MAX) {
      const start = reserve(value.length);
      page.set(value, start);
      return;
    }
    flush();
    chunks.push(value);
  }

  return {
    uint,
    int,
    float: (value) => {
      const start = reserve(4);
      view.setFloat32(start, value, true);
    },
    double: (value) => {
      const start = reserve(8);
      view.setFloat64(start, value, true);
    },
    bytes,
    textBytes: createTextCache(),
    finish: () => {
      flush();
      return chunks;
    },
  };
}

function createTextCache(): (text: string) => Uint8Array {
  const encoder = new TextEncoder();
  const texts = new Map<string, Uint8Array>();
  return (text) => {
    let encoded = texts.get(text);
    if (encoded === undefined) texts.set(text, (encoded = encoder.encode(text)));
    return encoded;
  };
}
