/** One file of a model, wherever its bytes are: read in order to be hashed, and in ranges to be sent. */
import { open } from 'node:fs/promises';

export interface Part {
  readonly path: string;
  readonly bytes: number;
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  read(offset: number, length: number): Promise<Uint8Array>;
}

const READ_BYTES = 4_194_304;

/** A file put together from arrays that are in memory anyway; a range is copied only when it spans several. */
export function memoryPart(path: string, arrays: readonly Uint8Array[]): Part {
  const starts: number[] = [];
  let bytes = 0;
  for (const array of arrays) {
    starts.push(bytes);
    bytes += array.length;
  }
  return {
    path,
    bytes,
    chunks: () => arrays,
    read: async (offset, length) => {
      const result = new Uint8Array(length);
      for (let index = lastAtOrBefore(starts, offset), done = 0; done < length; index++) {
        const array = arrays[index];
        if (array === undefined)
          throw new RangeError(`bytes ${offset} to ${offset + length} are not inside ${path} of ${bytes} bytes`);
        const from = offset + done - (starts[index] ?? 0);
        const taken = array.subarray(from, from + length - done);
        result.set(taken, done);
        done += taken.length;
      }
      return result;
    },
  };
}

function lastAtOrBefore(starts: readonly number[], offset: number): number {
  let low = 0;
  let high = starts.length;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) <= offset) low = middle;
    else high = middle;
  }
  return low;
}

/** A file on the disk, as it is there. */
export function diskPart(path: string, file: string, bytes: number): Part {
  const read = async (offset: number, length: number): Promise<Uint8Array> => {
    const handle = await open(file, 'r');
    try {
      const result = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const { bytesRead } = await handle.read(result, done, length - done, offset + done);
        if (bytesRead === 0) throw new Error(`${file} became shorter while it was read`);
        done += bytesRead;
      }
      return result;
    } finally {
      await handle.close();
    }
  };
  return {
    path,
    bytes,
    read,
    async *chunks() {
      for (let at = 0; at < bytes; at += READ_BYTES) yield await read(at, Math.min(READ_BYTES, bytes - at));
    },
  };
}
