/** How a share of the processors becomes threads and a share of the time. */
import { expect, test } from 'vitest';
import { cpuShareOf } from './cpu-share.ts';

test('whole processors become threads, and what is left of one stays with its owner', () => {
  expect(cpuShareOf(0.6, 8)).toEqual({ threads: 4, dutyShare: 1 });
  expect(cpuShareOf(0.6, 2)).toEqual({ threads: 1, dutyShare: 1 });
  expect(cpuShareOf(1, 16)).toEqual({ threads: 16, dutyShare: 1 });
  expect(cpuShareOf(0.29, 100)).toMatchObject({ threads: 29 });
});

test('where one thread is too much it runs a share of the time', () => {
  expect(cpuShareOf(0.25, 2)).toEqual({ threads: 1, dutyShare: 0.5 });
  expect(cpuShareOf(0.6, 1)).toEqual({ threads: 1, dutyShare: 0.6 });
});

test('threads and time together are never more than was lent', () => {
  for (let cores = 1; cores <= 128; cores++) {
    for (let percent = 1; percent <= 100; percent++) {
      const { threads, dutyShare } = cpuShareOf(percent / 100, cores);
      expect(threads).toBeGreaterThanOrEqual(1);
      expect(threads * dutyShare).toBeLessThanOrEqual((percent / 100) * cores + 1e-6);
    }
  }
});
