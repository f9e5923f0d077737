import { describe, expect, test } from 'vitest';
import { codeOf, type IdlewildError } from '@idlewild/protocol';
import { testDatabases } from '../testing/databases.ts';
import { openWorld } from './testing/world.ts';

const browser = { kind: 'browser', label: 'a browser' } as const;

describe.each(await testDatabases())('with $kind', ({ kind, open }) => {
  test('an invitation makes a member with its role, once', async () => {
    const { links, steward, db, acts } = await openWorld(open);
    const { code } = await links.invite({ by: steward, name: 'Ada', role: 'lender', groups: [] });
    expect(code).toMatch(/^iwl_[a-z2-7]{52}$/);
    const { person } = await links.redeem(code, browser);
    const member = await db.selectFrom('members').selectAll().where('person_id', '=', person).executeTakeFirst();
    expect(member).toMatchObject({ territory_id: 'ter_a', name: 'Ada', state: 'active' });
    const bindings = await db.selectFrom('bindings').selectAll().where('subject_id', '=', person).execute();
    expect(bindings.map(({ role, created_by: by }) => ({ role, by }))).toEqual([{ role: 'lender', by: steward.keyId }]);
    const versions = await db.selectFrom('versions').selectAll().where('territory_id', '=', 'ter_a').execute();
    expect(versions).toHaveLength(1);
    expect(await acts()).toEqual(expect.arrayContaining(['invitePerson', 'addMember', 'signIn']));
    await expect(links.redeem(code, browser)).rejects.toThrow(/was used at .*tell a steward/);
  });

  test('of many who come with one code at once, one gets in', async () => {
    const { links, steward, db } = await openWorld(open);
    const { code } = await links.invite({ by: steward, role: 'member', groups: [] });
    const tries = Array.from({ length: 8 }, (_, i) => links.redeem(code, { ...browser, name: `Ada ${i}` }));
    const outcomes = await Promise.allSettled(tries);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    expect(await db.selectFrom('members').selectAll().execute()).toHaveLength(1);
    expect(await db.selectFrom('person_sessions').selectAll().execute()).toHaveLength(1);
  });

  test('a code that was used is told to the steward when it comes again', async () => {
    const { links, signIn, steward, audit } = await openWorld(open);
    const { id, code } = await links.invite({ by: steward, name: 'Ada', role: 'member', groups: [] });
    await links.redeem(code, browser);
    const refusal = await links.redeem(code, browser).catch((error: unknown) => error as IdlewildError);
    await signIn.noteFailure(refusal as IdlewildError, { address: '192.0.2.7', via: 'link' });
    const [last] = await audit.list({ territory: 'ter_a' });
    expect(last).toMatchObject({ action: 'linkUsedAgain', subject: id });
    expect(JSON.stringify(last)).not.toContain('192.0.2.7');
  });

  test('whoever is invited without a name says one, and a name that is taken leaves the code unused', async () => {
    const { links, steward, member } = await openWorld(open);
    await member('Ada');
    const { code } = await links.invite({ by: steward, role: 'member', groups: [] });
    await expect(links.redeem(code, browser)).rejects.toMatchObject({ code: 'invalid_request' });
    await expect(links.redeem(code, { ...browser, name: 'Ada' })).rejects.toMatchObject({ code: 'conflict' });
    await expect(links.redeem(code, { ...browser, name: 'Ada\u202eEve' })).rejects.toThrow(/cannot be seen/);
    await links.redeem(code, { ...browser, name: 'Grace' });
  });

  test.skipIf(kind !== 'SQLite')('a code expires', async () => {
    const { links, steward, clock } = await openWorld(open);
    const { code } = await links.invite({ by: steward, name: 'Ada', role: 'member', groups: [], expiresInMs: 1_000 });
    await clock.advance(1_000);
    await expect(links.redeem(code, browser)).rejects.toThrow(/expired at/);
  });

  test('a code that was withdrawn, one that is cut off and one of another community let nobody in', async () => {
    const { links, elsewhere, steward } = await openWorld(open);
    const one = await links.invite({ by: steward, name: 'Ada', role: 'member', groups: [] });
    const other = await links.invite({ by: steward, name: 'Eve', role: 'member', groups: [] });
    expect((await links.list()).map(({ id }) => id).sort()).toEqual([one.id, other.id].sort());
    await links.withdraw({ by: steward, id: one.id });
    await links.withdraw({ by: steward, id: one.id });
    await expect(links.redeem(one.code, browser)).rejects.toThrow(/withdrawn/);
    await expect(links.redeem(other.code.slice(0, -1), browser)).rejects.toThrow(/not a code/);
    await expect(elsewhere.links.redeem(other.code, browser)).rejects.toThrow(/unknown here/);
    expect(await elsewhere.links.list()).toEqual([]);
    await expect(elsewhere.links.withdraw({ by: steward, id: other.id })).rejects.toMatchObject({ code: 'not_found' });
    expect((await links.list()).map(({ id }) => id)).toEqual([other.id]);
  });

  test('nobody invites with more than they hold, or into a group that gives more', async () => {
    const { links, keyOf, steward, db } = await openWorld(open);
    const auditor = await keyOf('auditor');
    const asSteward = { by: auditor, name: 'Eve', role: 'steward', groups: [] };
    await expect(links.invite(asSteward)).rejects.toMatchObject({ code: 'forbidden' });
    const order = { by: steward, name: 'Ada', role: 'no-such-role', groups: [] };
    await expect(links.invite(order)).rejects.toMatchObject({ code: 'not_found' });
    await expect(links.invite({ ...order, role: 'member', groups: ['grp_x'] })).rejects.toMatchObject({
      code: 'not_found',
    });
    const group = { id: 'grp_stewards', territory_id: 'ter_a', name: 'stewards', created_at_ms: 0 };
    await db.insertInto('groups').values(group).execute();
    await db
      .insertInto('bindings')
      .values({
        id: 'bnd_1',
        territory_id: 'ter_a',
        subject_kind: 'group',
        subject_id: group.id,
        role: 'steward',
        scope_kind: 'territory',
        scope_id: '',
        expires_at_ms: null,
        created_at_ms: 0,
        created_by: 'test',
      })
      .execute();
    const through = { by: auditor, name: 'Eve', role: 'auditor', groups: [group.id] };
    await expect(links.invite(through)).rejects.toMatchObject({ code: 'forbidden' });
    const { code } = await links.invite({ ...through, by: steward });
    const { person } = await links.redeem(code, browser);
    const groups = await db.selectFrom('group_members').select('group_id').where('person_id', '=', person).execute();
    expect(groups).toEqual([{ group_id: group.id }]);
  });

  test('an invitation is worth nothing once whoever made it may not make it any more', async () => {
    const { links, keyOf, keys } = await openWorld(open);
    const second = await keyOf('steward');
    const { code } = await links.invite({ by: second, name: 'Eve', role: 'steward', groups: [] });
    await keys.revoke({ territory: 'ter_a', id: second.keyId, actor: 'test' });
    await expect(links.redeem(code, browser)).rejects.toThrow(/may no longer let anybody in/);
  });

  test('a link signs a member in once, and is not made for somebody who holds more', async () => {
    const { links, keyOf, steward, member } = await openWorld(open);
    const chief = await member('Ada', 'steward');
    const eve = await member('Eve', 'auditor');
    const caller = await keyOf('auditor');
    await expect(links.linkFor({ by: caller, person: chief.session.person })).rejects.toMatchObject({
      code: 'forbidden',
    });
    await links.linkFor({ by: caller, person: eve.session.person });
    await expect(links.linkFor({ by: steward, person: 'per_nobody' })).rejects.toMatchObject({ code: 'not_found' });
    const { code } = await links.linkFor({ by: steward, person: chief.session.person });
    expect((await links.redeem(code, browser)).person).toBe(chief.session.person);
    expect(codeOf(await links.redeem(code, browser).catch((error: unknown) => error))).toBe('unauthenticated');
  });

  test('a suspended member is not signed in by a link that was made before', async () => {
    const { links, steward, member, db } = await openWorld(open);
    const { session } = await member('Ada');
    const { code } = await links.linkFor({ by: steward, person: session.person });
    await db.updateTable('members').set({ state: 'suspended' }).where('person_id', '=', session.person).execute();
    await expect(links.redeem(code, browser)).rejects.toMatchObject({ code: 'forbidden' });
    await expect(links.linkFor({ by: steward, person: session.person })).rejects.toMatchObject({ code: 'conflict' });
  });

  test('a flood of refused tries fills no audit log', async () => {
    const { links, signIn, acts } = await openWorld(open);
    const refusal = (await links
      .redeem(`iwl_${'a'.repeat(52)}`, browser)
      .catch((error: unknown) => error)) as IdlewildError;
    for (let i = 0; i < 100; i++) await signIn.noteFailure(refusal, { address: '192.0.2.7', via: 'link' });
    const noted = (await acts()).filter((action) => action === 'signInRefused').length;
    expect(noted).toBeGreaterThan(0);
    expect(noted).toBeLessThan(50);
  });
});
