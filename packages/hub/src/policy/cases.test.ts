/** What the documents say of policies and cases is so: each text in them holds, and each case falls as written. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runCases, testPolicies } from './cases.ts';
import { loadCedar } from './cedar.ts';
import { compileRules } from './rules.ts';

const read = (name: string): string => readFileSync(new URL(`../../../../docs/${name}`, import.meta.url), 'utf8');
const blocks = (text: string, language: string): string[] =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(([, block]) => block ?? '');

test('the policies of docs/policy.md hold, and its cases fall as they say', async () => {
  const text = read('policy.md');
  const [house = ''] = blocks(text, 'cedar');
  const [cases = ''] = blocks(text, 'json');
  const trial = { cases: JSON.parse(cases) as unknown[], roles: {}, texts: [{ name: 'house', text: house }] };
  const results = await testPolicies(trial);
  expect(results.filter(({ isAsExpected }) => !isAsExpected)).toEqual([]);
  expect(results).toHaveLength(5);
  // Without the policies they do not.
  const without = await testPolicies({ ...trial, texts: [] });
  expect(without.filter(({ isAsExpected }) => !isAsExpected)).toHaveLength(3);
});

test('the policies of docs/trust.md hold', async () => {
  const cases = [{ as: 'tier:vetted', action: 'readText', on: 'internal', expect: 'allow' }];
  for (const text of blocks(read('trust.md'), 'cedar'))
    expect(await testPolicies({ cases, roles: {}, texts: [{ name: 'trust', text }] })).toMatchObject([
      { isAsExpected: true },
    ]);
});

test('others are let go on before each case', async () => {
  const rules = compileRules(await loadCedar(), { roles: new Map(), texts: [] }, false);
  const state = { version: 0, rules, stops: new Map(), decisions: new Map() };
  const one = { as: 'tier:vetted', action: 'readText', on: 'internal', expect: 'allow' } as const;
  let told = 0;
  const paused: number[] = [];
  await runCases(state, 'ter_a', [one, one, one], {
    standingOf: () => expect.unreachable(),
    modelOf: async (name) => name,
    tell: async () => {
      told++;
      return { isAllowed: true, decidedBy: [], needed: '', message: '', rolesThatMay: [] };
    },
    pause: async () => void paused.push(told),
  });
  expect(paused).toEqual([0, 1, 2]);
  rules.release();
});
