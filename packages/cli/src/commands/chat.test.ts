import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { tellWhenSlow } from './chat.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('who waits long for a first word is told once what may be in its way, and nobody else is', () => {
  const told: string[] = [];
  const quick = tellWhenSlow((line) => told.push(`quick: ${line}`));
  tellWhenSlow((line) => told.push(`slow: ${line}`));
  vi.advanceTimersByTime(2_000);
  expect(told).toEqual([]);
  quick.stop();
  vi.advanceTimersByTime(60_000);
  expect(told).toEqual([expect.stringMatching(/^slow: no word yet.*idlewild devices list/)]);
});
