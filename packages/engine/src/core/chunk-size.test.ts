import { expect, test } from 'vitest';
import { createChunkSize, type RunCost } from './chunk-size.ts';
import { LIMITS } from './limits.ts';

/**
 * Rows of forty chunks in a row on a machine that costs `baseMs` a run and `rowMs` a row; sometimes a row is
 * decoded between.
 */
function chunksOn(baseMs: number, rowMs: number, known?: RunCost): { rows: number[]; tookMs: number[] } {
  const size = createChunkSize(known);
  const rows = Array.from({ length: 40 }, (_, i) => {
    const ran = size.rows(false);
    size.note(ran, baseMs + ran * rowMs);
    if (i % 3 === 0) size.note(1, baseMs + rowMs);
    return ran;
  });
  return { rows, tookMs: rows.map((ran) => baseMs + ran * rowMs) };
}

test('chunks fill the time they may take, whatever a machine costs', () => {
  for (const [baseMs, rowMs] of [
    [1, 0.07],
    [0, 5],
    [5, 1],
    [14, 1],
  ] as const) {
    for (const known of [undefined, { stepMs: baseMs + rowMs, rowMs }]) {
      const { rows, tookMs } = chunksOn(baseMs, rowMs, known);
      if (known === undefined) expect(rows[0]).toBe(LIMITS.rowsFirst);
      for (const took of tookMs.slice(known === undefined ? 8 : 0)) expect(took).toBeLessThanOrEqual(LIMITS.runMsMax);
      const fullest = Math.min(LIMITS.runMsAim, baseMs + LIMITS.rowsMax * rowMs);
      expect(tookMs.at(-1)).toBeGreaterThan(0.7 * fullest);
    }
  }
});

test('of a large model, a chunk takes about two steps of decoding instead of two rows', () => {
  for (const [baseMs, rowMs] of [
    [33, 1.4],
    [300, 4],
  ] as const) {
    const { rows, tookMs } = chunksOn(baseMs, rowMs, { stepMs: baseMs + rowMs, rowMs });
    expect(Math.min(...rows)).toBeGreaterThan(15);
    expect(Math.max(...tookMs)).toBeLessThan(2.2 * (baseMs + 2 * rowMs));
  }
});

test('a cache that makes every run dearer leaves chunks at about two steps of decoding', () => {
  const size = createChunkSize({ stepMs: 34.6, rowMs: 1.4 });
  for (let position = 0; position < 2_000;) {
    const baseMs = 33 + position * 0.045;
    const rows = size.rows(false);
    expect(rows).toBeGreaterThan(15);
    const tookMs = baseMs + rows * 1.4;
    expect(tookMs).toBeLessThan(2.5 * (baseMs + 3));
    size.note(rows, tookMs);
    position += rows;
  }
});

test('a run that was disturbed is forgotten', () => {
  const size = createChunkSize({ stepMs: 1, rowMs: 0.1 });
  const before = size.rows(false);
  size.note(before, 900);
  expect(size.rows(false)).toBeLessThan(before / 4);
  for (let i = 0; i < 25; i++) size.note(size.rows(false), 0.8 + size.rows(false) * 0.1);
  expect(size.rows(false)).toBeGreaterThan(before * 0.8);
});

test('a step in which the process was stopped for seconds makes no chunk that takes as long', () => {
  const cost = { stepMs: 35, rowMs: 1.4 };
  const size = createChunkSize(cost);
  size.note(512, 35 + 511 * cost.rowMs);
  size.note(1, 8_000);
  expect(35 + size.rows(false) * cost.rowMs).toBeLessThan(5 * cost.stepMs);
});

test('while others wait for their tokens, a chunk stays within the bound wherever a step of decoding does', () => {
  for (const stepMs of [1, 10, 36, 38]) {
    const rowMs = stepMs / 25;
    const rows = createChunkSize({ stepMs, rowMs }).rows(true);
    expect(stepMs + (rows - 1) * rowMs).toBeLessThanOrEqual(LIMITS.runMsMax);
    expect(rows).toBeGreaterThan(1);
  }
});

test('a run has as many guesses as there is time for, and leaves what rows and steps cost alone', () => {
  const chunks = createChunkSize({ stepMs: 5, rowMs: 1 });
  const rows = chunks.rows(false);
  expect(chunks.guesses(true)).toBeGreaterThanOrEqual(1);
  for (let i = 0; i < 20; i++) chunks.noteGuesses(9, 8, 5 + 8 * 3);
  // 30 ms beside a step, at 3 ms.
  expect(chunks.guesses(true)).toBe(10);
  // One that was stopped from outside is forgotten soon.
  chunks.noteGuesses(9, 8, 4_000);
  expect(chunks.guesses(true)).toBeGreaterThanOrEqual(4);
  for (let i = 0; i < 8; i++) chunks.noteGuesses(9, 8, 5 + 8 * 3);
  expect(chunks.guesses(true)).toBeGreaterThanOrEqual(9);
  expect(chunks.rows(false)).toBe(rows);
  // Whoever is alone tries again, however dear it was; and a row that was measured as free is no reason not to guess.
  for (let i = 0; i < 60; i++) chunks.noteGuesses(2, 1, 10_000);
  expect([chunks.guesses(true), chunks.guesses(false)]).toEqual([0, 1]);
  expect(createChunkSize({ stepMs: 60, rowMs: 0 }).guesses(true)).toBeGreaterThanOrEqual(1);
});
