/** The odd seeds: a file of their own, so that two cores share the work. */
import { expect, test } from 'vitest';
import { complaints } from './hold.ts';
import { simulate } from './run.ts';
import { FAILED_SEEDS, SEEDS, VIRTUAL_MINUTES } from './seeds.ts';

test.each(SEEDS.filter((seed) => seed % 2 === 1))('seed %i holds', async (seed) => {
  expect(complaints(await simulate({ seed, virtualMinutes: VIRTUAL_MINUTES }))).toBe('');
});

test.each(FAILED_SEEDS.filter(({ seed }) => seed % 2 === 1))('seed $seed holds again ($found)', async (options) => {
  expect(complaints(await simulate(options))).toBe('');
});
