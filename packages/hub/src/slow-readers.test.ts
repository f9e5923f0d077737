/** Claims about what may wait for those who do not read. */
import { expect, test } from 'vitest';
import { createSlowReaders, type SlowReader } from './slow-readers.ts';

const KIB = 1_024;
const create = () => createSlowReaders({ bytesMax: 1_024 * KIB, allBytesMax: 8_192 * KIB, usualBytes: 64 * KIB });

interface Deaf {
  waiting: number;
  readonly reader: SlowReader;
  /** True: it was let go. */
  write(bytes: number): boolean;
}

/** One to whom a write just adds. */
function deaf(readers: ReturnType<typeof create>): Deaf {
  const one: Deaf = {
    waiting: 0,
    reader: readers.open(() => one.waiting),
    write(bytes) {
      one.waiting += bytes;
      if (!one.reader.isTooMuch()) return false;
      one.waiting = 0;
      one.reader.close();
      return true;
    },
  };
  return one;
}

test('one that never reads is let go at its own bound', () => {
  const one = deaf(create());
  let written = 0;
  while (!one.write(KIB)) written += KIB;
  expect(written).toBe(1_024 * KIB);
});

test('a thousand that never read together take no more than the bound for all', () => {
  const readers = create();
  const all = Array.from({ length: 1_000 }, () => deaf(readers));
  let most = 0;
  const gone = new Set<unknown>();
  for (let round = 0; round < 2_000; round++) {
    for (const one of all) if (!gone.has(one) && one.write(KIB)) gone.add(one);
    most = Math.max(
      most,
      all.reduce((sum, one) => sum + one.waiting, 0),
    );
  }
  // The bound, and the little that is under way to anybody.
  expect(most).toBeLessThanOrEqual((8_192 + 1_000 * 65) * KIB);
  expect(gone.size).toBe(1_000);
});

test('who reads is kept, whatever others do, and what others have read counts no longer', () => {
  const readers = create();
  const good = deaf(readers);
  const bad = Array.from({ length: 9 }, () => deaf(readers));
  for (let round = 0; round < 900; round++) for (const one of bad) one.write(KIB);
  for (let round = 0; round < 100; round++) {
    expect(good.write(10 * KIB)).toBe(false);
    good.waiting = 0;
  }
  const late = deaf(readers);
  expect(bad.some(({ waiting }) => waiting > 800 * KIB)).toBe(true);
  for (const one of bad) one.waiting = 0;
  expect(late.write(900 * KIB)).toBe(false);
});

test('one that is gone counts no longer', () => {
  const readers = create();
  const others = Array.from({ length: 8 }, () => deaf(readers));
  for (const one of others) expect(one.write(1_020 * KIB)).toBe(false);
  expect(deaf(readers).write(100 * KIB)).toBe(true);
  others[0]?.reader.close();
  expect(deaf(readers).write(100 * KIB)).toBe(false);
});
