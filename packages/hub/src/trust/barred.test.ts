/** Claims about who may see a text, by a rule that is written down here a second time, and about the words for it. */
import { CONSENT_UNSAID, DATA_CLASSES, DEVICE_TIERS, type DataClass } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import type { Tier } from '../policy/port.ts';
import { explainNone } from '../scheduler/explain.ts';
import { freeSlots, route, type Candidate, type Demand } from '../scheduler/route.ts';
import { PLAIN_DEMAND, plainSeer } from '../testing/texts.ts';
import { EVERYWHERE, type Reach } from '../policy/reach.ts';
import { barOf, type Seer, type TextDemand } from './barred.ts';
import { DEFAULT_TIERS } from './tiers.ts';

const subsets = <T>(all: readonly T[]): T[][] =>
  all.reduce<T[][]>((sets, each) => [...sets, ...sets.map((set) => [...set, each])], [[]]);
const CAUSES = [undefined, 'climate', 'betting'] as const;
const PEOPLE = [undefined, 'per_ada'] as const;

const seerOf = (
  over: Partial<Seer['lends']>,
  standing: Partial<Seer['standing']> = {},
  refusals: string[] = [],
): Seer => ({
  standing: { ...plainSeer().standing, ...standing },
  lends: { ...CONSENT_UNSAID, kinds: ['answers'], ...over },
  refusals: new Set(refusals),
});
const textOf = (dataClass: DataClass, cause?: string, person?: string): TextDemand => ({
  dataClass,
  cause,
  person,
  tiers: DEFAULT_TIERS[dataClass],
  reach: EVERYWHERE,
});

/** Which tiers may see which class, as people are told it. */
const SEEN_BY: Readonly<Record<DataClass, readonly Tier[]>> = {
  public: ['own', 'vetted', 'member', 'public'],
  internal: ['own', 'vetted', 'member'],
  confidential: ['own', 'vetted'],
};

test('a device sees a text when its tier may, and its lender lends for such texts and such causes: every case', () => {
  let seen = 0;
  for (const tier of DEVICE_TIERS)
    for (const lender of PEOPLE)
      for (const classes of subsets(DATA_CLASSES))
        for (const causes of subsets(['climate']))
          for (const refused of subsets(['betting']))
            for (const dataClass of DATA_CLASSES)
              for (const cause of CAUSES)
                for (const asker of PEOPLE) {
                  const seer = seerOf({ classes, causes, refused }, { tier, person: lender });
                  const isOwn = asker !== undefined && lender === asker;
                  const mayTier = SEEN_BY[dataClass].includes(isOwn ? 'own' : tier);
                  const mayClass = classes.includes(dataClass);
                  const isWanted = causes.length === 0 || cause === 'climate';
                  const isRefused = cause === 'betting' && refused.length > 0;
                  const may = mayTier && mayClass && isWanted && !isRefused;
                  expect(barOf(seer, textOf(dataClass, cause, asker)) === undefined).toBe(may);
                  if (may) seen++;
                }
  expect(seen).toBeGreaterThan(100);
});

test('who may be answered by devices of some pools alone is seen by no other, and told so', () => {
  const reach: Reach = { key: 'labs', pools: () => ['labs'], includes: (pools) => pools.includes('labs') };
  const text = { ...textOf('internal'), reach };
  expect(barOf(seerOf({}, { pools: ['attic', 'labs'] }), text)).toBeUndefined();
  expect(barOf(seerOf({}, { pools: ['attic'] }), text)).toEqual({ t: 'pool' });
  expect(barOf(seerOf({}), text)).toEqual({ t: 'pool' });
  expect(explainNone([candidate('dev_1', seerOf({}, { pools: ['attic'] }))], 'tiny', demandFor(text))).toBe(
    '1 device holds this model; it may not see internal data: ' +
      '1 is not of the pool labs, whose devices alone may answer you',
  );
});

test('who lends for no answers sees none, and what was refused once is not asked again', () => {
  expect(barOf(seerOf({ kinds: ['storage'] }), PLAIN_DEMAND)).toEqual({ t: 'kind' });
  const refusing = seerOf({}, {}, ['internal ']);
  expect(barOf(refusing, textOf('internal'))).toEqual({ t: 'refused' });
  expect(barOf(refusing, textOf('public'))).toBeUndefined();
  expect(barOf(refusing, textOf('internal', 'climate'))).toBeUndefined();
});

const candidate = (device: string, seer: Seer, over: Partial<Candidate> = {}): Candidate => ({
  ...seer,
  device,
  state: 'ready',
  pauseReasons: [],
  model: 'warm',
  numericClass: 'a',
  features: [],
  slots: 4,
  active: 0,
  tokensPerSecond: 100,
  prefillTokensPerSecond: 1_000,
  sharedCost: 1,
  knownTokens: 0,
  roundTripMs: 1,
  isElsewhere: false,
  mistrusted: false,
  ...over,
});
const demandFor = (text: TextDemand, over: Partial<Demand> = {}): Demand => ({
  promptTokens: 100,
  answerTokens: 100,
  numericClass: undefined,
  excluded: new Set(),
  features: [],
  text,
  ...over,
});

test('whatever else speaks for a device that may not see the text, it is not chosen', () => {
  const fast = candidate('dev_fast', seerOf({}, { tier: 'public' }), { tokensPerSecond: 10_000, knownTokens: 100 });
  const slow = candidate('dev_slow', seerOf({}), { tokensPerSecond: 1, mistrusted: true, numericClass: 'b' });
  const demand = demandFor(textOf('internal'), { numericClass: 'a' });
  expect(route([fast, slow], demand)).toMatchObject({ t: 'device', device: 'dev_slow' });
  expect(freeSlots([fast, slow], demand)).toBe(4);
  expect(route([fast], demand)).toEqual({ t: 'none' });
});

test('who asks decides nothing but which devices are their own', () => {
  const devices = ['per_ada', 'per_bob', undefined].map((person, index) =>
    candidate(`dev_${index}`, seerOf({}, { person }), { tokensPerSecond: 50 + index }),
  );
  const choices = ['per_ada', 'per_bob', 'per_cem', undefined].map((person) =>
    route(devices, demandFor(textOf('internal', undefined, person))),
  );
  expect(new Set(choices.map((choice) => JSON.stringify(choice))).size).toBe(1);
});

test('the words say who may not see what, and why', () => {
  const none = (seers: readonly Seer[], text: TextDemand, over: Partial<Candidate> = {}): string =>
    explainNone(
      seers.map((seer, index) => candidate(`dev_${index}`, seer, index === 0 ? over : {})),
      'tiny',
      demandFor(text),
    );
  const vetted = { tier: 'vetted' } as const;
  const anybody = { tier: 'public' } as const;
  expect(none([seerOf({}, anybody), seerOf({}, anybody), seerOf({}, vetted)], textOf('confidential'))).toBe(
    '3 devices hold this model; none of them may see confidential data: 2 are public, ' +
      "1's lender lends for public and internal data only",
  );
  expect(none([seerOf({}, anybody)], textOf('internal'))).toBe(
    '1 device holds this model; it may not see internal data: 1 is public',
  );
  const forbids = new Map([
    ['public', ['texts/careful', 'night']],
    ['member', ['texts/careful']],
  ] as const);
  expect(none([seerOf({}, anybody), seerOf({})], { ...textOf('confidential'), forbids }, { state: 'paused' })).toBe(
    '2 devices hold this model; none of them may see confidential data: ' +
      '1 is public, which "texts/careful" and "night" forbid, 1 is only a member\'s, which "texts/careful" forbids; ' +
      'a steward can change that: idlewild policy show texts',
  );
  expect(none([seerOf({}, vetted)], { ...textOf('internal'), tiers: new Set(), forbids })).toBe(
    '1 device holds this model; it may not see internal data: 1 is vetted',
  );
  expect(none([seerOf({ refused: ['betting'] })], textOf('internal', 'betting'))).toBe(
    '1 device holds this model; it may not see internal data for "betting": 1\'s lender refuses work for "betting"',
  );
  expect(none([seerOf({ causes: ['climate'] }), seerOf({ causes: ['climate'] })], textOf('public'))).toBe(
    "2 devices hold this model; none of them may see public data: 2 devices' lenders lend for climate only, " +
      'and this request names no purpose',
  );
  expect(none([seerOf({}), seerOf({}, anybody)], textOf('internal'), { state: 'paused' })).toBe(
    '2 devices hold this model; 1 of them may not see internal data: 1 is public; of the others 1 is paused',
  );
});
