import { IdlewildError } from '@idlewild/protocol';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { patiently, type Patience } from './retry.ts';

const gone = (details: Readonly<Record<string, unknown>>): IdlewildError =>
  new IdlewildError('source_unreachable', 'example.org: no connection', { details });

/** How often something that always fails so is tried; `gained` is what is here after so many attempts. */
async function attemptsOf(
  details: Readonly<Record<string, unknown>>,
  gained = (_attempts: number): number => 0,
): Promise<number> {
  const clock = createFakeClock(async () => undefined);
  const patience: Patience = {
    clock,
    random: createSeededRandom(1),
    signal: new AbortController().signal,
    onPause: (_, ms) => queueMicrotask(() => void clock.advance(ms)),
  };
  let attempts = 0;
  const act = async (): Promise<never> => {
    attempts++;
    throw gone(details);
  };
  await expect(patiently(act, patience, () => gained(attempts))).rejects.toThrow(/given up after/);
  return attempts;
}

test('where nobody answers at all, a person does not wait for half a minute', async () => {
  expect(await attemptsOf({ nobodyThere: true })).toBe(3);
  expect(await attemptsOf({})).toBe(6);
});

test('a network that goes away in the middle of a download is waited for', async () => {
  expect(await attemptsOf({ nobodyThere: true }, () => 1_000)).toBe(6);
});

test('what is lost and won again, over and over, is no gain', async () => {
  expect(await attemptsOf({}, (attempts) => 1_000 + (attempts % 2))).toBe(6);
});
