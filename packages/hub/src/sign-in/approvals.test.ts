import { describe, expect, test } from 'vitest';
import { testDatabases } from '../testing/databases.ts';
import { SIGN_IN_LIMITS } from './limits.ts';
import { openWorld } from './testing/world.ts';

const program = { label: 'idlewild on ada’s notebook', address: '192.0.2.7' };

describe.each(await testDatabases())('with $kind', ({ kind, open }) => {
  test('a program gets a session of whoever approves it, once', async () => {
    const { approvals, sessions, member, acts } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    expect(userCode).toMatch(/^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$/);
    expect(await approvals.claim(secret)).toBeUndefined();
    expect(await approvals.look(` ${userCode.toLowerCase()} `)).toMatchObject(program);
    await approvals.answer({ userCode, by: { person: session.person, isOwn: true }, isApproved: true });
    const opened = await approvals.claim(secret);
    const { principal, session: facts } = await sessions.authenticate(opened?.token ?? '');
    expect(principal.personId).toBe(session.person);
    expect(facts).toMatchObject({ kind: 'program', via: 'approval', label: program.label });
    await expect(approvals.claim(secret)).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(await acts()).toEqual(expect.arrayContaining(['approveProgram', 'signIn']));
  });

  test('a program that was denied gets nothing, and an answer is final', async () => {
    const { approvals, member } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    const answer = { userCode, by: { person: session.person, isOwn: true } };
    await approvals.answer({ ...answer, isApproved: false });
    await expect(approvals.answer({ ...answer, isApproved: true })).rejects.toMatchObject({ code: 'not_found' });
    await expect(approvals.claim(secret)).rejects.toThrow(/denied/);
  });

  test('of many who claim at once, one gets the session', async () => {
    const { approvals, member, sessions } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    await approvals.answer({ userCode, by: { person: session.person, isOwn: true }, isApproved: true });
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => approvals.claim(secret)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await sessions.list(session.person)).toHaveLength(2);
  });

  test('a program that was let in before everything was signed out comes too late for its session', async () => {
    const { approvals, sessions, member } = await openWorld(open);
    const { session } = await member('Ada');
    const eve = await member('Eve');
    const asked = [await approvals.ask(program), await approvals.ask(program), await approvals.ask(program)] as const;
    const [hers, waiting, foreign] = asked;
    const by = { person: session.person, isOwn: true };
    await approvals.answer({ userCode: hers.userCode, by, isApproved: true });
    const byEve = { person: eve.session.person, isOwn: true };
    await approvals.answer({ userCode: foreign.userCode, by: byEve, isApproved: true });
    await sessions.end({ actor: session.person, person: session.person });
    await expect(approvals.claim(hers.secret)).rejects.toThrow(/denied/);
    expect(await sessions.list(session.person)).toEqual([]);
    expect(await approvals.claim(foreign.secret)).toMatchObject({ person: eve.session.person });
    // Nobody has answered this one.
    expect(await approvals.claim(waiting.secret)).toBeUndefined();
  });

  test('who leaves one browser leaves the program that she let in there', async () => {
    const { approvals, sessions, member } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    await approvals.answer({ userCode, by: { person: session.person, isOwn: true }, isApproved: true });
    await sessions.end({ actor: session.person, person: session.person, id: session.id });
    expect(await approvals.claim(secret)).toMatchObject({ person: session.person });
  });

  test('what a program holds is of one community, and its short code opens nothing', async () => {
    const { approvals, elsewhere, member } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    const answer = { userCode, by: { person: session.person, isOwn: true }, isApproved: true };
    await expect(elsewhere.approvals.answer(answer)).rejects.toMatchObject({ code: 'not_found' });
    await expect(elsewhere.approvals.look(userCode)).rejects.toMatchObject({ code: 'not_found' });
    await approvals.answer(answer);
    await expect(elsewhere.approvals.claim(secret)).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(approvals.claim(userCode)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test.skipIf(kind !== 'SQLite')('a code is good for ten minutes, and only so many wait', async () => {
    const { approvals, member, clock } = await openWorld(open);
    const { session } = await member('Ada');
    const { secret, userCode } = await approvals.ask(program);
    for (let i = 1; i < SIGN_IN_LIMITS.approvalsOpenMax; i++) await approvals.ask(program);
    await expect(approvals.ask(program)).rejects.toMatchObject({ code: 'too_busy' });
    await clock.advance(SIGN_IN_LIMITS.approvalMs);
    const answer = approvals.answer({ userCode, by: { person: session.person, isOwn: true }, isApproved: true });
    await expect(answer).rejects.toMatchObject({ code: 'not_found' });
    await expect(approvals.claim(secret)).rejects.toThrow(/in time/);
    await approvals.ask(program);
  });
});
