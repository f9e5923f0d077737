import { describe, expect, test } from 'vitest';
import { testDatabases } from '../testing/databases.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { openWorld } from './testing/world.ts';

const DAY_MS = 86_400_000;

describe.each(await testDatabases())('with $kind', ({ kind, open }) => {
  test('whoever signed in is known by what the browser holds, again and again', async () => {
    const { member, sessions } = await openWorld(open);
    const { session } = await member('Ada');
    expect(session.token).toMatch(/^iws_[a-z2-7]{52}$/);
    for (let i = 0; i < 2; i++) {
      const { principal, name } = await sessions.authenticate(session.token);
      expect(principal).toEqual({ kind: 'person', personId: session.person, session: session.id, territory: 'ter_a' });
      expect(name).toBe('Ada');
    }
  });

  test('the secret is nowhere in the database', async () => {
    const { member, db } = await openWorld(open);
    const { session } = await member('Ada');
    const rows = [
      await db.selectFrom('person_sessions').selectAll().execute(),
      await db.selectFrom('sign_in_links').selectAll().execute(),
      await db.selectFrom('audit').selectAll().execute(),
    ];
    expect(JSON.stringify(rows)).toContain(session.id);
    expect(JSON.stringify(rows)).not.toMatch(/iw[sl]_[a-z2-7]{52}/);
  });

  test.skipIf(kind !== 'SQLite')('a session ends when it was not used for a week, and at its last day', async () => {
    const { member, sessions, clock } = await openWorld(open);
    const idle = await member('Ada');
    const used = await member('Grace');
    for (let day = 0; day < 29; day++) {
      await clock.advance(DAY_MS);
      await sessions.authenticate(used.session.token);
    }
    await expect(sessions.authenticate(idle.session.token)).rejects.toThrow(/expired at .*sign in again/);
    expect(await sessions.list(idle.session.person)).toEqual([]);
    await clock.advance(DAY_MS);
    await expect(sessions.authenticate(used.session.token)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('a session that is ended here stops at once, and the others go on', async () => {
    const { member, sessions, acts } = await openWorld(open);
    const { session } = await member('Ada');
    await sessions.authenticate(session.token);
    expect(await sessions.end({ actor: session.person, person: session.person, id: session.id })).toBe(1);
    await expect(sessions.authenticate(session.token)).rejects.toThrow(/was ended/);
    expect(await acts()).toContain('endSessions');
    expect(await sessions.endedAmong([session.id, 'sis_unknown'])).toEqual(new Set([session.id, 'sis_unknown']));
  });

  test('somebody is not told of, and cannot end, the session of another', async () => {
    const { member, sessions } = await openWorld(open);
    const ada = await member('Ada');
    const eve = await member('Eve');
    const order = { actor: eve.session.person, person: eve.session.person, id: ada.session.id };
    await expect(sessions.end(order)).rejects.toMatchObject({ code: 'not_found' });
    expect((await sessions.list(eve.session.person)).map(({ id }) => id)).toEqual([eve.session.id]);
    await sessions.authenticate(ada.session.token);
  });

  test('of one person only so many hold; one more ends the one that was unseen for longest', async () => {
    const { member, sessions, signIn, steward, clock } = await openWorld(open);
    const { session } = await member('Ada');
    for (let i = 0; i < SIGN_IN_LIMITS.sessionsPerPerson; i++) {
      await clock.advance(1_000);
      const { code } = await signIn.links.linkFor({ by: steward, person: session.person });
      await signIn.links.redeem(code, { kind: 'browser', label: `browser ${i}` });
    }
    expect(await sessions.list(session.person)).toHaveLength(SIGN_IN_LIMITS.sessionsPerPerson);
    await expect(sessions.authenticate(session.token)).rejects.toThrow(/unknown here/);
  });

  test('what another process ended, and a member that it suspended, stop within half a second', async () => {
    const world = await openWorld(open);
    const { db, sessions, clock } = world;
    const ada = await world.member('Ada');
    const eve = await world.member('Eve');
    await sessions.authenticate(ada.session.token);
    await sessions.authenticate(eve.session.token);
    await db.updateTable('person_sessions').set({ ended_at_ms: 1 }).where('id', '=', ada.session.id).execute();
    await db.updateTable('members').set({ state: 'suspended' }).where('person_id', '=', eve.session.person).execute();
    await clock.advance(SIGN_IN_LIMITS.freshMs);
    await expect(sessions.authenticate(ada.session.token)).rejects.toThrow(/was ended/);
    await expect(sessions.authenticate(eve.session.token)).rejects.toThrow(/suspended/);
  });

  test('a session made anew has another id and another secret, and the old ones are worth nothing', async () => {
    const { member, sessions, db, clock } = await openWorld(open);
    const { session, signedIn } = await member('Ada');
    await clock.advance(60_000);
    const renewed = await db.transaction().execute((transaction) => sessions.renew(transaction, signedIn.session));
    expect(renewed.id).not.toBe(session.id);
    expect(renewed.token).not.toBe(session.token);
    await expect(sessions.authenticate(session.token)).rejects.toThrow(/was ended/);
    const { session: facts } = await sessions.authenticate(renewed.token);
    // Who they are was proved when it was, and the last day stays.
    expect(facts.signedInAtMs).toBe(signedIn.session.signedInAtMs);
    expect(renewed.expiresAtMs).toBe(session.expiresAtMs);
  });

  test('a session is of one territory', async () => {
    const { member, elsewhere } = await openWorld(open);
    const { session } = await member('Ada');
    await expect(elsewhere.sessions.authenticate(session.token)).rejects.toThrow(/unknown here/);
    expect(await elsewhere.sessions.list(session.person)).toEqual([]);
    const order = { actor: 'x', person: session.person };
    expect(await elsewhere.sessions.end(order)).toBe(0);
    await expect(elsewhere.sessions.end({ ...order, id: session.id })).rejects.toMatchObject({ code: 'not_found' });
    expect(await elsewhere.sessions.endedAmong([session.id])).toEqual(new Set([session.id]));
  });
});
