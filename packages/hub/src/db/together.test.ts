import { expect, test } from 'vitest';
import { together } from './together.ts';

/** An `act` that is held up until it is let go, once for each batch. */
function heldUp() {
  const batches: { readonly items: readonly number[]; go(error?: Error): void }[] = [];
  const ask = together<number, string>(3, async (items) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    batches.push({ items, go: (error) => (error === undefined ? resolve() : reject(error)) });
    await promise;
    return items.map((item) => `answer ${item}`);
  });
  return { batches, ask };
}

test('the first goes at once, the others together after it, and each gets its own answer', async () => {
  const { batches, ask } = heldUp();
  const asked = [1, 2, 3, 4, 5].map((item) => ask(item));
  expect(batches.map(({ items }) => items)).toEqual([[1]]);
  batches[0]?.go();
  expect(await asked[0]).toBe('answer 1');
  await expect.poll(() => batches[1]?.items).toEqual([2, 3, 4]);
  batches[1]?.go();
  await expect.poll(() => batches[2]?.items).toEqual([5]);
  batches[2]?.go();
  expect(await Promise.all(asked)).toEqual([1, 2, 3, 4, 5].map((item) => `answer ${item}`));
});

test('an error is of those who went together, and the next go on', async () => {
  const { batches, ask } = heldUp();
  const [first, ...others] = [1, 2, 3, 4, 5].map((item) => ask(item));
  batches[0]?.go(new Error('away'));
  await expect(first).rejects.toThrow('away');
  await expect.poll(() => batches.length).toBe(2);
  batches[1]?.go();
  expect(await others[0]).toBe('answer 2');
  await expect.poll(() => batches.length).toBe(3);
  batches[2]?.go();
  expect(await others[3]).toBe('answer 5');
});
