import type { EncoderRecipe, Pooling } from '@idlewild/graph';
import { expect, test } from 'vitest';
import { vectorOf } from './vectors.ts';

const recipe = (over: Partial<EncoderRecipe>): EncoderRecipe => ({
  pooling: [],
  normalize: false,
  tokensMax: 8,
  lowerCase: false,
  prompt: '',
  dimensions: 2,
  activation: 'none',
  ...over,
});
/** Three tokens, two values each. */
const ROWS = Float32Array.of(1, -4, 3, 8, 5, 2);
const pool = (...pooling: Pooling[]): number[] => [...vectorOf(ROWS, 3, recipe({ pooling }))];

test('rows are pooled as their names say', () => {
  expect(pool('cls')).toEqual([1, -4]);
  expect(pool('last')).toEqual([5, 2]);
  expect(pool('mean')).toEqual([3, 2]);
  expect(pool('max')).toEqual([5, 8]);
  expect(pool('cls', 'mean')).toEqual([1, -4, 3, 2]);
});

test('a vector is normalised to length 1, and one of zeros stays one', () => {
  const normal = recipe({ normalize: true });
  expect([...vectorOf(Float32Array.of(3, 4), 1, normal)]).toEqual([Math.fround(0.6), Math.fround(0.8)]);
  expect([...vectorOf(Float32Array.of(0, 0), 1, normal)]).toEqual([0, 0]);
});

test('logits become probabilities by softmax or sigmoid, or stay what they are', () => {
  const of = (activation: EncoderRecipe['activation'], ...logits: number[]): number[] => [
    ...vectorOf(Float32Array.from(logits), 5, recipe({ labels: ['a', 'b'], activation })),
  ];
  const [first = 0, second = 0] = of('softmax', 1, 2);
  expect(first).toBeCloseTo(1 / (1 + Math.E), 6);
  expect(first + second).toBeCloseTo(1, 6);
  expect(of('softmax', 1_000, -1_000)).toEqual([1, 0]);
  expect(of('sigmoid', 0, 1_000)).toEqual([0.5, 1]);
  expect(of('none', -7, 3)).toEqual([-7, 3]);
});
