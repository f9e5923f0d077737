/**
 * Keys and values of many sequences in pages of a fixed number of positions, over memory that grows in steps.
 *
 * A sequence has a table of pages. Sequences that begin alike share the pages that are full of what they have in
 * common. A shared page is never written to: whoever makes room behind a length that lies within one gets a copy
 * first. Pages are counted, so the last who uses one frees it. What a page holds is the kernel's matter.
 */
import { IdlewildError } from '@idlewild/protocol';

/** Positions of a page; the kernel is compiled for it. */
export const PAGE_POSITIONS = 32;

export interface PagedSequence {
  /** Addresses of its pages, in order of positions. */
  readonly table: readonly number[];
  /** Positions that are filled. */
  length: number;
}

export interface KvPages {
  /** Bytes of one page. */
  readonly pageBytes: number;
  open(): PagedSequence;
  /**
   * Makes room for `positions`, of which those from its length on are its own to write; false when memory for that is
   * not left, and nothing has changed.
   */
  reserve(sequence: PagedSequence, positions: number): boolean;
  /** A sequence that begins with the first `length` positions of this one; `undefined` when there is no room. */
  fork(sequence: PagedSequence, length: number): PagedSequence | undefined;
  /** Gives up all positions from `length` on. */
  trim(sequence: PagedSequence, length: number): void;
  usedBytes(): number;
}

export interface PageMemory {
  /** The address of one more page; `undefined` when the platform has no memory left. */
  grow(bytes: number): number | undefined;
  copy(from: number, to: number, bytes: number): void;
}

export function createKvPages(memory: PageMemory, pageBytes: number, bytesMax: number): KvPages {
  const free: number[] = [];
  const uses = new Map<number, number>();
  let made = 0;

  function take(): number | undefined {
    const page = free.pop() ?? (made * pageBytes + pageBytes > bytesMax ? undefined : memory.grow(pageBytes));
    if (page === undefined) return undefined;
    if (!uses.has(page)) made++;
    uses.set(page, 1);
    return page;
  }

  function give(page: number): void {
    const left = (uses.get(page) ?? 0) - 1;
    if (left < 0) throw new IdlewildError('internal', `page ${page} was freed twice`);
    uses.set(page, left);
    if (left === 0) free.push(page);
  }

  /** All or none. */
  function takeAll(count: number): number[] | undefined {
    const taken: number[] = [];
    while (taken.length < count) {
      const page = take();
      if (page === undefined) {
        for (const other of taken) give(other);
        return undefined;
      }
      taken.push(page);
    }
    return taken;
  }

  function trim(sequence: PagedSequence, length: number): void {
    const table = sequence.table as number[];
    while (table.length > Math.ceil(length / PAGE_POSITIONS)) give(table.pop() as number);
    sequence.length = Math.min(sequence.length, length);
  }

  return {
    pageBytes,
    open: () => ({ table: [], length: 0 }),
    trim,
    reserve(sequence, positions) {
      const table = sequence.table as number[];
      const written = Math.floor(sequence.length / PAGE_POSITIONS);
      const shared = table.flatMap((page, i) => (i >= written && (uses.get(page) as number) > 1 ? [i] : []));
      const missing = Math.max(0, Math.ceil(positions / PAGE_POSITIONS) - table.length);
      const taken = takeAll(shared.length + missing);
      if (taken === undefined) return false;
      for (const i of shared) {
        const [old, page] = [table[i] as number, taken.pop() as number];
        if (i === written) memory.copy(old, page, pageBytes);
        table[i] = page;
        give(old);
      }
      table.push(...taken);
      return true;
    },
    fork(sequence, length) {
      const kept = Math.min(length, sequence.length);
      const full = Math.floor(kept / PAGE_POSITIONS);
      const table = sequence.table.slice(0, full);
      if (kept > full * PAGE_POSITIONS) {
        const page = take();
        if (page === undefined) return undefined;
        memory.copy(sequence.table[full] as number, page, pageBytes);
        table.push(page);
      }
      for (const page of table.slice(0, full)) uses.set(page, (uses.get(page) as number) + 1);
      return { table, length: kept };
    },
    usedBytes: () => (made - free.length) * pageBytes,
  };
}
