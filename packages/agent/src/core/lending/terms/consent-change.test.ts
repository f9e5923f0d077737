/** Claims about changes of a consent: what counts as wider and needs a yes, and what is signed in the end. */
import type { Consent } from '@idlewild/protocol';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { changed, consentChangeSchema, isChange, widenings, type ConsentChange } from './consent-change.ts';

const consent: Consent = {
  v: 2,
  device: new Uint8Array(32),
  territories: [new Uint8Array(32).fill(1)],
  kinds: ['answers'],
  presence: 'respect',
  classes: ['public', 'internal'],
  causes: ['climate'],
  refused: ['gambling'],
  hours: Array.from({ length: 7 }, () => [{ from: 60, until: 120 }]),
  cpuShareMax: 0.5,
  memoryBytesMax: 4e9,
  diskBytesMax: 10e9,
  gpu: 'idle',
  issuedAtMs: 1,
};
const wider = (change: ConsentChange, before: Consent = consent): string[] =>
  widenings(before, changed(before, change));
const hours = (from: number, until: number): NonNullable<ConsentChange['hours']> =>
  Array.from({ length: 7 }, () => [{ from, until }]);

test.each<[string, ConsentChange]>([
  ['fewer processors', { cpuShareMax: 0.4 }],
  ['less memory', { memoryBytesMax: 1e9 }],
  ['a limit where there was none', { tokensPerSecondMax: 5, celsiusMax: 70, wattHoursPerDayMax: 100 }],
  ['less upload than everybody gives', { uploadBytesPerSecondMax: 0 }],
  ['no work at all', { kinds: [] }],
  ['public data only', { classes: ['public'] }],
  ['no causes but fewer', { refused: ['gambling', 'advertising'] }],
  ['shorter hours', { hours: hours(60, 90) }],
  [
    'the same hours cut in two',
    { hours: Array.from({ length: 7 }, () => [60, 90].map((from) => ({ from, until: from + 30 }))) },
  ],
  ['no graphics processor', { gpu: 'never' }],
])('%s is narrower and needs no yes', (_, change) => {
  expect(wider(change)).toEqual([]);
  expect(isChange(consent, change)).toBe(true);
});

test.each<[ConsentChange, string]>([
  [{ cpuShareMax: 0.6 }, 'more processors'],
  [{ cpuShareMax: null }, 'more processors'],
  [{ memoryBytesMax: 5e9 }, 'more memory'],
  [{ diskBytesMax: null }, 'more disk'],
  [{ uploadBytesPerSecondMax: 6e6 }, 'more upload'],
  [{ kinds: ['answers', 'training'] }, 'work: training'],
  [{ classes: ['public', 'internal', 'confidential'] }, 'data: confidential'],
  [{ causes: ['climate', 'health'] }, 'for: health'],
  [{ causes: [] }, 'for any cause'],
  [{ refused: [] }, 'for gambling, refused until now'],
  [{ presence: 'ignore' }, 'also while somebody uses the machine'],
  [{ hours: hours(60, 121) }, 'at more hours'],
  [{ hours: hours(0, 30) }, 'at more hours'],
  [{ hours: null }, 'at more hours'],
  [{ gpu: 'always' }, 'the graphics processor: always'],
])('%o is wider: %s', (change, text) => {
  expect(wider(change)).toEqual([text]);
});

test('where nothing was named, the figure that everybody starts with is the line', () => {
  const { diskBytesMax: _, ...unnamed } = consent;
  expect(wider({ diskBytesMax: 20e9 }, unnamed)).toEqual([]);
  expect(wider({ diskBytesMax: 21e9 }, unnamed)).toEqual(['more disk']);
});

test('what is said already is no change', () => {
  expect(isChange(consent, { cpuShareMax: 0.5, gpu: 'idle', tokensPerSecondMax: null })).toBe(false);
  expect(isChange(consent, {})).toBe(false);
});

test('a change leaves alone what it does not name, and null takes a limit away', () => {
  expect(changed(consent, { cpuShareMax: 0.2, hours: null })).toEqual({
    territories: consent.territories,
    kinds: ['answers'],
    presence: 'respect',
    classes: ['public', 'internal'],
    causes: ['climate'],
    refused: ['gambling'],
    cpuShareMax: 0.2,
    hours: undefined,
    memoryBytesMax: 4e9,
    diskBytesMax: 10e9,
    gpu: 'idle',
  });
});

test('there and back is never narrower in both directions unless it is the same, for any seed', () => {
  const random = createSeededRandom(3);
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random.unit() * values.length)] as Value;
  for (let n = 0; n < 500; n++) {
    const change: ConsentChange = {
      cpuShareMax: pick([null, 0.1, 0.5, 0.9]),
      gpu: pick(['never', 'idle', 'always'] as const),
      causes: pick([[], ['climate'], ['climate', 'health'], ['health']]),
      refused: pick([[], ['gambling'], ['war']]),
      hours: pick([null, hours(0, 1_440), hours(60, 120), hours(90, 200)]),
    };
    const there = { ...consent, ...changed(consent, change) } as Consent;
    const [forth, back] = [widenings(consent, there), widenings(there, consent)];
    const isSame = forth.length === 0 && back.length === 0;
    const allowsTheSame =
      there.cpuShareMax === 0.5 &&
      there.gpu === 'idle' &&
      there.causes.join() === 'climate' &&
      there.refused.join() === 'gambling' &&
      JSON.stringify(there.hours) === JSON.stringify(consent.hours);
    expect(isSame, JSON.stringify(change)).toBe(allowsTheSame);
  }
});

test('a field that no lender may change, or that is none, is refused', () => {
  for (const change of [{ territories: [] }, { device: '' }, { cpuShareMax: 0 }, { hours: [[]] }, { gpu: 'no' }]) {
    expect(consentChangeSchema.safeParse(change).success).toBe(false);
  }
});
