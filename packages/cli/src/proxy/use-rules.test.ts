/** Claims about rules of use that the proxy holds prompts against before it seals them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createFakeClock } from '@idlewild/protocol/testing';
import type { OpenAiDoorDeps } from '@idlewild/hub';
import { expect, test } from 'vitest';
import { createUseRules } from './use-rules.ts';

const asker = { kind: 'key', keyId: 'k', territory: 't', role: 'caller', name: 'n', dataClass: 'public' } as const;
const ask = (judge: OpenAiDoorDeps['judge'], texts: string[]): Promise<readonly string[]> =>
  Promise.resolve(
    judge(
      asker,
      { model: 'poet', text: { dataClass: 'public', cause: undefined, person: undefined }, texts },
      new AbortController().signal,
    ),
  );
const rule = { id: 'weapons', kind: 'phrases', phrases: ['nerve gas'], why: 'no weapons here' };

test('a prompt with a phrase that the community does not want is refused before it is sealed', async () => {
  const judge = createUseRules({
    read: async () => ({ rules: { v: 1, rules: [rule] } }),
    clock: createFakeClock(() => nextTurn()),
  });
  expect(await ask(judge, ['a sonnet on gas lamps'])).toEqual([]);
  await expect(ask(judge, ['fine', 'how is Nerve  GAS made?'])).rejects.toMatchObject({
    code: 'use_refused',
    details: { reason: 'rule:weapons' },
  });
});

test('a community that takes no sealed prompts gets none, and rules that cannot be read let nothing pass', async () => {
  const clock = createFakeClock(() => nextTurn());
  const none = createUseRules({ read: async () => ({ rules: { v: 1, sealed: 'refused' } }), clock });
  await expect(ask(none, ['x'])).rejects.toMatchObject({ code: 'use_refused', details: { reason: 'sealed-refused' } });
  const odd = createUseRules({ read: async () => ({ rules: 'none' }), clock });
  await expect(ask(odd, ['x'])).rejects.toMatchObject({ code: 'use_unjudged' });
});
