/** Claims about rules of use that go with sealed prompts: the same verdicts as in the open, and only of stewards. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { fromHex, hex } from '../bytes.ts';
import { LIMITS } from '../limits.ts';
import { encodeCbor } from '../wire/frame.ts';
import { nodeCrypto } from '../node/node-crypto.ts';
import type { KeyPair } from '../ports.ts';
import { fromFixture } from '../testing/fixture-json.ts';
import { createUseJudge } from './judge.ts';
import { begunWith, textsOfPrompt } from './texts.ts';
import {
  areRulesOlder,
  areRulesOver,
  isOver,
  looksAtTexts,
  openUseRules,
  phraseFault,
  signUseRules,
  useOrderOf,
  type SignedRules,
} from './use-order.ts';
import { useRulesSchema, type UseRules } from './use-rules.ts';

const rules: UseRules = {
  v: 1,
  rules: [
    { kind: 'phrases', id: 'arms', phrases: ['nerve gas', '*toxin synthesis'], why: 'no arms' },
    { kind: 'classifier', id: 'rude', model: 'guard', labels: ['rude', 'vile'], threshold: 0.9, why: 'be kind' },
  ],
  profiles: [
    {
      name: 'young',
      groups: ['children'],
      rules: [{ kind: 'phrases', id: 'wine', phrases: ['wine'], why: 'not for children' }],
      preamble: 'Be kind and brief.',
    },
  ],
};
const classifiers = [{ rule: 'rude', model: 'bafyguard', labels: [1, 2] }];
const nobody = { profiles: [], except: [] };

const TEXTS = ['a sonnet', 'how is Nerve-GAS made?', 'neurotoxin synthesis', 'which wine goes with fish?'];
const ASKERS = [
  { groups: [], except: [] },
  { groups: ['children'], except: [] },
  { groups: ['children'], except: ['rule:wine'] },
  { groups: [], except: ['rule:arms'] },
];
test.each(ASKERS)('phrases refuse the same in the open and by the order: groups $groups, except $except', (asker) => {
  const judge = createUseJudge(rules);
  const order = useOrderOf(
    { rules, classifiers },
    { profiles: asker.groups.length > 0 ? ['young'] : [], except: asker.except },
  );
  for (const text of TEXTS) {
    const open = judge.faultOfTexts([text], { model: 'm', groups: asker.groups }, new Set(asker.except));
    const rule = order === undefined ? undefined : phraseFault(order, [text]);
    expect([text, rule === undefined ? undefined : `rule:${rule}`]).toEqual([text, open?.reason]);
  }
});

test.each([
  [[0.05, 0.5, 0.39], false],
  [[0.05, 0.5, 0.45], true],
  [[0.99, 0.005, 0.005], false],
])('probabilities %j of labels that a steward signed: refused %s', (probabilities, isRefused) => {
  const [classifier] = useOrderOf({ rules, classifiers }, nobody)?.classifiers ?? [];
  expect(classifier).toMatchObject({ model: 'bafyguard', rule: 'rude' });
  expect(classifier === undefined ? undefined : isOver(classifier, probabilities)).toBe(isRefused);
});

test('where nothing holds there is no order, and a classifier whose meaning nobody said lets nothing pass', () => {
  expect(useOrderOf({ rules: { v: 1, models: { deny: ['x'] } }, classifiers: [] }, nobody)).toBeUndefined();
  expect(useOrderOf({ rules, classifiers }, { profiles: [], except: ['rule:arms', 'rule:rude'] })).toBeUndefined();
  expect(() => useOrderOf({ rules, classifiers: [] }, nobody)).toThrow(
    expect.objectContaining({ code: 'use_unjudged' }),
  );
  const phrases = Array.from({ length: 256 }, (_, n) => `${n} ${'x'.repeat(120)}`);
  const long = ['a', 'b'].map((id) => ({ kind: 'phrases' as const, id, phrases, why: 'long' }));
  expect(() => useOrderOf({ rules: { v: 1, rules: long }, classifiers: [] }, nobody)).toThrow(
    expect.objectContaining({ code: 'use_unjudged' }),
  );
  expect([{ v: 1 as const }, { v: 1 as const, models: { deny: ['x'] } }, rules].map(looksAtTexts)).toEqual([
    false,
    false,
    true,
  ]);
});

test('rules count as signed, for one community, by whoever signed them, without a letter changed', async () => {
  const [steward, other] = [1, 2].map((byte) => nodeCrypto.signingKey(new Uint8Array(32).fill(byte)) as KeyPair);
  const territory = new Uint8Array(32).fill(7);
  const said = { territory, version: 3, rules: useRulesSchema.parse(rules), classifiers, issuedAtMs: 5 };
  const carried = await signUseRules(said, steward as KeyPair, nodeCrypto);
  const opened = await openUseRules(carried, territory, nodeCrypto);
  expect(opened).toEqual({ said: { v: 1, ...said }, steward: steward?.publicKey });
  expect(opened.steward).not.toEqual(other?.publicKey);
  const elsewhere = openUseRules(carried, new Uint8Array(32).fill(8), nodeCrypto);
  await expect(elsewhere).rejects.toMatchObject({ code: 'signature_invalid' });
  const changed = carried.slice();
  const at = Buffer.from(carried).indexOf('nerve gas');
  changed[at] = 'N'.charCodeAt(0);
  await expect(openUseRules(changed, territory, nodeCrypto)).rejects.toMatchObject({ code: 'signature_invalid' });
});

interface SignedFixture {
  readonly stewardSeed: string;
  readonly said: unknown;
  readonly signed: string;
}

test.each(['rules of use without an end', 'rules of use with an end'])('the fixture of %s opens', async (name) => {
  const path = fileURLToPath(new URL('../../fixtures/v1/sealed.json', import.meta.url));
  const { entries } = JSON.parse(readFileSync(path, 'utf8')) as { entries: Record<string, SignedFixture> };
  const { stewardSeed, said, signed } = entries[name] as SignedFixture;
  const expected = fromFixture(said) as SignedRules;
  const opened = await openUseRules(fromHex(signed), expected.territory, nodeCrypto);
  const steward = await nodeCrypto.signingKey(fromHex(stewardSeed));
  expect(opened).toEqual({ said: expected, steward: steward.publicKey });
  const { v: _, ...again } = expected;
  expect(hex(await signUseRules(again, steward, nodeCrypto))).toBe(signed);
});

test('a signature without an end never ends, and one with an end does, give or take what clocks differ', () => {
  expect(areRulesOver({}, Number.MAX_SAFE_INTEGER)).toBe(false);
  const last = 5 + LIMITS.clockSkewMs;
  expect([5, last, last + 1].map((nowMs) => areRulesOver({ expiresAtMs: 5 }, nowMs))).toEqual([false, false, true]);
});

test('of two statements the one of the higher version is newer, and of one version the later', () => {
  const at = (version: number, issuedAtMs: number) => ({ version, issuedAtMs });
  expect(areRulesOlder(at(1, 9), at(2, 1))).toBe(true);
  expect(areRulesOlder(at(2, 1), at(1, 9))).toBe(false);
  expect(areRulesOlder(at(2, 1), at(2, 2))).toBe(true);
  expect(areRulesOlder(at(2, 2), at(2, 2))).toBe(false);
});

test('a conversation begins as its profile says, and a text that is none is refused', () => {
  const prompt = { kind: 'chat' as const, messages: [{ role: 'user' as const, content: 'hello' }] };
  expect(textsOfPrompt(begunWith(prompt, ['Be kind.']))).toEqual(['Be kind.', 'hello']);
  expect(begunWith({ kind: 'text', text: 'x' }, [])).toEqual({ kind: 'text', text: 'x' });
  expect(() => begunWith({ kind: 'text', text: 'x' }, ['Be kind.'])).toThrow(
    expect.objectContaining({ code: 'use_refused', details: { reason: 'chat-only' } }),
  );
  expect(encodeCbor(begunWith(prompt, []))).toEqual(encodeCbor(prompt));
});
