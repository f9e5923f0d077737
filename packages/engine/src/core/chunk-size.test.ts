import { expect, test } from 'vitest';
import { createChunkSize, type RunCost } from './chunk-size.ts';
import { LIMITS } from './limits.ts';

/**
 * Rows of forty chunks in a row on a machine that costs `baseMs` a run and `rowMs` a row; sometimes two rows are
 * decoded between.
 */
function chunksOn(baseMs: number, rowMs: number, known?: RunCost): { rows: number[]; tookMs: number[] } {
  const size = createChunkSize(known);
  const rows = Array.from({ length: 40 }, (_, i) => {
    const ran = size.rows();
    size.note(ran, baseMs + ran * rowMs);
    if (i % 3 === 0) size.note(2, baseMs + 2 * rowMs);
    return ran;
  });
  return { rows, tookMs: rows.map((ran) => baseMs + ran * rowMs) };
}

test('chunks fill the time they may take, whatever a machine costs', () => {
  for (const [baseMs, rowMs] of [
    [1, 0.07],
    [0, 5],
    [5, 1],
    [20, 1],
    [30, 2],
  ] as const) {
    for (const known of [undefined, { twoRowsMs: baseMs + 2 * rowMs, rowMs }]) {
      const { rows, tookMs } = chunksOn(baseMs, rowMs, known);
      expect(rows[0]).toBe(known === undefined ? LIMITS.rowsFirst : rows[1]);
      for (const took of tookMs.slice(known === undefined ? 6 : 0)) expect(took).toBeLessThanOrEqual(LIMITS.runMsMax);
      expect(tookMs.at(-1) as number).toBeGreaterThan(
        Math.min(LIMITS.runMsAim * 0.75, baseMs + LIMITS.rowsMax * rowMs),
      );
    }
  }
});

test('of a model too large for the bound, a chunk takes about two steps of decoding instead of two rows', () => {
  const { rows, tookMs } = chunksOn(300, 4);
  expect(rows.at(-1)).toBeGreaterThan(30);
  expect(tookMs.at(-1)).toBeLessThan(2.2 * 308);
});

test('a run that was disturbed is forgotten', () => {
  const size = createChunkSize({ twoRowsMs: 1, rowMs: 0.1 });
  const before = size.rows();
  size.note(before, 900);
  expect(size.rows()).toBeLessThan(before / 4);
  for (let i = 0; i < 25; i++) size.note(size.rows(), 0.8 + size.rows() * 0.1);
  expect(size.rows()).toBeGreaterThan(before * 0.8);
});
