/** One kind of fault at a time, far more of it than any day brings; and the same seed twice. */
import { expect, test } from 'vitest';
import { complaints } from './hold.ts';
import { CALM, RATES, type Rates } from './rates.ts';
import { simulate } from './run.ts';

test('the same seed is the same world: every event at the same time', async () => {
  const size = { devices: 40, virtualMinutes: 0.5 };
  const one = await simulate({ seed: 4, ...size });
  const other = await simulate({ seed: 4, ...size });
  expect(one.hash).toBe(other.hash);
  expect(one.figures).toEqual(other.figures);
  expect((await simulate({ seed: 5, ...size })).hash).not.toBe(one.hash);
});

const kinds = (Object.keys(RATES) as (keyof Rates)[]).filter((kind) => kind !== 'requests' && kind !== 'hangUpShare');

test.each(kinds)('a small community holds in a storm of %s', async (kind) => {
  const rates = { ...CALM, requests: 300, hangUpShare: 0.2, [kind]: kind === 'floods' ? 3 : 60 };
  for (const seed of [1, 2]) {
    expect(complaints(await simulate({ seed, devices: 16, virtualMinutes: 0.5, rates }))).toBe('');
  }
});
