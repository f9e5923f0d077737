/** Claims about what a lender is told whose device no hub could ask, held against what the hub itself makes of it. */
import { barOf, DEFAULT_TIERS, EVERYWHERE } from '@idlewild/hub/testing';
import { DATA_CLASSES, WORK_KINDS } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { unaskedText } from './unasked.ts';

const subsets = <T>(all: readonly T[]): T[][] =>
  all.reduce<T[][]>((sets, each) => [...sets, ...sets.map((set) => [...set, each])], [[]]);

test('whoever is told that nothing comes gets nothing from the hub, and nobody else is told so', () => {
  for (const kinds of subsets(WORK_KINDS)) {
    for (const classes of subsets(DATA_CLASSES)) {
      for (const causes of [[], ['climate']]) {
        const seer: Parameters<typeof barOf>[0] = {
          standing: { tier: 'vetted', person: undefined, pools: [], asOf: 0 },
          lends: { kinds, classes, causes, refused: [] },
          refusals: new Set<string>(),
        };
        const isAsked = DATA_CLASSES.some((dataClass) => {
          const asked = { dataClass, cause: 'climate', person: undefined };
          const text = { ...asked, tiers: DEFAULT_TIERS[dataClass], reach: EVERYWHERE };
          return barOf(seer, text) === undefined;
        });
        expect({ kinds, classes, causes, isTold: unaskedText({ kinds, classes }) !== undefined }).toEqual({
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
  expect(unaskedText({ kinds: ['answers'], classes: [] })).toMatch(/none may be seen here/);
  expect(unaskedText({ kinds: ['answers'], classes: ['public'] })).toBeUndefined();
  expect(unaskedText({ kinds: ['answers'] })).toBeUndefined();
  expect(unaskedText({})).toBeUndefined();
});
