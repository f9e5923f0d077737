/** Claims about rules of use as a hub holds people to them: refusals, appeals, exemptions. */
import { createHash } from 'node:crypto';
import { IdlewildError, LIMITS, signUseRules, type KeyPair, type SignedRules, type UseRules } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createAudit } from '../audit/audit.ts';
import type { KeyPrincipal, Principal } from '../identity/principal.ts';
import { silentLog } from '../log.ts';
import { FRESH_MS, createPeopleVersions, touchPeople } from '../people/versions.ts';
import { OWN_LEAVE } from '../policy/permit.ts';
import { testDatabases } from '../testing/databases.ts';
import type { AskedText } from '../trust/text.ts';
import { createAppeals } from './appeals.ts';
import { USE_LIMITS } from './limits.ts';
import { createRefusals } from './refusals.ts';
import { createSigning } from './sealed-use.ts';
import { createUse, type Classify } from './use.ts';
import { addTerritories } from '../testing/territories.ts';

const DAY_MS = 86_400_000;
const key = (keyId: string, person?: string, territory = 'ter_a'): KeyPrincipal => ({
  kind: 'key',
  keyId,
  territory,
  role: 'caller',
  name: '',
  dataClass: 'internal',
  ...(person === undefined ? {} : { person }),
});
const ada = key('key_ada', 'per_ada');
const bob = key('key_bob');
const steward = key('key_steward');
const never = new AbortController().signal;
const territoryKey = new Uint8Array(32).fill(4);
const stewardKey = nodeCrypto.signingKey(new Uint8Array(32).fill(5)) as KeyPair;
const signing = createSigning({ crypto: nodeCrypto, territory: territoryKey, stewards: async () => listed });
let listed: readonly Uint8Array[] = [stewardKey.publicKey];
const noGas: UseRules = { v: 1, rules: [{ kind: 'phrases', id: 'gas', phrases: ['nerve gas'], why: 'no weapons' }] };
const said: AskedText = { dataClass: 'internal', cause: undefined, person: undefined };
const asksFor = (text: string) => ({ model: 'jacobean', texts: [text], text: said, permit: OWN_LEAVE });

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp(options: { groups?: Readonly<Record<string, readonly string[]>>; classify?: Classify } = {}) {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    await addTerritories(db, 'ter_a', 'ter_b');
    const audit = createAudit({ db, crypto: nodeCrypto, clock });
    const random = createSeededRandom(1);
    const roomsOf = (territory: string) => {
      const versions = createPeopleVersions({ db, clock }, territory);
      const refusals = createRefusals({ db, clock, random, log: silentLog }, territory);
      const groupsOf = (asker: Principal): readonly string[] =>
        options.groups?.[asker.kind === 'key' ? asker.keyId : ''] ?? [];
      const classify: Classify = options.classify ?? (async () => [0]);
      return {
        refusals,
        use: createUse({ db, clock, audit, versions, refusals, groupsOf, classify, signing }, territory),
        appeals: createAppeals({ db, clock, random, audit }, territory),
      };
    };
    return { clock, db, audit, ...roomsOf('ter_a'), elsewhere: roomsOf('ter_b') };
  }
  async function refusalOf(judging: unknown): Promise<string> {
    const error = await Promise.resolve(judging).then(
      () => undefined,
      (thrown: unknown) => thrown as { code: string; details: { refusal: string } },
    );
    expect(error).toMatchObject({ code: 'use_refused' });
    return error?.details.refusal ?? '';
  }

  test('a fresh community refuses nothing, and what was read once costs nothing more', async () => {
    const { use } = await setUp();
    expect(await use.current()).toMatchObject({ version: 0, rules: { v: 1 } });
    expect(await use.judge(ada, asksFor('nerve gas'), never)).toEqual([]);
    expect(use.judge(ada, asksFor('nerve gas'), never)).toEqual([]);
  });

  test('a rule holds from the moment on when it is made, here, and elsewhere within half a second', async () => {
    const { clock, use, db, audit } = await setUp();
    const versions = createPeopleVersions({ db, clock }, 'ter_a');
    const refusals = { keep: async () => undefined };
    const other = createUse(
      { db, clock, audit, versions, refusals, groupsOf: () => [], classify: async () => [], signing },
      'ter_a',
    );
    await other.judge(ada, asksFor('nerve gas'), never);
    await use.apply({ rules: noGas, actor: 'key_steward' });
    await expect(use.judge(ada, asksFor('nerve gas'), never)).rejects.toMatchObject({
      code: 'use_refused',
      message: expect.stringContaining('no weapons') as string,
      details: { reason: 'rule:gas' },
    });
    expect(await use.judge(ada, asksFor('laughing gas'), never)).toEqual([]);
    await clock.advance(FRESH_MS);
    await expect(other.judge(ada, asksFor('nerve gas'), never)).rejects.toMatchObject({ code: 'use_refused' });
  });

  test('every version stays in the history, and of two changes of one version the second is refused', async () => {
    const { use, audit } = await setUp();
    expect(await use.apply({ rules: noGas, actor: 'key_steward', after: 0 })).toBe(1);
    const late = use.apply({ rules: { v: 1 }, actor: 'key_other', after: 0 });
    await expect(late).rejects.toMatchObject({ code: 'conflict' });
    expect(await use.apply({ rules: { v: 1 }, actor: 'key_steward', after: 1 })).toBe(2);
    expect((await use.history()).map(({ version, rules }) => [version, rules.rules?.length ?? 0])).toEqual([
      [2, 0],
      [1, 1],
    ]);
    expect(await use.judge(ada, asksFor('nerve gas'), never)).toEqual([]);
    const [entry, before] = await audit.list({ territory: 'ter_a' });
    const sha256 = createHash('sha256').update('{"v":1}').digest('hex');
    expect(entry).toMatchObject({ action: 'changeUse', actor: 'key_steward', details: { version: 2, sha256 } });
    expect(before?.details).toMatchObject({ version: 1, sha256: expect.not.stringMatching(sha256) as string });
  });

  test('a refusal and an appeal hold no word of what was asked', async () => {
    const { db, use, refusals } = await setUp();
    await use.apply({ rules: noGas, actor: 'key_steward' });
    await refusalOf(use.judge(ada, asksFor('nerve gas and xyzzy'), never));
    await refusals.flush();
    const everything = [
      await db.selectFrom('refused').selectAll().execute(),
      await db.selectFrom('refusals').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
    ];
    expect(JSON.stringify(everything)).not.toContain('xyzzy');
    expect(everything[0]).toMatchObject([{ actor: 'key_ada', person_id: 'per_ada', reason: 'rule:gas' }]);
  });

  test('a profile holds for its groups, and gives their conversations a beginning', async () => {
    const { use } = await setUp({ groups: { key_ada: ['children'] } });
    const profile = { name: 'age-appropriate', groups: ['children'], models: { deny: ['wild'] }, preamble: 'Be kind.' };
    await use.apply({ rules: { v: 1, profiles: [profile] }, actor: 'key_steward' });
    expect(await use.judge(ada, asksFor('hello'), never)).toEqual(['Be kind.']);
    expect(await use.judge(bob, { model: 'wild', texts: [], text: said, permit: OWN_LEAVE }, never)).toEqual([]);
    await refusalOf(use.judge(ada, { model: 'wild', texts: [], text: said, permit: OWN_LEAVE }, never));
    expect(
      await use.tryOut(
        bob,
        { model: 'wild', texts: [], text: said, permit: OWN_LEAVE },
        { groups: ['children'] },
        never,
      ),
    ).toMatchObject({ reason: 'model-denied' });
  });

  test("a profile holds for keys by their ids, and for the community's own by their names", async () => {
    const { use } = await setUp();
    const kiosk = { name: 'kiosk', keys: ['library', 'key_ada'], preamble: 'Be brief.' };
    const rules: UseRules = { v: 1, profiles: [kiosk] };
    await use.apply({ rules, actor: 'key_steward', signed: await signed(rules) });
    const begun = async (asker: Principal) => [
      await use.judge(asker, asksFor('hello'), never),
      (await use.sealedFor(asker))?.order.preambles ?? [],
    ];
    const held = [['Be brief.'], ['Be brief.']];
    expect(await begun({ ...key('key_1'), name: 'library' })).toEqual(held);
    expect(await begun(ada)).toEqual(held);
    // What somebody calls her own key is no name of the community's.
    expect(await begun({ ...key('key_2', 'per_eve'), name: 'library' })).toEqual([[], []]);
    expect(await begun(bob)).toEqual([[], []]);
  });

  test('what is no conversation is refused where one has a beginning, appealed against, and lifted', async () => {
    const { clock, use, refusals, appeals } = await setUp({ groups: { key_ada: ['children'] } });
    await use.apply({ rules: mild, actor: 'key_steward' });
    const completion = { ...asksFor('once upon a time'), isCompletion: true };
    expect(await use.judge(bob, completion, never)).toEqual([]);
    const refusal = await refusalOf(use.judge(ada, completion, never));
    expect(refusal).toMatch(/^ref_/);
    const day = { fromMs: clock.now(), untilMs: clock.now() + 1 };
    expect(await refusals.sums(day)).toEqual([{ reason: 'use:chat-only', count: 1 }]);
    const { id } = await appeals.file(ada, { refusal, words: 'an editor asks for me' });
    await appeals.decide(steward, id, { state: 'reversed', note: undefined, exemptMs: undefined });
    await clock.advance(FRESH_MS);
    expect(await use.judge(ada, completion, never)).toEqual([]);
    expect(await use.judge(ada, asksFor('hello'), never)).toEqual(['Be kind.']);
  });

  const signed = async (rules: UseRules, change: Partial<SignedRules> = {}): Promise<string> => {
    const said = { territory: territoryKey, version: 1, rules, classifiers: [], issuedAtMs: 0, ...change };
    return Buffer.from(await signUseRules(said, stewardKey, nodeCrypto)).toString('base64url');
  };
  const mild: UseRules = { ...noGas, profiles: [{ name: 'young', groups: ['children'], preamble: 'Be kind.' }] };

  test('what a prompt that nobody here reads is held to is what a steward signed, for its asker', async () => {
    const { use } = await setUp({ groups: { key_ada: ['children'] } });
    expect(await use.sealedFor(ada)).toBeUndefined();
    expect(use.sealedFor(ada)).toBeUndefined();
    await use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild) });
    const phrases = [{ rule: 'gas', phrases: ['nerve gas'] }];
    expect(await use.sealedFor(bob)).toEqual({
      version: 1,
      profiles: [],
      except: [],
      order: { phrases, classifiers: [], preambles: [] },
    });
    expect(await use.sealedFor(ada)).toMatchObject({
      profiles: ['young'],
      order: { phrases, preambles: ['Be kind.'] },
    });
    await use.apply({ rules: mild, actor: 'key_steward' });
    await expect(use.sealedFor(bob)).rejects.toMatchObject({ code: 'use_unjudged' });
    const listed: UseRules = { v: 1, models: { deny: ['wild'] } };
    await use.apply({ rules: listed, actor: 'key_steward' });
    expect(await use.sealedFor(ada)).toBeUndefined();
  });

  test('what was signed for a time is held to as long, and for good where no end was said', async () => {
    const { clock, use } = await setUp();
    const expiresAtMs = clock.now() + DAY_MS;
    await use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild, { expiresAtMs }) });
    expect(await use.sealedFor(bob)).toMatchObject({ version: 1 });
    expect(await use.signature()).toEqual({ state: 'holds', untilMs: expiresAtMs });
    await clock.advance(DAY_MS + LIMITS.clockSkewMs + 1);
    await expect(use.sealedFor(bob)).rejects.toMatchObject({
      code: 'use_unjudged',
      message: expect.stringContaining('idlewild use sign') as string,
    });
    expect(await use.signature()).toMatchObject({ state: 'ended' });
    await use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild, { version: 2 }) });
    await clock.advance(3_650 * DAY_MS);
    expect(await use.sealedFor(bob)).toMatchObject({ version: 2 });
    expect(await use.signature()).toEqual({ state: 'holds', untilMs: undefined });
  });

  test('what a key signed that was removed holds no longer', async () => {
    const all = await setUp();
    const { use, clock, db } = all;
    await use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild) });
    expect(await use.sealedFor(bob)).toMatchObject({ version: 1 });
    listed = [];
    onTestFinished(() => void (listed = [stewardKey.publicKey]));
    await db.transaction().execute((transaction) => touchPeople(transaction, 'ter_a'));
    await clock.advance(FRESH_MS);
    await expect(use.sealedFor(bob)).rejects.toMatchObject({ code: 'use_unjudged' });
    expect(await use.signature()).toEqual({ state: 'removed', untilMs: undefined });
  });

  test('a steward may skip versions, so that a hub that was restored goes on above what was seen', async () => {
    const { use } = await setUp();
    const apply = async (version: number): Promise<number> =>
      use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild, { version }) });
    expect(await apply(7)).toBe(7);
    await expect(apply(7)).rejects.toMatchObject({ code: 'signature_invalid' });
    await expect(apply(8 + LIMITS.useVersionsSkippedMax)).rejects.toMatchObject({ code: 'signature_invalid' });
    expect(await use.apply({ rules: mild, actor: 'key_steward' })).toBe(8);
  });

  test.each<[string, Partial<SignedRules>]>([
    ['of a version far away', { version: 2 + LIMITS.useVersionsSkippedMax }],
    ['of another community', { territory: new Uint8Array(32).fill(9) }],
    ['of other rules', { rules: { v: 1, rules: [] } }],
  ])('a signature %s changes nothing', async (_, change) => {
    const { use } = await setUp();
    const applying = use.apply({ rules: mild, actor: 'key_steward', signed: await signed(mild, change) });
    await expect(applying).rejects.toMatchObject({ code: 'signature_invalid' });
    expect(await use.current()).toMatchObject({ version: 0 });
  });

  test('a refusal that was found elsewhere is told, kept and lifted like one that was found here', async () => {
    const { clock, use, appeals } = await setUp();
    await use.apply({ rules: noGas, actor: 'key_steward', signed: await signed(noGas) });
    const found = await use.refuse(ada, { rule: 'gas', model: 'jacobean' });
    const here = await Promise.resolve(use.judge(ada, asksFor('nerve gas'), never)).catch((error: unknown) => error);
    const { refusal, ...details } = found.details;
    const without = (text: string): string => text.replace(/ref_\w+/, '');
    expect(here).toMatchObject({ code: found.code, details });
    expect(without(found.message)).toBe(without((here as Error).message));
    const { id } = await appeals.file(ada, { refusal: String(refusal), words: 'I teach' });
    await appeals.decide(steward, id, { state: 'reversed', note: undefined, exemptMs: undefined });
    await clock.advance(FRESH_MS);
    expect(await use.sealedFor(ada)).toBeUndefined();
    expect(await use.sealedFor(bob)).toMatchObject({ version: 1 });
    expect(await use.refuse(ada, { rule: undefined, model: 'jacobean' })).toMatchObject({
      details: { reason: 'chat-only', refusal: expect.stringMatching(/^ref_/) as string },
    });
  });

  const classified: UseRules = {
    v: 1,
    rules: [{ kind: 'classifier', id: 'unsafe', model: 'guard', labels: ['unsafe'], threshold: 0.8, why: 'unsafe' }],
  };

  test.each([
    [[0.2, 0.79], false],
    [[0.2, 0.8], true],
  ])('a classifier that says %j', async (probabilities, isRefused) => {
    const asked: string[][] = [];
    const classify: Classify = async (rule, texts) => {
      asked.push([rule.model, ...texts]);
      return probabilities;
    };
    const { use } = await setUp({ classify });
    await use.apply({ rules: classified, actor: 'key_steward' });
    const judging = use.judge(ada, { model: 'jacobean', texts: ['one', 'two'], text: said, permit: OWN_LEAVE }, never);
    if (isRefused) await refusalOf(judging);
    else expect(await judging).toEqual([]);
    expect(asked).toEqual([['guard', 'one', 'two']]);
  });

  test('a classifier that nobody has lets nobody past, for the moment', async () => {
    const { use } = await setUp({ classify: () => Promise.reject(new Error('no device holds it')) });
    await use.apply({ rules: classified, actor: 'key_steward' });
    await expect(use.judge(ada, asksFor('anything'), never)).rejects.toMatchObject({ code: 'use_unjudged' });
    // Who may ask no longer is told that.
    const gone = new IdlewildError('forbidden', 'the binding ended');
    const permit = { ...OWN_LEAVE, refusal: async () => gone };
    await expect(use.judge(ada, { ...asksFor('anything'), permit }, never)).rejects.toBe(gone);
    // There is no text to look at.
    expect(
      await use.judge(ada, { model: 'jacobean', isSealed: true, texts: [], text: said, permit: OWN_LEAVE }, never),
    ).toEqual([]);
  });

  test('refusals are counted by day and reason, and a day is not counted in another', async () => {
    const { clock, use, refusals } = await setUp();
    await use.apply({ rules: noGas, actor: 'key_steward' });
    for (let n = 0; n < 3; n++) await refusalOf(use.judge(ada, asksFor('nerve gas'), never));
    refusals.count('forbidden');
    await clock.advance(USE_LIMITS.countFlushMs);
    const nowMs = clock.now();
    const today = { fromMs: nowMs, untilMs: nowMs + 1 };
    expect(await refusals.sums(today)).toEqual([
      { reason: 'use:rule:gas', count: 3 },
      { reason: 'forbidden', count: 1 },
    ]);
    refusals.count('forbidden');
    expect(await refusals.sums(today)).toContainEqual({ reason: 'forbidden', count: 2 });
    expect(await refusals.sums({ fromMs: nowMs + DAY_MS, untilMs: nowMs + 2 * DAY_MS })).toEqual([]);
  });

  test('who is refused without end fills no table', async () => {
    const { db, use } = await setUp();
    await use.apply({ rules: noGas, actor: 'key_steward' });
    for (let n = 0; n <= USE_LIMITS.refusedPerDayMax; n++)
      await Promise.resolve(use.judge(ada, asksFor('nerve gas'), never)).catch(() => {});
    const last = Promise.resolve(use.judge(ada, asksFor('nerve gas'), never));
    await expect(last).rejects.toMatchObject({ details: { reason: 'rule:gas' } });
    await expect(last).rejects.not.toHaveProperty('details.refusal');
    expect(await db.selectFrom('refused').select('id').execute()).toHaveLength(USE_LIMITS.refusedPerDayMax);
  });

  async function refusedOnce() {
    const all = await setUp();
    await all.use.apply({ rules: noGas, actor: 'key_steward' });
    const refusal = await refusalOf(all.use.judge(ada, asksFor('nerve gas'), never));
    return { ...all, refusal };
  }

  test('an appeal that is reversed lifts that rule for that person, as long as it says', async () => {
    const { clock, use, appeals, refusal, audit } = await refusedOnce();
    const { id } = await appeals.file(ada, { refusal, words: 'I teach chemistry.' });
    expect(await appeals.list({ state: 'open' })).toMatchObject([
      { id, words: 'I teach chemistry.', reason: 'rule:gas' },
    ]);
    const decided = await appeals.decide(steward, id, { state: 'reversed', note: 'she does', exemptMs: DAY_MS });
    expect(decided).toMatchObject({ state: 'reversed', decidedBy: 'key_steward', note: 'she does' });
    await clock.advance(FRESH_MS);
    expect(await use.judge(ada, asksFor('nerve gas'), never)).toEqual([]);
    // Also with another key of the same person, and for nobody else.
    expect(await use.judge(key('key_2', 'per_ada'), asksFor('nerve gas'), never)).toEqual([]);
    await refusalOf(use.judge(bob, asksFor('nerve gas'), never));
    await clock.advance(DAY_MS);
    await refusalOf(use.judge(ada, asksFor('nerve gas'), never));
    const words = JSON.stringify(await audit.list({ territory: 'ter_a' }));
    expect(words).not.toContain('chemistry');
    expect(words).not.toContain('she does');
  });

  test('an appeal that is upheld changes nothing, and is decided once', async () => {
    const { appeals, refusal } = await refusedOnce();
    const { id } = await appeals.file(ada, { refusal, words: 'please' });
    const both = await Promise.allSettled([
      appeals.decide(steward, id, { state: 'upheld' }),
      appeals.decide(key('key_other'), id, { state: 'reversed' }),
    ]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    await expect(appeals.decide(steward, id, { state: 'upheld' })).rejects.toMatchObject({ code: 'conflict' });
    await expect(appeals.withdraw(ada, id)).rejects.toMatchObject({ code: 'conflict' });
    const isReversed = both[1]?.status === 'fulfilled';
    expect(await appeals.sums({ fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER })).toMatchObject(
      isReversed ? { reversed: 1, upheld: 0, open: 0 } : { reversed: 0, upheld: 1, open: 0 },
    );
  });

  test("nobody appeals against another's refusal, twice, or decides on their own", async () => {
    const { appeals, refusal, elsewhere } = await refusedOnce();
    await expect(appeals.file(bob, { refusal, words: '' })).rejects.toMatchObject({ code: 'not_found' });
    const { id } = await appeals.file(ada, { refusal, words: '' });
    await expect(appeals.file(ada, { refusal, words: '' })).rejects.toMatchObject({ code: 'conflict' });
    await expect(appeals.decide(ada, id, { state: 'reversed' })).rejects.toMatchObject({ code: 'forbidden' });
    const sameperson = key('key_2', 'per_ada');
    await expect(appeals.decide(sameperson, id, { state: 'reversed' })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(appeals.show(id, bob)).rejects.toMatchObject({ code: 'not_found' });
    expect(await appeals.list({ of: bob })).toEqual([]);
    // Nor does another territory see any of it.
    await expect(elsewhere.appeals.show(id)).rejects.toMatchObject({ code: 'not_found' });
    await expect(elsewhere.appeals.decide(steward, id, { state: 'upheld' })).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(elsewhere.appeals.file(ada, { refusal, words: '' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(elsewhere.appeals.withdraw(ada, id)).rejects.toMatchObject({ code: 'not_found' });
    expect(await elsewhere.appeals.list({})).toEqual([]);
    expect(await elsewhere.appeals.sums({ fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER })).toMatchObject({ open: 0 });
    expect(await elsewhere.refusals.sums({ fromMs: 0, untilMs: Number.MAX_SAFE_INTEGER })).toEqual([]);
    expect(await elsewhere.use.current()).toMatchObject({ version: 0 });
    expect(await elsewhere.use.history()).toEqual([]);
    expect(await elsewhere.use.judge(ada, asksFor('nerve gas'), never)).toEqual([]);
  });

  test('what is old is forgotten, unless somebody appealed against it', async () => {
    const { db, clock, use, appeals, refusals, refusal } = await refusedOnce();
    await appeals.file(ada, { refusal, words: '' });
    await refusalOf(use.judge(ada, asksFor('nerve gas'), never));
    await clock.advance(USE_LIMITS.refusedKeptMs + 1);
    await refusals.forgetOld();
    expect(await db.selectFrom('refused').select('id').execute()).toEqual([{ id: refusal }]);
  });
});
