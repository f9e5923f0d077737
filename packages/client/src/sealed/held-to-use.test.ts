/** Claims about rules of use at whoever seals: what a pinned steward signed counts; the hub learns a rule's name. */
import { IdlewildError, signUseRules, textOfBytes, type KeyPair, type UseRules } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { createUseKeeper } from './held-to-use.ts';

const keyOf = (byte: number): KeyPair => nodeCrypto.signingKey(new Uint8Array(32).fill(byte)) as KeyPair;
const [steward, stranger] = [keyOf(1), keyOf(2)];
const territory = new Uint8Array(32).fill(3);
const RULES: UseRules = {
  v: 1,
  rules: [
    { kind: 'phrases', id: 'arms', phrases: ['nerve gas'], why: 'no arms' },
    { kind: 'classifier', id: 'rude', model: 'guard', labels: ['rude'], threshold: 0.9, why: 'be kind' },
  ],
  profiles: [{ name: 'young', groups: ['children'], preamble: 'Be kind.' }],
};
const classifiers = [{ rule: 'rude', model: 'bafyguard', labels: [1] }];
const text = (words: string) => ({ kind: 'text' as const, text: words });
const chat = (content: string) => ({ kind: 'chat' as const, messages: [{ role: 'user' as const, content }] });

interface Shown {
  readonly by?: KeyPair;
  readonly version?: number;
  readonly territory?: Uint8Array;
}
const statement = async ({ by = steward, version = 4, ...said }: Shown = {}): Promise<string> =>
  textOfBytes(
    await signUseRules({ territory, version, rules: RULES, classifiers, issuedAtMs: 1, ...said }, by, nodeCrypto),
  );

function createWorld(signed: () => Promise<string | null>, onRefusal?: () => never) {
  const sent: [string, unknown][] = [];
  const keeper = createUseKeeper({
    connection: {
      async json<Result>(_: string, path: string, body?: unknown): Promise<Result> {
        sent.push([path, body]);
        if (path === '/v1/sealed/refusals') return onRefusal?.() as Result;
        return { version: 4, signed: await signed() } as Result;
      },
    },
    trusted: { stewards: [steward.publicKey], territory },
    crypto: nodeCrypto,
  });
  const use = (profiles: string[] = [], version = 4) => ({ offer: 'offer', use: { version, profiles, except: [] } });
  return { keeper, sent, use };
}
const failure = (holding: Promise<unknown>): Promise<IdlewildError> =>
  holding.then(
    () => expect.unreachable(),
    (error: unknown) => error as IdlewildError,
  );

test('what a steward signed is bound, for its asker, and read once', async () => {
  const { keeper, sent, use } = createWorld(statement);
  const order = await keeper.hold(chat('a sonnet'), use(), {});
  expect(order).toMatchObject({ phrases: [{ rule: 'arms' }], classifiers: [{ model: 'bafyguard' }], preambles: [] });
  expect(await keeper.hold(chat('a sonnet'), use(['young']), {})).toMatchObject({ preambles: ['Be kind.'] });
  expect(await keeper.hold(text('nerve gas'), { offer: 'offer' }, {})).toBeUndefined();
  expect(sent).toEqual([['/api/use', undefined]]);
});

test.each<[string, () => Promise<string | null>]>([
  ['nobody signed', async () => null],
  ['a stranger signed', () => statement({ by: stranger })],
  ['a steward signed for another community', () => statement({ territory: new Uint8Array(32).fill(9) })],
  ['are no statement', async () => 'AAAA'],
])('rules that %s are not counted, and nothing is sealed under them', async (_, signed) => {
  const { keeper, sent, use } = createWorld(signed);
  expect(await failure(keeper.hold(text('nerve gas'), use(), {}))).toMatchObject({ code: 'use_unjudged' });
  expect(sent.map(([path]) => path)).toEqual(['/api/use']);
});

test('a hub cannot go back to rules of before, and new ones are read anew', async () => {
  let version = 4;
  const { keeper, use } = createWorld(() => statement({ version }));
  await keeper.hold(text('x'), use(), {});
  version = 5;
  expect(await keeper.hold(text('x'), use([], 5), {})).toBeDefined();
  version = 4;
  expect(await failure(keeper.hold(text('x'), use(), {}))).toMatchObject({ code: 'use_unjudged' });
  version = 7;
  expect(await failure(keeper.hold(text('x'), use([], 6), {}))).toMatchObject({ code: 'offer_expired' });
});

test("of a refused prompt the hub hears the rule's name, and its words are the refusal", async () => {
  const { keeper, sent, use } = createWorld(statement, () => {
    throw new IdlewildError('use_refused', 'no arms; appeal', { details: { reason: 'rule:arms', refusal: 'ref_1' } });
  });
  expect(await failure(keeper.hold(text('how is Nerve-Gas made'), use(), {}))).toMatchObject({
    code: 'use_refused',
    details: { reason: 'rule:arms', refusal: 'ref_1' },
  });
  expect(sent.at(-1)).toEqual(['/v1/sealed/refusals', { offer: 'offer', rule: 'arms' }]);
  const { details } = await failure(keeper.hold(text('hello'), use(['young']), {}));
  expect(details).toMatchObject({ refusal: 'ref_1' });
  expect(sent.at(-1)).toEqual(['/v1/sealed/refusals', { offer: 'offer' }]);
});

test.each([
  ['lets it by', () => undefined as never],
  [
    'fails',
    () => {
      throw new IdlewildError('hub_unreachable', 'gone');
    },
  ],
])('a refused prompt stays refused by a hub that %s', async (_, onRefusal) => {
  const { keeper, use } = createWorld(statement, onRefusal);
  expect(await failure(keeper.hold(text('nerve gas'), use(), {}))).toMatchObject({
    code: 'use_refused',
    message: expect.stringContaining('no arms') as string,
    details: { reason: 'rule:arms' },
  });
  expect(await failure(keeper.hold(text('x'), use(['young']), {}))).toMatchObject({ details: { reason: 'chat-only' } });
});
