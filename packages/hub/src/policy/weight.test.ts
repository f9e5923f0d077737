/** Claims about how much policies may be together: one community's take no time from the others of its hub. */
import { beforeAll, expect, test } from 'vitest';
import { loadCedar, type Cedar } from './cedar.ts';
import { matrixOf } from './matrix.ts';
import { compileRules } from './rules.ts';
import type { OwnText } from './texts.ts';

let cedar: Cedar;
beforeAll(async () => {
  cedar = await loadCedar();
});

const texts = (count: number, policies: number, action: string, condition: string): OwnText[] =>
  Array.from({ length: count }, (_, text) => ({
    name: `text-${text}`,
    text: Array.from(
      { length: policies },
      (__, n) => `@id("p${n}") permit (principal, action${action}, resource) when { ${condition} };`,
    ).join('\n'),
  }));

test.each<[string, OwnText[]]>([
  ['long ones about everything', texts(1, 64, '', `${'principal == principal || '.repeat(40)} true`)],
  ['many about everything', texts(32, 64, '', 'principal == principal')],
  [
    'long lists about everything',
    texts(2, 1, '', `principal in [${'Group::"all-of-them", '.repeat(2_500)}Group::"b"]`),
  ],
  [
    'many long ones about one thing',
    texts(32, 64, ' == Action::"answer"', `${'context.hour == 1 || '.repeat(40)} true`),
  ],
])('%s are refused before anything is made of them', (_, own) => {
  const beganAtMs = performance.now();
  expect(() => compileRules(cedar, { roles: new Map(), texts: own }, true)).toThrow(
    expect.objectContaining({ code: 'policy_invalid', message: expect.stringContaining('name the action') as string }),
  );
  expect(performance.now() - beganAtMs).toBeLessThan(20_000);
});

test('what a community may well have is taken: two hundred policies of an action, a dozen about everything', () => {
  const own = [
    ...texts(
      4,
      50,
      ' == Action::"answer"',
      'principal in Group::"staff" && context has purpose && context.purpose == "x"',
    ),
    ...texts(1, 12, '', 'principal in Group::"staff"').map(({ text }) => ({ name: 'everything', text })),
  ];
  const rules = compileRules(cedar, { roles: new Map(), texts: own }, true);
  expect(rules.policies.size).toBeGreaterThan(212);
  expect(matrixOf({ version: 0, rules, stops: new Map(), decisions: new Map() }, 'ter_a').length).toBeGreaterThan(300);
  rules.release();
}, 60_000);
