import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { withDecoys } from './decoys.ts';

const numbers = (length: number, kinds: number): number[] => Array.from({ length }, (_, i) => 7 + ((i * 13) % kinds));

test('a draft differs from the answer at its decoys alone, one in each stretch, and never at its end', () => {
  const random = createSeededRandom(3);
  for (const length of [8, 9, 31, 32, 33, 64, 200, 1_000]) {
    for (const kinds of [2, 5, 97]) {
      const tokens = numbers(length, kinds);
      const { draft, places } = withDecoys(tokens, random) ?? { draft: [], places: new Set<number>() };
      expect(draft).toHaveLength(length);
      const wrong = draft.flatMap((id, i) => (id === tokens[i] ? [] : [i]));
      expect(wrong).toEqual([...places].sort((a, b) => a - b));
      const count = 1 + Math.floor(length / 32);
      expect(wrong.map((i) => Math.floor(((i + 1) * count - 1) / (length - 1)))).toEqual([...Array(count).keys()]);
      expect(wrong.at(-1)).toBeLessThan(length - 1);
      for (const i of wrong) expect(tokens.slice(0, -1)).toContain(draft[i]);
    }
  }
});

test('each place and each other token is as likely, and no two drafts are alike', () => {
  const random = createSeededRandom(4);
  const tokens = numbers(21, 5);
  const seen = new Map<number, number>();
  const ids = new Set<number | undefined>();
  for (let i = 0; i < 2_000; i++) {
    const { draft, places } = withDecoys(tokens, random) as { draft: number[]; places: Set<number> };
    for (const place of places) seen.set(place, (seen.get(place) ?? 0) + 1);
    if (places.has(0)) ids.add(draft[0]);
  }
  expect(seen.size).toBe(20);
  for (const count of seen.values()) expect(count).toBeGreaterThan(50);
  expect(ids.size).toBe(4);
});

test('there is no draft of what is too short, or has no other token', () => {
  const random = createSeededRandom(5);
  expect(withDecoys(numbers(7, 5), random)).toBeUndefined();
  expect(withDecoys([...Array<number>(40).fill(9), 2], random)).toBeUndefined();
  expect(withDecoys([...Array<number>(40).fill(9), 8, 2], random)?.draft).toHaveLength(42);
});
