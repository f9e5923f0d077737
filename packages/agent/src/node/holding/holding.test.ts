/** What the lender is told of the limits: who keeps each, where the system does and where it does not. */
import { expect, test } from 'vitest';
import type { LimitHeld } from '../../core/lending/idleness/port.ts';
import { createHolding, type Lending } from './holding.ts';
import type { Priority } from './priority.ts';

const LENDING: Lending = {
  limits: { threads: 4, slotsMax: 8, memoryBytesMax: 4_000_000_000 },
  cores: 8,
  diskBytes: 20_000_000_000,
  downloadBytesPerSecond: undefined,
  uploadBytesPerSecond: 0,
  gpu: 'never',
};
const LEAST: Priority = { under: ['/usr/bin/ionice', '-c', '3'], processors: 'idle', disk: 'idle' };
const told = (limits: readonly LimitHeld[], what: LimitHeld['what']): string => {
  const found = limits.find((limit) => limit.what === what);
  return `${found?.by}: ${found?.text}`;
};

test('with a control group the system keeps processors and memory, and each engine is put into it', () => {
  const adopted: number[] = [];
  const cgroup = {
    path: '/g',
    holds: ['cpu', 'memory'] as const,
    adopt: (pid: number) => void adopted.push(pid),
    close: () => undefined,
  };
  const holding = createHolding(LENDING, { priority: LEAST, cgroup, log: () => undefined });
  holding.process.onStarted?.(7);
  expect(adopted).toEqual([7]);
  expect(holding.process.under).toEqual(LEAST.under);
  const limits = holding.limitsHere();
  expect(told(limits, 'processors')).toBe('the system: 4 of 8 processors, by a control group');
  expect(told(limits, 'memory')).toBe('the system: 4 GB for all engines, by a control group');
  expect(told(limits, 'uploads')).toBe('Idlewild: none');
});

test('without one it says why, and that it keeps the limit itself', () => {
  const priority: Priority = { under: [], processors: 'usual', disk: 'usual' };
  const limits = createHolding(
    {
      ...LENDING,
      limits: { ...LENDING.limits, threads: 1, dutyShare: 0.5 },
      cores: 2,
      downloadBytesPerSecond: 500_000,
    },
    { priority, cgroup: { why: 'no such thing' }, log: () => undefined },
  ).limitsHere();
  expect(told(limits, 'processors')).toBe(
    'Idlewild: 1 of 2 processors, 50 % of the time, ' +
      "by the engine's threads and rests; not by the system: no such thing",
  );
  expect(told(limits, 'priority')).toBe('the system: after every other program (nice 19)');
  expect(told(limits, 'disk access')).toMatch(/^nobody: /);
  expect(told(limits, 'downloads')).toBe('Idlewild: 500 kB a second, 80 GB a day');
});

test.each([
  ['never', 'no card is touched'],
  ['idle', 'a card is tried once, at a start at which nobody uses the machine'],
  ['always', 'a card is tried once, at the start'],
] as const)('of graphics cards that are lent "%s" it says: %s', (gpu, words) => {
  const ports = { priority: LEAST, cgroup: { why: 'no such thing' }, log: () => undefined };
  const limits = createHolding({ ...LENDING, gpu }, ports).limitsHere();
  expect(told(limits, 'graphics')).toBe(`Idlewild: engines of this version compute on processors alone; ${words}`);
});

test('an engine that cannot be put into its group runs, and the owner hears of it', () => {
  const logged: string[] = [];
  const cgroup = {
    path: '/g',
    holds: ['cpu'] as const,
    adopt: () => {
      throw new Error('ESRCH');
    },
    close: () => undefined,
  };
  const holding = createHolding(LENDING, { priority: LEAST, cgroup, log: (line) => logged.push(line) });
  holding.process.onStarted?.(7);
  expect(logged).toEqual(['an engine runs outside its control group: ESRCH']);
  expect(told(holding.limitsHere(), 'memory')).toMatch(/^Idlewild: 4 GB/);
});
