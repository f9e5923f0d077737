/** Claims about rules of use at whoever seals: what a pinned steward signed counts; the hub learns a rule's name. */
import { IdlewildError, signUseRules, textOfBytes, type KeyPair, type UseRules } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { createUseKeeper } from './held-to-use.ts';
import { createSeenRules, type SeenRules } from './seen-rules.ts';

const keyOf = (byte: number): KeyPair => nodeCrypto.signingKey(new Uint8Array(32).fill(byte)) as KeyPair;
const [steward, stranger, other] = [keyOf(1), keyOf(2), keyOf(4)];
const DAY_MS = 86_400_000;
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
  readonly issuedAtMs?: number;
  readonly expiresAtMs?: number;
}
const statement = async ({ by = steward, version = 4, ...said }: Shown = {}): Promise<string> =>
  textOfBytes(
    await signUseRules({ territory, version, rules: RULES, classifiers, issuedAtMs: 1, ...said }, by, nodeCrypto),
  );

interface Begun {
  readonly onRefusal?: (() => never) | undefined;
  readonly seen?: SeenRules;
  readonly stewards?: readonly KeyPair[];
  readonly nowMs?: () => number;
}
function createWorld(signed: () => Promise<string | null>, begun: Begun = {}) {
  const { onRefusal, seen = createSeenRules(), stewards = [steward], nowMs = () => 1 } = begun;
  const sent: [string, unknown][] = [];
  const keeper = createUseKeeper({
    connection: {
      async json<Result>(_: string, path: string, body?: unknown): Promise<Result> {
        sent.push([path, body]);
        if (path === '/v1/sealed/refusals') return onRefusal?.() as Result;
        return { version: 4, signed: await signed() } as Result;
      },
    },
    trusted: { stewards: stewards.map(({ publicKey }) => publicKey), territory },
    crypto: nodeCrypto,
    clock: { now: nowMs },
    seen,
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

const rolledBack = { code: 'use_unjudged', details: { reason: 'rolled-back' } };

test('nor can it to a caller who began anew, in another version or in another word for the same', async () => {
  const seen = createSeenRules();
  await createWorld(() => statement({ version: 5, issuedAtMs: 7 }), { seen }).keeper.hold(
    text('x'),
    { offer: 'offer', use: { version: 5, profiles: [], except: [] } },
    {},
  );
  const holds = (version: number, issuedAtMs: number): Promise<unknown> => {
    const { keeper, use } = createWorld(() => statement({ version, issuedAtMs }), { seen });
    return keeper.hold(text('x'), use([], version), {});
  };
  expect(await failure(holds(4, 9))).toMatchObject(rolledBack);
  expect(await failure(holds(5, 6))).toMatchObject(rolledBack);
  expect(await holds(5, 7)).toBeDefined();
  expect(await holds(6, 1)).toBeDefined();
  expect(await failure(holds(5, 7))).toMatchObject(rolledBack);
});

test("a steward's version counts for callers who pin her, and no longer for those who do not any more", async () => {
  const seen = createSeenRules();
  const holds = (by: KeyPair, version: number, stewards: readonly KeyPair[]): Promise<unknown> => {
    const { keeper, use } = createWorld(() => statement({ by, version }), { seen, stewards });
    return keeper.hold(text('x'), use([], version), {});
  };
  expect(await failure(holds(other, 1_000_000, [steward]))).toMatchObject({ details: { reason: 'unsigned' } });
  expect(await holds(steward, 4, [steward, other])).toBeDefined();
  expect(await holds(other, 1_000_000, [steward, other])).toBeDefined();
  expect(await failure(holds(steward, 5, [steward, other]))).toMatchObject(rolledBack);
  expect(await holds(steward, 5, [steward])).toBeDefined();
});

test('a signature that has ended counts no longer, also where it was read before', async () => {
  let nowMs = DAY_MS;
  const { keeper, use } = createWorld(() => statement({ expiresAtMs: 2 * DAY_MS }), { nowMs: () => nowMs });
  expect(await keeper.hold(text('x'), use(), {})).toBeDefined();
  nowMs = 2 * DAY_MS + 3_600_000;
  expect(await failure(keeper.hold(text('x'), use(), {}))).toMatchObject({
    code: 'use_unjudged',
    details: { reason: 'ended' },
    message: expect.stringContaining('1970-01-03') as string,
  });
});

test("of a refused prompt the hub hears the rule's name, and its words are the refusal", async () => {
  const { keeper, sent, use } = createWorld(statement, {
    onRefusal: () => {
      throw new IdlewildError('use_refused', 'no arms; appeal', { details: { reason: 'rule:arms', refusal: 'ref_1' } });
    },
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
  const { keeper, use } = createWorld(statement, { onRefusal });
  expect(await failure(keeper.hold(text('nerve gas'), use(), {}))).toMatchObject({
    code: 'use_refused',
    message: expect.stringContaining('no arms') as string,
    details: { reason: 'rule:arms' },
  });
  expect(await failure(keeper.hold(text('x'), use(['young']), {}))).toMatchObject({ details: { reason: 'chat-only' } });
});
