import { LIMITS } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { HUB_LIMITS } from '../limits.ts';
import type { Candidate } from '../scheduler/route.ts';
import { cutParts, routePart } from './parts.ts';
import { plainSeer } from '../testing/texts.ts';

const texts = (count: number, characters = 3): string[] => Array.from({ length: count }, () => 'x'.repeat(characters));
const sizes = (inputs: readonly string[], dimensions = 384): number[] =>
  cutParts(inputs, dimensions).map((part) => part.inputs.length);

test('a request is cut in order, by texts, by bytes, and by what fits one reply', () => {
  expect(sizes(texts(70))).toEqual([32, 32, 6]);
  expect(sizes(texts(5, HUB_LIMITS.embedPartBytesMax / 2))).toEqual([2, 2, 1]);
  expect(sizes(texts(3, HUB_LIMITS.embedPartBytesMax * 2))).toEqual([1, 1, 1]);
  expect(sizes(texts(9), 65_536)).toEqual([4, 4, 1]);
  expect(sizes(texts(2), LIMITS.embedVectorBytesMax / 4)).toEqual([1, 1]);
  const parts = cutParts(
    texts(70).map((text, index) => text + index),
    384,
  );
  expect(parts.flatMap(({ inputs }) => inputs)).toEqual(texts(70).map((text, index) => text + index));
  expect(parts.map(({ from }) => from)).toEqual([0, 32, 64]);
});

const candidate = (device: string, over: Partial<Candidate> = {}): Candidate => ({
  ...plainSeer(),
  device,
  state: 'ready',
  pauseReasons: [],
  model: 'warm',
  numericClass: 'a',
  features: ['embed'],
  slots: 4,
  active: 0,
  tokensPerSecond: 0,
  prefillTokensPerSecond: 1_000,
  roundTripMs: 1,
  isElsewhere: false,
  mistrusted: false,
  sharedCost: 1,
  knownTokens: 0,
  ...over,
});
const chosen = (candidates: readonly Candidate[], embedding: Readonly<Record<string, number>> = {}): string => {
  const route = routePart(candidates, 100, (device) => embedding[device] ?? 0);
  return route.t === 'device' ? route.candidate.device : route.t;
};

test('a part goes where it is done first, and one slot of a device stays free for answers', () => {
  const fast = candidate('fast', { prefillTokensPerSecond: 3_000 });
  const slow = candidate('slow');
  expect(chosen([slow, fast])).toBe('fast');
  expect(chosen([slow, { ...fast, active: 3 }], { fast: 2 })).toBe('slow');
  expect(chosen([fast], { fast: 3 })).toBe('wait');
  expect(chosen([{ ...fast, slots: 1 }])).toBe('fast');
  expect(chosen([{ ...fast, slots: 1, active: 1 }])).toBe('wait');
});

test('who does not hold the model, is paused or does not know how takes none; who let one stall comes last', () => {
  const unable = [
    candidate('loading', { model: 'loading' }),
    candidate('paused', { state: 'paused' }),
    candidate('old', { features: [] }),
  ];
  expect(chosen(unable)).toBe('none');
  const stalled = candidate('stalled', { mistrusted: true, prefillTokensPerSecond: 9_000 });
  expect(chosen([stalled, candidate('slow')])).toBe('slow');
  expect(chosen([stalled])).toBe('stalled');
});
