/** Several replicas over one database and one bus: the invariants hold in every seed, whatever goes wrong in it. */
import { expect, test } from 'vitest';
import { complaints } from './hold.ts';
import { CALM, CALM_REPLICAS, REPLICA_RATES, type ReplicaRates } from './rates.ts';
import { simulate } from './run.ts';
import { FAILED_REPLICA_SEEDS, REPLICA_SEEDS } from './seeds.ts';

const SIZE = { devices: 14, virtualMinutes: 0.75 } as const;
/** A flood takes longer than all the rest. */
const RATES = { floods: 0, diskFaults: 0.5 };

test.each(REPLICA_SEEDS)('seed %i holds', async (seed) => {
  expect(complaints(await simulate({ seed, ...SIZE, replicas: 2 + (seed % 3), rates: RATES }))).toBe('');
});

test.each(FAILED_REPLICA_SEEDS)('seed $seed holds again ($found)', async (options) => {
  expect(complaints(await simulate(options))).toBe('');
});

test('the same seed is the same world, with all its replicas: every event at the same time', async () => {
  const one = await simulate({ seed: 4, ...SIZE, replicas: 3 });
  const other = await simulate({ seed: 4, ...SIZE, replicas: 3 });
  expect(one.hash).toBe(other.hash);
  expect((await simulate({ seed: 5, ...SIZE, replicas: 3 })).hash).not.toBe(one.hash);
});

const kinds = (Object.keys(REPLICA_RATES) as (keyof ReplicaRates)[]).filter((kind) => kind !== 'keyedShare');

test.each(kinds)('a small community holds in a storm of %s', async (kind) => {
  const rates = { ...CALM, ...CALM_REPLICAS, requests: 200, hangUpShare: 0.2, [kind]: 20 };
  expect(complaints(await simulate({ seed: 1, devices: 10, virtualMinutes: 0.4, replicas: 3, rates }))).toBe('');
});
