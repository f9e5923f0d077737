/** Claims about work that is done for many at once. */
import { IdlewildError } from '@idlewild/protocol';
import { yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { PROJECT_LIMITS } from './limits.ts';
import { createTogether, type Outcome } from './together.ts';

/** Runs that wait until they are let go, with what they were asked. */
function createRuns(answer: (order: number, together: number) => Outcome<number>) {
  const runs: { readonly orders: readonly number[]; readonly go: () => void }[] = [];
  const ask = createTogether(async (orders: readonly number[]) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    runs.push({ orders, go: resolve });
    await promise;
    return orders.map((order) => answer(order, orders.length));
  });
  return { ask, runs };
}

test('the first goes at once, who comes meanwhile goes together, each with its own answer', async () => {
  const { ask, runs } = createRuns((order) => (order === 3 ? { error: new Error('three') } : { result: order * 10 }));
  const all = [1, 2, 3, 4].map((order) => ask(order).catch((error: unknown) => String(error)));
  expect(runs.map(({ orders }) => orders)).toEqual([[1]]);
  runs[0]?.go();
  await yieldToNode();
  expect(runs.map(({ orders }) => orders)).toEqual([[1], [2, 3, 4]]);
  runs[1]?.go();
  expect(await Promise.all(all)).toEqual([10, 20, 'Error: three', 40]);
});

test('what fails for all is tried for each alone', async () => {
  const { ask, runs } = createRuns((order, together) => {
    if (together > 1 || order === 2) throw new Error('not so');
    return { result: order };
  });
  const all = [1, 2, 3].map((order) => ask(order).catch((error: unknown) => String(error)));
  for (let i = 0; i < 4; i++) {
    runs[i]?.go();
    await yieldToNode();
  }
  expect(runs.map(({ orders }) => orders)).toEqual([[1], [2, 3], [2], [3]]);
  expect(await Promise.all(all)).toEqual([1, 'Error: not so', 3]);
});

test('where the database is away all of a run are told so, and none is tried again', async () => {
  const { ask, runs } = createRuns((order, together) => {
    if (together > 1) throw new IdlewildError('database_unavailable', 'away');
    return { result: order };
  });
  const all = [1, 2, 3].map((order) => ask(order).catch((error: unknown) => String(error)));
  for (let i = 0; i < 3; i++) {
    runs[i]?.go();
    await yieldToNode();
  }
  expect(runs.map(({ orders }) => orders)).toEqual([[1], [2, 3]]);
  expect(await Promise.all(all)).toEqual([1, expect.stringMatching('away'), expect.stringMatching('away')]);
});

test('a run has a bound, and so has the line', async () => {
  const { ask, runs } = createRuns((order) => ({ result: order }));
  const all = Array.from({ length: PROJECT_LIMITS.togetherWaitingMax }, (_, order) => ask(order));
  await expect(ask(-1)).rejects.toMatchObject({ code: 'too_busy' });
  for (let i = 0; runs[i] !== undefined; i++) {
    expect(runs[i]?.orders.length).toBeLessThanOrEqual(PROJECT_LIMITS.togetherMax);
    runs[i]?.go();
    await yieldToNode();
  }
  expect(await Promise.all(all)).toHaveLength(PROJECT_LIMITS.togetherWaitingMax);
});
