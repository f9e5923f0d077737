/** Whose a process's time is, by a scripted counter of it. */
import { expect, test } from 'vitest';
import { createCpuShares } from './cpu-shares.ts';

test("what was used while several were open is shared evenly, and all of it is somebody's", () => {
  let usedMs = 100;
  const shares = createCpuShares(() => usedMs);
  shares.open(1);
  usedMs = 130;
  shares.open(2);
  usedMs = 190;
  expect(shares.close(1)).toBe(60);
  usedMs = 200;
  expect(shares.close(2)).toBe(40);
});

test("time between answers is nobody's, and what was never open has none", () => {
  let usedMs = 0;
  const shares = createCpuShares(() => usedMs);
  usedMs = 500;
  shares.open(7);
  usedMs = 510;
  expect(shares.close(7)).toBe(10);
  expect(shares.close(7)).toBe(0);
  usedMs = 900;
  shares.open(8);
  expect(shares.close(8)).toBe(0);
});
