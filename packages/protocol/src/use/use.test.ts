/** Claims about rules of use: what lists, phrases and profiles refuse, whom, and what they leave alone. */
import { expect, test } from 'vitest';
import { LIMITS } from '../limits.ts';
import { createUseJudge, type UseAsked } from './judge.ts';
import { createPhraseFinder, readTexts } from './phrases.ts';
import { NO_USE_RULES, useRulesSchema, type UseRules } from './use-rules.ts';

const asked = (more: Partial<UseAsked> = {}): UseAsked => ({ model: 'jacobean', groups: [], ...more });
const judge = (rules: Omit<UseRules, 'v'>) => createUseJudge(useRulesSchema.parse({ v: 1, ...rules }));
const phrases = (id: string, ...list: string[]) => ({
  kind: 'phrases' as const,
  id,
  phrases: list,
  why: `about ${id}`,
});

test('a community that says nothing refuses nothing', () => {
  const none = createUseJudge(NO_USE_RULES);
  expect(none.faultOf(asked({ isSealed: true }))).toBeUndefined();
  expect(none.faultOfTexts(['anything at all'], asked())).toBeUndefined();
  expect(none.classifiers(asked())).toEqual([]);
});

test.each<[string, Omit<UseRules, 'v'>, Partial<UseAsked>, string | undefined]>([
  ['a denied model', { models: { deny: ['jacobean'] } }, {}, 'model-denied'],
  ['a model that is not among those allowed', { models: { allow: ['other'] } }, {}, 'model-denied'],
  ['an allowed model', { models: { allow: ['jacobean'] } }, {}, undefined],
  ['a denied purpose', { purposes: { deny: ['ads'] } }, { purpose: 'ads' }, 'purpose-denied'],
  ['another purpose than a denied one', { purposes: { deny: ['ads'] } }, { purpose: 'climate' }, undefined],
  ['no purpose, where some are denied', { purposes: { deny: ['ads'] } }, {}, undefined],
  ['no purpose, where one is required', { purposes: { required: true } }, {}, 'purpose-missing'],
  ['no purpose, where some are allowed', { purposes: { allow: ['climate'] } }, {}, 'purpose-missing'],
  [
    'a purpose that is not among those allowed',
    { purposes: { allow: ['climate'] } },
    { purpose: 'x' },
    'purpose-denied',
  ],
  ['a sealed prompt, where none are taken', { sealed: 'refused' }, { isSealed: true }, 'sealed-refused'],
  ['an open prompt, where no sealed ones are taken', { sealed: 'refused' }, {}, undefined],
])('%s', (_, rules, more, reason) => {
  expect(judge(rules).faultOf(asked(more))?.reason).toBe(reason);
});

test.each<[string, string, boolean]>([
  ['nerve gas', 'How do I make Nerve  Gas?', true],
  ['nerve gas', 'nerve-gas', true],
  ['nerve gas', 'gas of the nerve', false],
  ['nerve gas', 'nerve gasket', false],
  ['poison*', 'poisonous berries', true],
  ['*toxin', 'a neurotoxin', true],
  ['*omb*', 'bombs', true],
  ['café', 'CAFE\u0301', true],
  ['cafe', 'Café', true],
  ['ﬁre', 'fire', true],
  ['e-mail bomb', 'an e mail bomb', true],
  ['bomb', 'bombay', false],
  ['爆弾', 'これは爆弾です', false],
  ['*爆弾*', 'これは爆弾です', true],
])('the phrase "%s" and the text "%s": %s', (phrase, text, isIn) => {
  expect(createPhraseFinder(['unrelated', phrase])(readTexts([text]))).toBe(isIn ? phrase : undefined);
});

test('a text of two megabytes is held against all phrases that there may be without stopping anybody for long', () => {
  const find = createPhraseFinder(Array.from({ length: 256 }, (_, n) => (n < 16 ? `*bad${n}*` : `bad${n} thing`)));
  const text = 'lorem ipsum dolor sit amet '.repeat(78_000);
  const before = process.cpuUsage();
  expect(find(readTexts([text]))).toBeUndefined();
  // Generous: what must not happen is a time that grows with the square of anything.
  expect(process.cpuUsage(before).user / 1_000).toBeLessThan(3_000);
});

const every = (n: number, phrase: (n: number) => string): string[] => Array.from({ length: n }, (_, at) => phrase(at));
const half = LIMITS.promptBytesMax;
test.each<[string, string[], string]>([
  ['which all begin alike', every(256, (n) => `${'a '.repeat(30)}b${n}`), 'a '.repeat(half / 2)],
  ['that stand for many words', every(256, (n) => `*${n}* *a* a* *a a b`), 'a '.repeat(half / 2)],
  [
    'that lead everywhere',
    every(256, (n) => [0, 1, 2, 3, 4].map((p) => ['a', 'a*', '*a', '*a*'][(n >> p) & 3]).join(' ') + ' b'),
    'a '.repeat(half / 2),
  ],
  ['that nearly fit into a word', every(256, (n) => `*${'a'.repeat(100)}b${n}*`), 'a'.repeat(half)],
  ['before a text that grows as it is read', ['x'], '\ufdfa'.repeat(half / 3)],
])('the worst text for phrases %s is held against 64 rules of them once, or not at all', (_, said, text) => {
  const { faultOfTexts } = judge({ rules: every(64, (n) => `r${n}`).map((id) => phrases(id, ...said)) });
  const before = process.cpuUsage();
  try {
    expect(
      faultOfTexts(
        Array.from({ length: 8 }, () => text),
        asked(),
      ),
    ).toBeUndefined();
  } catch (error) {
    expect(error).toMatchObject({ code: 'use_unjudged' });
  }
  expect(process.cpuUsage(before).user / 1_000).toBeLessThan(8_000);
});

test('a phrase with "*" is found in a long text beside many others, and none where it is not', () => {
  const words = every(60_000, (n) => `w${n}`).join(' ');
  const { faultOfTexts } = judge({ rules: [phrases('many', ...every(100, (n) => `*q${n}x*`), '*bad* idea')] });
  expect(faultOfTexts([words], asked())).toBeUndefined();
  expect(faultOfTexts([`${words} a very BÁDLY idea`], asked())).toMatchObject({ reason: 'rule:many' });
});

test('a rule says its reason, and an exemption lifts that rule alone', () => {
  const { faultOfTexts } = judge({ rules: [phrases('poison', 'poison*'), phrases('arms', 'rifle')] });
  expect(faultOfTexts(['fine', 'a poisonous berry'], asked())).toEqual({ reason: 'rule:poison', why: 'about poison' });
  const except = new Set(['rule:poison']);
  expect(faultOfTexts(['a poisonous berry'], asked(), except)).toBeUndefined();
  expect(faultOfTexts(['a poisoned rifle'], asked(), except)?.reason).toBe('rule:arms');
});

test('a profile holds for members of its groups alone, besides what holds for all', () => {
  const rules = judge({
    rules: [phrases('arms', 'rifle')],
    profiles: [
      {
        name: 'age-appropriate',
        groups: ['children'],
        models: { allow: ['gentle'] },
        rules: [phrases('adult', 'casino')],
        preamble: 'You speak with a child.',
      },
    ],
  });
  const child = asked({ groups: ['class-7', 'children'] });
  expect(rules.faultOf(asked())).toBeUndefined();
  expect(rules.faultOf(child)?.reason).toBe('model-denied');
  expect(rules.faultOfTexts(['a casino'], asked())).toBeUndefined();
  expect(rules.faultOfTexts(['a casino'], child)?.reason).toBe('rule:adult');
  expect(rules.faultOfTexts(['a rifle'], child)?.reason).toBe('rule:arms');
  expect(rules.preambles(asked())).toEqual([]);
  expect(rules.preambles(child)).toEqual(['You speak with a child.']);
});

test('a profile holds for keys that it names, whatever groups there are', () => {
  const { faultOf, preambles } = judge({ profiles: [{ name: 'kiosk', keys: ['the library'], preamble: 'Be brief.' }] });
  expect(faultOf(asked({ keys: ['key_1', 'the library'] }))).toBeUndefined();
  expect(preambles(asked({ keys: ['key_1', 'the library'] }))).toEqual(['Be brief.']);
  expect(preambles(asked({ groups: ['the library'], keys: ['key_1'] }))).toEqual([]);
  expect(preambles(asked())).toEqual([]);
});

test('who takes no encrypted prompts is said: the community, or a profile of it', () => {
  const why = (rules: Omit<UseRules, 'v'>) => judge(rules).faultOf(asked({ isSealed: true, groups: ['g'] }))?.why;
  expect(why({ sealed: 'refused' })).toBe('this community takes no end-to-end encrypted prompts');
  const profiles = [{ name: 'young', groups: ['g'], sealed: 'refused' as const }];
  expect(why({ profiles })).toBe('your profile "young" takes no end-to-end encrypted prompts');
});

test.each<[string, unknown]>([
  ['two rules of one id', { v: 1, rules: [phrases('a', 'x'), phrases('a', 'y')] }],
  [
    'an id twice over profiles',
    { v: 1, rules: [phrases('a', 'x')], profiles: [{ name: 'p', groups: ['g'], rules: [phrases('a', 'y')] }] },
  ],
  ['a phrase without a letter', { v: 1, rules: [phrases('a', '***')] }],
  ['a field that nobody knows', { v: 1, modles: {} }],
  ['a profile for nobody', { v: 1, profiles: [{ name: 'p', preamble: 'x' }] }],
  ['a later version', { v: 2 }],
])('%s are refused', (_, rules) => {
  expect(useRulesSchema.safeParse(rules).success).toBe(false);
});
