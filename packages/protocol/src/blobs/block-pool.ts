/**
 * Distinct blocks in memory, each held once however many owners share it, under a quota.
 * An owner may hold a block without serving it (the leaf of an unfinished file); who asks gets served blocks only.
 */
import { IdlewildError } from '../errors.ts';

export interface BlockPool {
  holds(key: string): boolean;
  /** The bytes, served or not; for owners only. */
  bytesOf(key: string): Uint8Array | undefined;
  served(key: string): Uint8Array | undefined;
  hold(key: string, bytes: Uint8Array, serve: boolean): void;
  /** Begins to serve what one owner held silently. */
  serve(key: string): void;
  release(key: string, served: boolean): void;
  /** Sets quota aside. Throws `quota_exceeded`; a negative figure gives it back. */
  reserve(bytes: number, what: string): void;
  usedBytes(): number;
}

export function createBlockPool(quotaBytes: number): BlockPool {
  const entries = new Map<string, { readonly bytes: Uint8Array; holders: number; servers: number }>();
  let heldBytes = 0;
  let reservedBytes = 0;
  return {
    holds: (key) => entries.has(key),
    bytesOf: (key) => entries.get(key)?.bytes,
    served(key) {
      const entry = entries.get(key);
      return entry !== undefined && entry.servers > 0 ? entry.bytes : undefined;
    },
    hold(key, bytes, serve) {
      const entry = entries.get(key) ?? { bytes: bytes.slice(), holders: 0, servers: 0 };
      if (entry.holders === 0) {
        entries.set(key, entry);
        heldBytes += bytes.length;
      }
      entry.holders += 1;
      if (serve) entry.servers += 1;
    },
    serve(key) {
      const entry = entries.get(key);
      if (entry !== undefined) entry.servers += 1;
    },
    release(key, served) {
      const entry = entries.get(key);
      if (entry === undefined) return;
      if (served) entry.servers -= 1;
      entry.holders -= 1;
      if (entry.holders > 0) return;
      entries.delete(key);
      heldBytes -= entry.bytes.length;
    },
    reserve(bytes, what) {
      const free = Math.max(0, quotaBytes - heldBytes - reservedBytes);
      if (bytes > free) {
        throw new IdlewildError(
          'quota_exceeded',
          `${what} needs ${bytes} more bytes; ${free} of ${quotaBytes} are free`,
        );
      }
      reservedBytes += bytes;
    },
    usedBytes: () => heldBytes + reservedBytes,
  };
}
