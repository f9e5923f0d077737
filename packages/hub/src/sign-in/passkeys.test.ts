import type { IdlewildError } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import { isPostgres } from '../db/transact.ts';
import { touchPeople } from '../people/versions.ts';
import { testDatabases } from '../testing/databases.ts';
import { lockWaits } from '../testing/lock-waits.ts';
import { createAuthenticator, type Algorithm, type Lies } from './testing/authenticator.ts';
import { TERRITORY, openWorld, type World } from './testing/world.ts';
import { SIGN_IN_LIMITS } from './limits.ts';

const party = { id: 'hub.example', origin: 'https://hub.example', name: 'The library' };
const { origin } = party;
const label = 'a browser';

async function withPasskey(world: World, options: { algorithm?: Algorithm; counts?: boolean; name?: string } = {}) {
  const { name = 'Ada', ...more } = options;
  const authenticator = createAuthenticator({ origin, ...more });
  const { signedIn, session } = await world.member(name);
  const begun = await world.passkeys.beginAdding(party, signedIn);
  const response = authenticator.create(begun.options);
  const added = await world.passkeys.add(party, signedIn, { response, step: begun.step, label: 'my phone' });
  return { authenticator, before: session, ...added };
}

async function signIn(
  world: World,
  authenticator: Awaited<ReturnType<typeof withPasskey>>['authenticator'],
  lies?: Lies,
) {
  const { options, step } = await world.passkeys.beginSignIn(party);
  return world.passkeys.signIn(party, { response: authenticator.get(options, lies), step, label });
}
const refusal = async (promise: Promise<unknown>): Promise<IdlewildError> =>
  promise.then(
    () => {
      throw new Error('let in');
    },
    (error: unknown) => error as IdlewildError,
  );

describe.each(await testDatabases())('with $kind', ({ kind, open }) => {
  test.each(['ES256', 'EdDSA'] as const)('a passkey of %s is added and signs its person in', async (algorithm) => {
    const world = await openWorld(open);
    const { authenticator, passkey, before, session } = await withPasskey(world, { algorithm });
    expect(passkey).toMatchObject({ name: 'my phone', isSynced: false });
    // The session in which it was added was made anew.
    await expect(world.sessions.authenticate(before.token)).rejects.toThrow(/ended/);
    expect((await world.sessions.authenticate(session.token)).principal.personId).toBe(before.person);
    for (let i = 0; i < 2; i++) {
      const opened = await signIn(world, authenticator);
      expect(opened.person).toBe(before.person);
      expect((await world.sessions.authenticate(opened.token)).session.via).toBe('passkey');
    }
    expect(await world.passkeys.list(before.person)).toEqual([expect.objectContaining({ id: passkey.id })]);
    expect(await world.acts()).toEqual(expect.arrayContaining(['addPasskey', 'signIn']));
  });

  test.each<[string, Lies]>([
    ['of another origin', { origin: 'https://hub.example.evil.test' }],
    ['for another site', { rpId: 'evil.test' }],
    ['to another challenge', { challenge: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' }],
    ['that was meant for adding', { type: 'webauthn.create' }],
    ['of an authenticator that verified nobody', { userVerified: false }],
    ['for somebody else', { userHandle: 'c29tZWJvZHkgZWxzZQ' }],
  ])('an answer %s signs nobody in', async (_, lies) => {
    const world = await openWorld(open);
    const { authenticator } = await withPasskey(world);
    expect(await refusal(signIn(world, authenticator, lies))).toMatchObject({ code: 'unauthenticated' });
    await signIn(world, authenticator);
  });

  test('a changed signature signs nobody in, and neither does an unknown passkey', async () => {
    const world = await openWorld(open);
    const { authenticator } = await withPasskey(world);
    const { options, step } = await world.passkeys.beginSignIn(party);
    const response = authenticator.get(options);
    const other = authenticator.get({ ...options, challenge: 'AAAA' });
    const mixed = { ...response, response: { ...response.response, signature: other.response.signature } };
    expect(await refusal(world.passkeys.signIn(party, { response: mixed, step, label }))).toMatchObject({
      code: 'unauthenticated',
    });
    const unknown = { ...response, id: 'AAAA', rawId: 'AAAA' };
    expect((await refusal(world.passkeys.signIn(party, { response: unknown, step, label }))).message).toMatch(
      /unknown here/,
    );
    // It is known in its own community only.
    const elsewhere = await world.elsewhere.passkeys.beginSignIn(party);
    const there = authenticator.get(elsewhere.options);
    const refused = await refusal(
      world.elsewhere.passkeys.signIn(party, { response: there, step: elsewhere.step, label }),
    );
    expect(refused.message).toMatch(/unknown here/);
  });

  test('a challenge is answered once, in the browser that asked, and in this community', async () => {
    const world = await openWorld(open);
    const { authenticator } = await withPasskey(world, { counts: false });
    const { options, step } = await world.passkeys.beginSignIn(party);
    const answer = { response: authenticator.get(options), label };
    const other = await world.passkeys.beginSignIn(party);
    const elsewhere = await world.elsewhere.passkeys.beginSignIn(party);
    const adding = await world.passkeys.beginAdding(party, (await world.member('Eve')).signedIn);
    for (const foreign of [undefined, other.step, elsewhere.step, adding.step, `${step.slice(0, -2)}AA`, 'x'])
      await refusal(world.passkeys.signIn(party, { ...answer, step: foreign }));
    await world.passkeys.signIn(party, { ...answer, step });
    // An authenticator that does not count would sign as often as one likes; the challenge is used up.
    expect(await refusal(world.passkeys.signIn(party, { ...answer, step }))).toMatchObject({ code: 'conflict' });
  });

  test.skipIf(kind !== 'SQLite')('a challenge is good for ten minutes', async () => {
    const world = await openWorld(open);
    const { authenticator } = await withPasskey(world);
    const { options, step } = await world.passkeys.beginSignIn(party);
    await world.clock.advance(SIGN_IN_LIMITS.stepMs);
    const late = world.passkeys.signIn(party, { response: authenticator.get(options), step, label });
    expect((await refusal(late)).message).toMatch(/took too long/);
  });

  test('a copy that counts behind is refused, and told to the steward', async () => {
    const world = await openWorld(open);
    const { authenticator, passkey, before } = await withPasskey(world);
    const copy = authenticator.copy();
    await signIn(world, authenticator);
    await signIn(world, authenticator);
    const refused = await refusal(signIn(world, copy));
    expect(refused.message).toMatch(/may have been copied/);
    expect(refused.details).toMatchObject({ passkey: passkey.id, person: before.person });
    await world.signIn.noteFailure(refused, { address: '192.0.2.1', via: 'passkey' });
    const [last] = await world.audit.list({ territory: 'ter_a' });
    expect(last).toMatchObject({ action: 'signInRefused', subject: passkey.id });
  });

  test('a passkey is added by who began it, in that session, and once', async () => {
    const world = await openWorld(open);
    const authenticator = createAuthenticator({ origin });
    const ada = await world.member('Ada');
    const eve = await world.member('Eve');
    const { options, step } = await world.passkeys.beginAdding(party, ada.signedIn);
    const response = authenticator.create(options);
    expect((await refusal(world.passkeys.add(party, eve.signedIn, { response, step, label }))).message).toMatch(
      /somebody else/,
    );
    const unverified = { response: authenticator.create(options, { userVerified: false }), step, label };
    await refusal(world.passkeys.add(party, ada.signedIn, unverified));
    const { session } = await world.passkeys.add(party, ada.signedIn, { response, step, label });
    const again = await world.sessions.authenticate(session.token);
    await refusal(world.passkeys.add(party, again, { response, step, label }));
    expect(await world.passkeys.list(ada.session.person)).toHaveLength(1);
    expect(await world.passkeys.list(eve.session.person)).toEqual([]);
  });

  test('what authenticators keep as the person differs between communities, and names nobody', async () => {
    const world = await openWorld(open);
    const { signedIn, session } = await world.member('Ada');
    const here = await world.passkeys.beginAdding(party, signedIn);
    const there = await world.elsewhere.passkeys.beginAdding(party, signedIn);
    expect(here.options.user.id).not.toBe(there.options.user.id);
    expect(Buffer.from(here.options.user.id, 'base64url').toString()).not.toContain(session.person);
  });

  test('a removed passkey signs nobody in; nobody removes that of another', async () => {
    const world = await openWorld(open);
    const { authenticator, passkey, before } = await withPasskey(world);
    const eve = await world.member('Eve');
    const order = { id: passkey.id, actor: eve.session.person };
    await expect(world.passkeys.remove({ ...order, person: eve.session.person })).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(world.elsewhere.passkeys.remove({ ...order, person: before.person })).rejects.toMatchObject({
      code: 'not_found',
    });
    expect(await world.elsewhere.passkeys.list(before.person)).toEqual([]);
    await world.passkeys.remove({ ...order, person: before.person });
    await refusal(signIn(world, authenticator));
  });

  test('who removes a passkey waits for another change of people and holds up none', async () => {
    const world = await openWorld(open);
    const { db, audit, passkeys } = world;
    const { authenticator, passkey, before } = await withPasskey(world);
    await signIn(world, authenticator);
    const { person } = before;
    const removing = await db.transaction().execute(async (transaction) => {
      await touchPeople(transaction, TERRITORY);
      const begun = passkeys.remove({ person, id: passkey.id, actor: person });
      if (isPostgres(db)) await expect.poll(() => lockWaits(transaction)).toBe(1);
      const act = { territory: TERRITORY, actor: person, action: 'addMember', subject: person };
      await audit.append(transaction, act);
      return [begun];
    });
    await Promise.all(removing);
    expect(await passkeys.list(person)).toEqual([]);
  });

  test('with a passkey that is removed goes what it opened, programs too, but for where that is done', async () => {
    const world = await openWorld(open);
    const { approvals, sessions } = world;
    const { authenticator, passkey, before } = await withPasskey(world);
    const [thief, owner] = [await signIn(world, authenticator), await signIn(world, authenticator)];
    const { session: by } = await sessions.authenticate(thief.token);
    const asked = [await approvals.ask({ label, address: '' }), await approvals.ask({ label, address: '' })] as const;
    for (const { userCode } of asked) await approvals.answer({ userCode, by, isApproved: true });
    const program = await approvals.claim(asked[0].secret);
    const { person } = before;
    const others = (await sessions.list(person)).filter((session) => session.passkey === undefined);
    expect(await sessions.list(person)).toHaveLength(others.length + 3);
    await world.passkeys.remove({ person, id: passkey.id, actor: person, session: owner.id });
    for (const token of [thief.token, program?.token ?? ''])
      await expect(sessions.authenticate(token)).rejects.toThrow(/was ended/);
    await expect(approvals.claim(asked[1].secret)).rejects.toThrow(/denied/);
    await sessions.authenticate(owner.token);
    expect((await sessions.list(person)).map(({ id }) => id).sort()).toEqual(
      [owner.id, ...others.map(({ id }) => id)].sort(),
    );
  });

  test('the passkey of a suspended member signs nobody in', async () => {
    const world = await openWorld(open);
    const { authenticator, before } = await withPasskey(world);
    await world.db.updateTable('members').set({ state: 'suspended' }).where('person_id', '=', before.person).execute();
    expect(await refusal(signIn(world, authenticator))).toMatchObject({ code: 'forbidden' });
  });
});
