/** Pauses by name: what counts as a change, what stays, and where the bound is. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { AGENT_LIMITS } from '../limits.ts';
import { createPauses } from './pauses.ts';

test('a name is paused once, keeps its time and takes a newer text', async () => {
  const clock = createFakeClock(() => Promise.resolve());
  const pauses = createPauses(clock);
  const sinceMs = clock.now();
  expect(pauses.add('load', 'other programs keep 60 % busy')).toBe(true);
  await clock.advance(5_000);
  expect(pauses.add('load', 'other programs keep 80 % busy')).toBe(true);
  expect(pauses.add('load', 'other programs keep 80 % busy')).toBe(false);
  expect(pauses.all()).toEqual([{ name: 'load', text: 'other programs keep 80 % busy', sinceMs }]);
  expect(pauses.add('input', 'somebody types')).toBe(true);
  expect(pauses.texts()).toEqual(['other programs keep 80 % busy', 'somebody types']);
  expect(pauses.remove('load')).toBe(true);
  expect(pauses.remove('load')).toBe(false);
  expect(pauses.texts()).toEqual(['somebody types']);
});

test('there are no more reasons than a heartbeat carries, and none is longer', () => {
  const pauses = createPauses(createFakeClock(() => Promise.resolve()));
  for (let i = 0; i < AGENT_LIMITS.pauseReasonsMax; i++) pauses.add(`reason-${i}`, 'x'.repeat(1_000));
  expect(() => pauses.add('one-more', 'text')).toThrow('resume some of them first');
  expect(pauses.add('reason-3', 'other')).toBe(true);
  expect(pauses.texts()[0]).toHaveLength(AGENT_LIMITS.pauseReasonCharactersMax);
});
