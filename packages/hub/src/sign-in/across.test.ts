/**
 * What each way to be signed in is worth: here, in other communities of the hub, and for joining further ones.
 *
 * Ada is in the library and in the choir. Mallory is steward of the choir, and does there whatever a steward can to be
 * Ada: links, a provider that says what she wants, passkeys added after either. None of it reaches the library.
 */
import { codeOf } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import { oneAtATime } from '../db/one-at-a-time.ts';
import { isPostgres } from '../db/transact.ts';
import type { PersonPrincipal } from '../identity/principal.ts';
import { createOwnDevices } from '../people/own-devices.ts';
import { requireJoiner } from '../people/proved.ts';
import { selfOf } from '../people/self.ts';
import { testDatabases } from '../testing/databases.ts';
import { addDevice } from '../testing/device-rows.ts';
import { lockWaits } from '../testing/lock-waits.ts';
import { walled } from '../testing/territory-wall.ts';
import { createAuthenticator, type Authenticator } from './testing/authenticator.ts';
import { openWorld, type World } from './testing/world.ts';

const LIBRARY = 'ter_library';
const CHOIR = 'ter_choir';
const THEATRE = 'ter_theatre';
const party = { id: 'hub.example', origin: 'https://hub.example', name: 'a community' };
const { origin } = party;
const label = 'a browser';
const who = { kind: 'browser', label } as const;
type Community = Awaited<ReturnType<World['community']>>;
type Options = Parameters<Authenticator['create']>[0];

async function inviteTo({ links, by }: Community, name?: string): Promise<string> {
  return (await links.invite({ by, role: 'lender', groups: [], ...(name === undefined ? {} : { name }) })).code;
}

/** Adds one in the session of `token`; the session that it is from then on. */
async function addPasskey(
  community: Community,
  token: string,
  make: (options: Options) => ReturnType<Authenticator['create']>,
  also: readonly string[] = [],
): Promise<string> {
  const signedIn = await community.sessions.authenticate(token);
  const { options, step } = await community.passkeys.beginAdding(party, signedIn);
  const alsoIn = await community.elsewhere.of(also);
  const answer = { response: make(options), step, label: 'a passkey', alsoIn };
  return (await community.passkeys.add(party, signedIn, answer)).session.token;
}

async function withPasskey({ passkeys }: Community, authenticator: Authenticator): Promise<string> {
  const { options, step } = await passkeys.beginSignIn(party);
  return (await passkeys.signIn(party, { response: authenticator.get(options), step, label })).token;
}

async function byLink({ links, by }: Community, person: string): Promise<string> {
  const { code } = await links.linkFor({ by, person });
  return (await links.redeem(code, who)).token;
}

async function byProvider({ sessions, providers, by }: Community, db: World['db'], person: string): Promise<string> {
  const known = await db
    .selectFrom('oidc_identities')
    .selectAll()
    .where('territory_id', '=', by.territory)
    .where('person_id', '=', person)
    .executeTakeFirst();
  const isOwn = known?.is_own === 1;
  expect(await providers.identities(person)).toHaveLength(1);
  const open = { person, ...who, via: 'provider', isOwn } as const;
  return (await db.transaction().execute((transaction) => sessions.open(transaction, open))).token;
}

async function link({ providers }: Community, db: World['db'], person: string, isOwn: boolean): Promise<void> {
  const made = await providers.add({
    name: 'Mallory’s provider',
    issuer: 'https://provider.example',
    clientId: 'x',
    admission: { domains: [], claims: [] },
    role: 'member',
    actor: 'test',
  });
  const order = { provider: made.id, subject: 'ada', person, isOwn };
  await db.transaction().execute((transaction) => providers.link(transaction, order));
}

async function approve({ sessions, approvals }: Community, token: string): Promise<string> {
  const { session: by } = await sessions.authenticate(token);
  const { secret, userCode } = await approvals.ask({ label: 'a program', address: '192.0.2.1' });
  await approvals.answer({ userCode, by, isApproved: true });
  return (await approvals.claim(secret))?.token ?? '';
}

const ALL = {
  here: true,
  seesElsewhere: true,
  knowsElsewhere: true,
  drainsElsewhere: true,
  takesBackElsewhere: true,
  joins: true,
};
const HERE_ALONE = {
  here: true,
  seesElsewhere: false,
  knowsElsewhere: false,
  drainsElsewhere: false,
  takesBackElsewhere: false,
  joins: false,
};

describe.each(await testDatabases())('with $kind', ({ open }) => {
  /** Ada joined the library with an invitation, added a passkey, and joined the choir as herself with it. */
  async function setUp() {
    const world = await openWorld(async (clock) => walled(await open(clock)));
    const { db } = world;
    const [library, choir, theatre] = [
      await world.community(LIBRARY),
      await world.community(CHOIR),
      await world.community(THEATRE),
    ];
    const authenticator = createAuthenticator({ origin });
    const first = await library.links.redeem(await inviteTo(library, 'Ada'), who);
    const atLibrary = await addPasskey(library, first.token, (options) => authenticator.create(options));
    const { person } = first;
    const signedIn = await withPasskey(library, authenticator);
    const [known] = await choir.elsewhere.people([signedIn]);
    expect(known).toMatchObject({ person, refusal: undefined });
    const joined = await choir.links.redeem(await inviteTo(choir), { ...who, as: known?.sessions });
    expect(joined.person).toBe(person);
    for (const territory of [LIBRARY, CHOIR])
      await addDevice(db, { id: `dev_of_${territory}`, territory, person, name: territory });
    return { world, db, library, choir, theatre, authenticator, person, atLibrary, signedIn, joined: joined.token };
  }
  type Here = Awaited<ReturnType<typeof setUp>>;

  const askerOf = async ({ sessions }: Community, token: string): Promise<PersonPrincipal> =>
    (await sessions.authenticate(token)).principal;

  /** What the session can do, tried one by one. */
  async function worth({ world, library, theatre, person }: Here, at: Community, token: string) {
    const asker = await askerOf(at, token);
    const other = at.by.territory === CHOIR ? LIBRARY : CHOIR;
    const own = createOwnDevices(world);
    const isDone = async (act: Promise<unknown>): Promise<boolean> =>
      act.then(
        () => true,
        (error: unknown) => {
          if (!['not_found', 'forbidden', 'conflict'].includes(codeOf(error) ?? '')) throw error;
          return false;
        },
      );
    const [shown] = await theatre.elsewhere.people([token]);
    const seen = (await own.list(asker)).map(({ territory }) => territory.id);
    const { communities } = await selfOf(world, asker);
    const told = {
      here: seen.includes(asker.territory) && communities.some(({ id }) => id === asker.territory),
      seesElsewhere: seen.includes(other),
      knowsElsewhere: communities.some(({ id }) => id === other),
      drainsElsewhere: await isDone(own.drain({ asker, id: `dev_of_${other}`, territory: other })),
      takesBackElsewhere: await isDone(own.takeBack({ asker, id: `dev_of_${other}` })),
      joins: await isDone(theatre.links.redeem(await inviteTo(theatre), { ...who, as: shown?.sessions })),
    };
    expect(shown?.refusal === undefined).toBe(told.joins);
    // The one thing that a steward of the library would see of an act of somebody who is not Ada.
    const acts = (await world.audit.list({ territory: LIBRARY })).filter(({ actor }) => actor === person);
    const byLibrary = acts.filter(({ action }) => action === 'drainDevice').length;
    expect(byLibrary).toBe(other === LIBRARY && told.drainsElsewhere ? 1 : 0);
    // Nor does a passkey that is added now reach further than the session in which it was.
    const mallory = createAuthenticator({ origin });
    if (at.by.territory === CHOIR) {
      await addPasskey(at, token, (options) => mallory.create(options));
      expect(codeOf(await withPasskey(library, mallory).catch((error: unknown) => error))).toBe('unauthenticated');
      const after = await askerOf(at, await withPasskey(at, mallory));
      expect((await selfOf(world, after)).communities.map(({ id }) => id)).toEqual([CHOIR]);
    }
    return told;
  }

  test.each<[string, (here: Here) => Promise<string>]>([
    ['a link that its steward made', ({ choir, person }) => byLink(choir, person)],
    [
      'a passkey that was added after such a link',
      async ({ choir, person }) => {
        const mallory = createAuthenticator({ origin });
        await addPasskey(choir, await byLink(choir, person), (options) => mallory.create(options));
        return withPasskey(choir, mallory);
      },
    ],
    [
      'a passkey that calls itself as hers, added where hers was removed',
      async ({ choir, person, authenticator, db }) => {
        const { options } = await choir.passkeys.beginSignIn(party);
        const { id } = authenticator.get(options);
        await db.deleteFrom('passkeys').where('territory_id', '=', CHOIR).where('credential_id', '=', id).execute();
        const mallory = createAuthenticator({ origin });
        await addPasskey(choir, await byLink(choir, person), (made) => mallory.create(made, { credentialId: id }));
        return withPasskey(choir, mallory);
      },
    ],
    [
      'a provider of its steward’s, linked by herself',
      async ({ choir, db, person }) => {
        await link(choir, db, person, true);
        return byProvider(choir, db, person);
      },
    ],
    [
      'a provider of its steward’s, linked after a link',
      async ({ choir, db, person }) => {
        await link(choir, db, person, (await choir.sessions.authenticate(await byLink(choir, person))).session.isOwn);
        return byProvider(choir, db, person);
      },
    ],
    ['a program let in after a link', async ({ choir, person }) => approve(choir, await byLink(choir, person))],
    [
      'her own passkey, after she removed it in the other community',
      async ({ library, choir, person, authenticator, signedIn }) => {
        const token = await withPasskey(choir, authenticator);
        const [{ id } = { id: '' }] = await library.passkeys.list(person);
        const { session } = await library.sessions.authenticate(signedIn);
        await library.passkeys.remove({ person, id, actor: person, session: session.id });
        return token;
      },
    ],
  ])('in the choir, %s is worth nothing in the library', async (_kind, signIn) => {
    const here = await setUp();
    expect(await worth(here, here.choir, await signIn(here))).toEqual(HERE_ALONE);
    // She is who she was.
    expect((await here.library.sessions.authenticate(here.signedIn)).principal.personId).toBe(here.person);
  });

  test.each<[string, (here: Here) => Promise<string>]>([
    ['her passkey', ({ choir, authenticator }) => withPasskey(choir, authenticator)],
    ['the invitation with which she joined as herself', async ({ joined }) => joined],
    [
      'a program that she let in',
      async ({ choir, authenticator }) => approve(choir, await withPasskey(choir, authenticator)),
    ],
  ])('in the choir, %s speaks for her in the library, too', async (_kind, signIn) => {
    const here = await setUp();
    expect(await worth(here, here.choir, await signIn(here))).toEqual(ALL);
  });

  test('one passkey counts on over all communities, so that a copy is noticed in each', async () => {
    const { library, choir, authenticator } = await setUp();
    const copy = authenticator.copy();
    await withPasskey(choir, authenticator);
    await withPasskey(choir, authenticator);
    await expect(withPasskey(library, copy)).rejects.toThrow(/counts backwards/);
  });

  test('who lost every passkey gets one for both again, by being let in by both', async () => {
    const here = await setUp();
    const { choir, library, person, world } = here;
    const [atChoir, atLibrary] = [await byLink(choir, person), await byLink(library, person)];
    const phone = createAuthenticator({ origin });
    await addPasskey(choir, atChoir, (options) => phone.create(options), [atLibrary]);
    const asker = await askerOf(library, await withPasskey(library, phone));
    expect((await selfOf(world, asker)).communities.map(({ id }) => id).sort()).toEqual([CHOIR, LIBRARY]);
    // Two stewards together may be anybody of both, and still nobody in a third.
    expect(await worth(here, choir, await withPasskey(choir, phone))).toEqual({ ...ALL, joins: false });
    const said = async (territory: string): Promise<number> =>
      (await world.audit.list({ territory })).filter(({ action }) => action === 'addPasskey').length;
    expect([await said(LIBRARY), await said(CHOIR)]).toEqual([2, 2]);
  });

  test('somebody else’s session brings nothing along, and nobody joins as two', async () => {
    const { library, choir, theatre, db, signedIn } = await setUp();
    const mallory = await choir.links.redeem(await inviteTo(choir, 'Mallory'), who);
    const phone = createAuthenticator({ origin });
    const token = await addPasskey(choir, mallory.token, (options) => phone.create(options), [signedIn]);
    await expect(withPasskey(library, phone)).rejects.toMatchObject({ code: 'unauthenticated' });
    const people = await theatre.elsewhere.people([signedIn, token, signedIn, 'iws_x', `iws_${'a'.repeat(52)}`]);
    expect(people.map(({ person }) => person)).toEqual([expect.any(String), mallory.person]);
    const [one, other] = people.map(({ sessions: [session] }) => session);
    if (one === undefined || other === undefined) throw new Error('nobody is there');
    await expect(requireJoiner(db, [one, other])).rejects.toThrow(/several people/);
  });

  test('sessions of one person prove together what neither does alone', async () => {
    const { library, choir, theatre, db, person } = await setUp();
    for (const community of [library, choir]) {
      const passkeys = await community.passkeys.list(person);
      for (const { id } of passkeys) await community.passkeys.remove({ person, id, actor: person });
    }
    await link(library, db, person, true);
    await link(choir, db, person, true);
    const both = [await byProvider(library, db, person), await byProvider(choir, db, person)];
    expect((await theatre.elsewhere.people(both.slice(0, 1)))[0]?.refusal).toMatch(/more communities/);
    const [known] = await theatre.elsewhere.people(both);
    expect(known).toMatchObject({ person, refusal: undefined });
    const joined = await theatre.links.redeem(await inviteTo(theatre), { ...who, as: known?.sessions });
    expect(joined.person).toBe(person);
    // With nothing to bring along, its session is of the theatre alone.
    expect((await theatre.sessions.authenticate(joined.token)).session).toMatchObject({
      isOwn: true,
      passkey: undefined,
    });
    const [again] = await theatre.elsewhere.people(both);
    expect(again?.refusal).toMatch(/member here already/);
    await expect(theatre.links.redeem(await inviteTo(theatre), { ...who, as: known?.sessions })).rejects.toMatchObject({
      code: 'conflict',
    });
  });

  test('what ended, or is of somebody suspended or of a closed community, brings nobody along', async () => {
    const { library, theatre, db, signedIn, person, atLibrary } = await setUp();
    expect(await theatre.elsewhere.of([signedIn])).toHaveLength(1);
    await db.updateTable('members').set({ state: 'suspended' }).where('territory_id', '=', LIBRARY).execute();
    expect(await theatre.elsewhere.of([signedIn])).toEqual([]);
    await db.updateTable('members').set({ state: 'active' }).where('territory_id', '=', LIBRARY).execute();
    await library.sessions.end({
      actor: person,
      person,
      but: (await library.sessions.authenticate(atLibrary)).session.id,
    });
    expect(await theatre.elsewhere.of([signedIn, atLibrary])).toHaveLength(1);
    await db.updateTable('territories').set({ closed_at_ms: 1 }).where('id', '=', LIBRARY).execute();
    expect(await theatre.elsewhere.of([atLibrary])).toEqual([]);
    // Nor is a session of its own community one of another.
    expect(await library.elsewhere.of([atLibrary])).toEqual([]);
  });

  test('passkeys that are added in two communities at once, each in both, do not hold each other up', async () => {
    const { library, choir, db, authenticator, signedIn, joined } = await setUp();
    const adding = async (at: Community, token: string, elsewhere: string) => {
      const who = await at.sessions.authenticate(token);
      const { options, step } = await at.passkeys.beginAdding(party, who);
      const response = authenticator.create(options);
      const alsoIn = await at.elsewhere.of([elsewhere]);
      return () => at.passkeys.add(party, who, { response, step, label, alsoIn });
    };
    const both = [await adding(library, signedIn, joined), await adding(choir, joined, signedIn)];
    const adds = await db.transaction().execute(async (transaction) => {
      // Both have begun by the time that they may write down what they did.
      for (const territory of [LIBRARY, CHOIR]) await oneAtATime(transaction, `audit ${territory}`);
      const begun = both.map((add) => add());
      if (isPostgres(db)) await expect.poll(() => lockWaits(transaction)).toBe(2);
      return begun;
    });
    await Promise.all(adds);
    const rows = await db.selectFrom('passkeys').select('id').where('territory_id', 'in', [LIBRARY, CHOIR]).execute();
    expect(rows).toHaveLength(2 + 2 * 2);
  });

  test('neither community’s audit log names the other', async () => {
    const { world, choir, authenticator } = await setUp();
    await withPasskey(choir, authenticator);
    for (const [one, other] of [
      [LIBRARY, CHOIR],
      [CHOIR, LIBRARY],
    ] as const) {
      const text = JSON.stringify(await world.audit.list({ territory: one }));
      expect(text).toContain('addMember');
      expect(text).not.toContain(other);
    }
  });
});
