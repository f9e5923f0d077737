/** Claims about what a lender is told whose device no hub could ask, held against what the hub itself makes of it. */
import { kindsOf } from '@idlewild/hub/testing';
import { CONSENT_UNSAID, DATA_CLASSES, WORK_KINDS, type Consent } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { unaskedText } from './unasked.ts';

const subsets = <T>(all: readonly T[]): T[][] =>
  all
    .reduce<T[][]>((sets, each) => [...sets, ...sets.map((set) => [...set, each])], [[]])
    .filter(({ length }) => length > 0);

const CONSENT: Consent = {
  ...CONSENT_UNSAID,
  v: 2,
  device: new Uint8Array(32),
  territories: [],
  kinds: ['answers'],
  presence: 'respect',
  issuedAtMs: 0,
};

test('whoever is told that nothing comes gets nothing from the hub, and nobody else is told so', () => {
  for (const kinds of subsets(WORK_KINDS)) {
    for (const classes of subsets(DATA_CLASSES)) {
      for (const causes of [[], ['climate']]) {
        const consent = { ...CONSENT, kinds, classes, causes };
        const isAsked = kindsOf(consent).includes('answers');
        expect({ kinds, classes, causes, isTold: unaskedText(consent) !== undefined }).toEqual({
          kinds,
          classes,
          causes,
          isTold: !isAsked,
        });
      }
    }
  }
});

test('the words name what was chosen; what an old consent leaves unsaid is enough', () => {
  expect(unaskedText({ kinds: ['jobs', 'storage'] })).toBe('nobody asks for jobs or storage yet');
  expect(unaskedText({ kinds: ['answers'], causes: ['climate'] })).toMatch(/what work is for/);
  expect(unaskedText({ kinds: ['answers'], classes: ['public'] })).toMatch(/internal yet, .* for public ones alone/);
  expect(unaskedText({ kinds: ['answers'] })).toBeUndefined();
  expect(unaskedText({})).toBeUndefined();
});
