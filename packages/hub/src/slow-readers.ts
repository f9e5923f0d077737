/**
 * What those who do not read may keep waiting for them, all together: callers of streams, devices on a bad line.
 *
 * Each has a bound of its own, and a thousand of them would still take a thousand times as much. So whoever has more
 * than a little waiting counts against a bound for all, and once that is reached, the next of them that is to be given
 * more is let go instead. Who reads never counts. What is waiting is read off the sockets, so nothing can be forgotten.
 */

export interface SlowReaders {
  /** `waitingBytes` is asked from time to time until `close`. */
  open(waitingBytes: () => number): SlowReader;
}

export interface SlowReader {
  /** To be asked after each write: it does not read, and what waits for it is not to be kept. */
  isTooMuch(): boolean;
  close(): void;
}

export interface SlowReadersOptions {
  /** Of one. */
  readonly bytesMax: number;
  /** Of all together. */
  readonly allBytesMax: number;
  /** So much is under way to anybody. */
  readonly usualBytes: number;
}

export function createSlowReaders({ bytesMax, allBytesMax, usualBytes }: SlowReadersOptions): SlowReaders {
  /** Those with more than usual, as they were seen last. */
  const slow = new Map<SlowReader, { readonly read: () => number; bytes: number }>();
  let all = 0;

  function note(reader: SlowReader, read: () => number): number {
    const bytes = read();
    all -= slow.get(reader)?.bytes ?? 0;
    if (bytes > usualBytes) {
      slow.set(reader, { read, bytes });
      all += bytes;
    } else slow.delete(reader);
    return bytes;
  }

  return {
    open(read) {
      const reader: SlowReader = {
        isTooMuch() {
          const bytes = note(reader, read);
          if (bytes > bytesMax) return true;
          if (bytes <= usualBytes || all <= allBytesMax) return false;
          // Some may have caught up since they were seen.
          for (const [other, seen] of [...slow]) note(other, seen.read);
          return all > allBytesMax;
        },
        close() {
          all -= slow.get(reader)?.bytes ?? 0;
          slow.delete(reader);
        },
      };
      return reader;
    },
  };
}
