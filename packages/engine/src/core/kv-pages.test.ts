import { createSeededNumbers } from '@idlewild/graph/testing';
import { expect, test } from 'vitest';
import { createKvPages, PAGE_POSITIONS, type KvPages, type PagedSequence, type PageMemory } from './kv-pages.ts';

const PAGE_BYTES = 64;

interface TestMemory extends PageMemory {
  /** Who wrote what last to each position of each page. */
  readonly pages: Map<number, number[]>;
}

/** Memory of `count` pages; what is written to a page are numbers, one for each position. */
function memoryOf(count: number): TestMemory {
  const pages = new Map<number, number[]>();
  return {
    pages,
    grow(bytes) {
      expect(bytes).toBe(PAGE_BYTES);
      if (pages.size === count) return undefined;
      const address = 1_024 + pages.size * bytes;
      pages.set(address, new Array<number>(PAGE_POSITIONS).fill(-1));
      return address;
    },
    copy(from, to, bytes) {
      expect(bytes).toBe(PAGE_BYTES);
      pages.set(to, [...(pages.get(from) as number[])]);
    },
  };
}

/** A sequence and what a reader must find in it. */
interface Modelled {
  readonly sequence: PagedSequence;
  wanted: number[];
}

function contents({ pages }: TestMemory, { table, length }: PagedSequence): number[] {
  return Array.from(
    { length },
    (_, at) => pages.get(table[Math.floor(at / PAGE_POSITIONS)] as number)?.[at % PAGE_POSITIONS] as number,
  );
}

function write({ pages }: TestMemory, one: Modelled, values: readonly number[]): void {
  for (const value of values) {
    const at = one.sequence.length++;
    (pages.get(one.sequence.table[Math.floor(at / PAGE_POSITIONS)] as number) as number[])[at % PAGE_POSITIONS] = value;
    one.wanted.push(value);
  }
}

function checkAll(pages: KvPages, memory: TestMemory, open: readonly Modelled[], pagesMax: number): void {
  for (const { sequence, wanted } of open) expect(contents(memory, sequence)).toEqual(wanted);
  const used = new Set(open.flatMap(({ sequence }) => sequence.table));
  expect(pages.usedBytes()).toBe(used.size * PAGE_BYTES);
  expect(memory.pages.size).toBeLessThanOrEqual(pagesMax);
}

test.for([1, 2, 3, 4, 5, 6, 7, 8])(
  'whatever is opened, written, forked, trimmed and released, nobody reads what another wrote: seed %i',
  (seed) => {
    const numbers = createSeededNumbers(seed);
    const pagesMax = 3 + numbers.below(20);
    // Of some the memory itself ends before the bytes that were allowed.
    const memory = memoryOf(seed % 2 === 0 ? pagesMax : Math.ceil(pagesMax / 2));
    const pages = createKvPages(memory, PAGE_BYTES, pagesMax * PAGE_BYTES + numbers.below(PAGE_BYTES));
    const open: Modelled[] = [];
    let next = 0;
    const refused = { reserve: 0, fork: 0 };
    const acts: ((one: Modelled) => void)[] = [
      (one) => {
        const count = 1 + numbers.below(50);
        const before = [...one.sequence.table];
        if (!pages.reserve(one.sequence, one.sequence.length + count)) {
          refused.reserve++;
          expect(one.sequence.table).toEqual(before);
        } else
          write(
            memory,
            one,
            Array.from({ length: count }, () => next++),
          );
      },
      (one) => {
        const length = numbers.below(one.wanted.length + 10);
        const used = pages.usedBytes();
        const forked = pages.fork(one.sequence, length);
        if (forked !== undefined) open.push({ sequence: forked, wanted: one.wanted.slice(0, length) });
        else {
          refused.fork++;
          expect(pages.usedBytes()).toBe(used);
        }
      },
      (one) => {
        const length = numbers.below(one.wanted.length + 1);
        pages.trim(one.sequence, length);
        one.wanted = one.wanted.slice(0, length);
      },
      (one) => {
        pages.trim(one.sequence, 0);
        open.splice(open.indexOf(one), 1);
      },
    ];
    for (let step = 0; step < 800; step++) {
      if (open.length === 0 || (open.length < 8 && numbers.below(4) === 0))
        open.push({ sequence: pages.open(), wanted: [] });
      const one = open[numbers.below(open.length)]!;
      // Releasing is rarer, so that memory fills up.
      acts[[0, 0, 0, 1, 1, 2, 3][numbers.below(7)]!]!(one);
      checkAll(pages, memory, open, pagesMax);
    }
    expect(refused.reserve).toBeGreaterThan(0);
    expect(refused.fork).toBeGreaterThan(0);
    for (const { sequence } of open) pages.trim(sequence, 0);
    expect(pages.usedBytes()).toBe(0);
  },
);

test('a fork shares full pages and copies the one that is not', () => {
  const memory = memoryOf(10);
  const pages = createKvPages(memory, PAGE_BYTES, 10 * PAGE_BYTES);
  const first = pages.open();
  pages.reserve(first, 3 * PAGE_POSITIONS);
  first.length = 2 * PAGE_POSITIONS + 5;
  const second = pages.fork(first, first.length)!;
  expect(second.table.slice(0, 2)).toEqual(first.table.slice(0, 2));
  expect(second.table[2]).not.toBe(first.table[2]);
  expect(pages.usedBytes()).toBe(4 * PAGE_BYTES);
  expect(pages.fork(first, 2 * PAGE_POSITIONS)!.table).toEqual(first.table.slice(0, 2));
  expect(pages.usedBytes()).toBe(4 * PAGE_BYTES);
});

test('who goes back into a shared page and writes there gets a copy first', () => {
  const memory = memoryOf(3);
  const pages = createKvPages(memory, PAGE_BYTES, 3 * PAGE_BYTES);
  const first = pages.open();
  pages.reserve(first, 2 * PAGE_POSITIONS);
  first.length = 2 * PAGE_POSITIONS;
  const second = pages.fork(first, first.length)!;
  first.length = 10;
  // Two pages are shared from there on, and one is left.
  expect(pages.reserve(first, 2 * PAGE_POSITIONS)).toBe(false);
  expect(first.table).toEqual(second.table);
  pages.trim(first, 10);
  expect(pages.reserve(first, 11)).toBe(true);
  expect(first.table[0]).not.toBe(second.table[0]);
});
