/** Pauses by name: what counts as a change, what stays, and where the bounds are. */
import { LIMITS, statusSchema } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { AGENT_LIMITS } from '../../limits.ts';
import { LENDER_PAUSE } from '../control/lender-pause.ts';
import { REASON_NAMES } from './lines.ts';
import { createPauses } from './pauses.ts';

test('a name is paused once, keeps its time and takes a newer text; the hub hears what it is told', async () => {
  const clock = createFakeClock(() => Promise.resolve());
  const pauses = createPauses(clock);
  const sinceMs = clock.now();
  expect(pauses.add('programs', 'doom runs', 'in use')).toBe(true);
  await clock.advance(5_000);
  expect(pauses.add('programs', 'doom and quake run', 'in use')).toBe(true);
  expect(pauses.add('programs', 'doom and quake run', 'in use')).toBe(false);
  expect(pauses.all()).toEqual([{ name: 'programs', text: 'doom and quake run', sinceMs }]);
  expect(pauses.add('input', 'somebody types', 'in use')).toBe(true);
  expect(pauses.told()).toEqual(['in use', 'in use']);
  expect(pauses.remove('programs')).toBe(true);
  expect(pauses.remove('programs')).toBe(false);
  expect(pauses.all().map(({ name }) => name)).toEqual(['input']);
});

test('all that a machine says and its lender pause together, and a heartbeat still carries what is told', () => {
  const pauses = createPauses(createFakeClock(() => Promise.resolve()));
  for (const name of REASON_NAMES) pauses.add(name, 'text', name);
  expect(pauses.add(LENDER_PAUSE.name, LENDER_PAUSE.text, LENDER_PAUSE.text)).toBe(true);
  expect(pauses.all()).toHaveLength(REASON_NAMES.length + 1);
  const status = { state: 'paused', pauseReasons: pauses.told(), slots: 0, active: 0, models: [] };
  expect(statusSchema.safeParse(status).success).toBe(true);
});

test('reasons are bounded, and no text is longer than a heartbeat carries', () => {
  const pauses = createPauses(createFakeClock(() => Promise.resolve()));
  for (let i = 0; i < AGENT_LIMITS.pauseReasonsMax; i++) pauses.add(`reason-${i}`, 'text', 'x'.repeat(1_000));
  expect(() => pauses.add('one-more', 'text', 'text')).toThrow('resume some of them first');
  expect(pauses.add('reason-3', 'other', 'other')).toBe(true);
  expect(pauses.told()[0]).toHaveLength(LIMITS.pauseReasonCharactersMax);
});
