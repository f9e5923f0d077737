/** Claims about how deep policies may be: what is taken the engine survives, and what would break it it never sees. */
import { beforeAll, expect, test } from 'vitest';
import { loadCedar, preparePolicies, type Cedar } from './cedar.ts';
import { POLICY_LIMITS } from './limits.ts';
import { nestingFault } from './nesting.ts';
import { readPolicies } from './texts.ts';

const { bracketsDeepMax, stepsOfPolicyMax } = POLICY_LIMITS;
const when = (condition: string): string => `@id("a")\npermit(principal, action, resource)\nwhen { ${condition} };`;
const brackets =
  (open: string, close: string, inner = 'true') =>
  (n: number) =>
    when(`${open.repeat(n)}${inner}${close.repeat(n)}`);
const chain = (link: string, end: string) => (n: number) => when(`${link.repeat(n)}${end}`);
const FORMS: readonly [string, (n: number) => string][] = [
  ['parentheses', brackets('(', ')')],
  ['sets', brackets('[', ']')],
  ['records', brackets('{ a: ', '}')],
  ['conditions', brackets('if true then ', ' else false')],
  ['conditions within conditions', brackets('if ', ' then true else false')],
  ['and', chain('true && ', 'true')],
  ['or', chain('context has sealed || ', 'true')],
  ['sums', chain('1 + ', '1 == 1')],
  ['products', chain('1*', '1 == 1')],
  ['attributes', (n) => when(`principal${'.a'.repeat(n)}`)],
  ['indexes', (n) => when(`principal${'["a"]'.repeat(n)}`)],
  ['calls', (n) => when(`[1]${'.contains([1])'.repeat(n)}`)],
  ['clauses', (n) => `@id("a") permit(principal, action, resource)${'when {principal has a}'.repeat(n)};`],
  ['behind a string', (n) => when(`"(\\"" == "${'('.repeat(99)}" && ${'('.repeat(n)}true${')'.repeat(n)}`)],
  ['behind a comment', (n) => `// "\r${when(`${'('.repeat(n)}true${')'.repeat(n)}`)}`],
  [
    'of both kinds',
    (n) => when(`${'('.repeat(bracketsDeepMax - 2)}${'1+'.repeat(n)}1 == 1${')'.repeat(bracketsDeepMax - 2)}`),
  ],
];

let cedar: Cedar;
beforeAll(async () => {
  cedar = await loadCedar();
});

/** Everything that the engine is asked of a policy. */
function useUp(text: string): boolean {
  try {
    readPolicies(cedar, { name: 'own', text }, undefined);
  } catch (error) {
    expect(error).toMatchObject({ code: 'policy_invalid' });
  }
  const prepared = preparePolicies(cedar, text, { own: text });
  prepared.ask({
    principal: { type: 'Person', id: 'ada' },
    action: { type: 'Action', id: 'readSelf' },
    resource: { type: 'Territory', id: 'home' },
    context: {},
    entities: [],
  });
  prepared.release();
  return cedar.policyToText(text).type === 'success';
}

test.each(FORMS)('the deepest and longest %s that are taken leave the engine whole', (_, form) => {
  let n = 2 * stepsOfPolicyMax;
  while (nestingFault(form(n)) !== undefined) n--;
  expect(n).toBeGreaterThan(3);
  expect(useUp(form(n))).toBe(true);
  expect(useUp(when('true'))).toBe(true);
});

test.each(FORMS)('%s that would break it are refused with the place, before it sees them', (_, form) => {
  const never = new Proxy({}, { get: () => expect.unreachable() }) as Cedar;
  for (const n of [1_000, 20_000])
    expect(() => readPolicies(never, { name: 'own', text: form(n) }, undefined)).toThrow(
      expect.objectContaining({
        code: 'policy_invalid',
        message: expect.stringMatching(/line \d+, column \d+: (brackets|a policy)/) as string,
      }),
    );
});

test('many policies, long lists, and brackets in strings and comments are no depth', () => {
  expect(nestingFault(when('true').repeat(64))).toBeUndefined();
  expect(nestingFault(when(`principal in [${'Group::"a", '.repeat(999)}Group::"b"]`))).toBeUndefined();
  expect(nestingFault(when(`"${'([{'.repeat(999)}" like "a*"`))).toBeUndefined();
  expect(nestingFault(`// ${'((('.repeat(999)}\n${when('true')}`)).toBeUndefined();
});

test('a text is read once, whatever does not end in it', () => {
  const beganAtMs = performance.now();
  for (const text of [
    '"\\'.repeat(32_768),
    '\\"'.repeat(32_768),
    '"'.repeat(65_535),
    '/'.repeat(65_535),
    '""/"'.repeat(16_000),
  ])
    nestingFault(text);
  expect(performance.now() - beganAtMs).toBeLessThan(3_000);
});
