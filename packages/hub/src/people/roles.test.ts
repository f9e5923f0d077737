import { nodeCrypto } from '@idlewild/protocol/node';
import { describe, expect, test } from 'vitest';
import type { OpenDatabase } from '../db/open.ts';
import { createKeys } from '../identity/keys.ts';
import { testDatabases } from '../testing/databases.ts';
import { walled } from '../testing/territory-wall.ts';
import { createBindings, type BindingOrder } from './bindings.ts';
import { createGroups } from './groups.ts';
import { createKeyDesk } from './key-desk.ts';
import { createRoles } from './roles.ts';
import { holdingsOf, TERRITORY } from './standing.ts';
import { createPeopleWorld, ELSEWHERE, HERE } from './testing/people-world.ts';
import { PEOPLE_LIMITS } from './limits.ts';

const HOUR_MS = 3_600_000;
const POOL = { kind: 'pool', id: 'lab' } as const;

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp(database?: OpenDatabase) {
    const world = await createPeopleWorld(database ?? (await walled(await open())));
    const keys = createKeys({ ...world, crypto: nodeCrypto, territory: HERE });
    const rooms = {
      groups: createGroups(world),
      roles: createRoles(world),
      bindings: createBindings(world),
      desk: createKeyDesk({ ...world, keys }),
    };
    const boss = await world.add('Boss', 'steward');
    const holds = async (id: string, action: string, scope: typeof POOL | typeof TERRITORY = TERRITORY) =>
      (await holdingsOf(world.db, { territory: HERE, nowMs: world.clock.now() }, id)).some(
        ({ permissions, scope: where }) =>
          (where.kind === 'territory' || (where.kind === scope.kind && where.id === scope.id)) &&
          (permissions === 'all' || (permissions as ReadonlySet<string>).has(action)),
      );
    const bind = (order: Partial<BindingOrder> & Pick<BindingOrder, 'subject' | 'role'>) =>
      rooms.bindings.create({ territory: HERE, scope: TERRITORY, actor: boss.id, ...order });
    return { ...world, ...rooms, keys, boss, holds, bindTo: bind };
  }
  const person = (id: string) => ({ kind: 'person', id }) as const;
  const signedIn = (personId: string) => ({ kind: 'person', personId, session: 'sis_x', territory: HERE }) as const;

  test('who is in a group has what is bound to it, until she is out of it', async () => {
    const { add, groups, bindTo, holds, boss, acts } = await setUp();
    const ada = await add('Ada', 'caller');
    const group = await groups.create({ territory: HERE, name: 'night', actor: boss.id });
    const on = { territory: HERE, id: group.id, person: ada.id, actor: boss.id };
    await bindTo({ subject: { kind: 'group', id: group.id }, role: 'auditor', scope: POOL });
    expect(await holds(ada.id, 'readAudit', POOL)).toBe(false);
    await groups.add(on);
    await groups.add(on);
    expect(await holds(ada.id, 'readAudit', POOL)).toBe(true);
    expect(await holds(ada.id, 'readAudit')).toBe(false);
    expect(await groups.list(HERE)).toEqual([{ ...group, members: 1 }]);
    expect(await groups.membersOf(HERE, group.id)).toEqual([{ id: ada.id, name: 'Ada' }]);
    await groups.take(on);
    expect(await holds(ada.id, 'readAudit', POOL)).toBe(false);
    await expect(groups.take(on)).rejects.toMatchObject({ code: 'not_found' });
    await groups.add(on);
    await groups.remove({ territory: HERE, id: group.id, actor: boss.id });
    expect(await groups.list(HERE)).toEqual([]);
    expect(await holds(ada.id, 'readAudit', POOL)).toBe(false);
    expect((await acts()).map((act) => act.split(' ')[1])).toEqual([
      'addMember',
      'addMember',
      'createGroup',
      'bindRole',
      'addToGroup',
      'takeFromGroup',
      'addToGroup',
      'removeGroup',
    ]);
  });

  test('nobody puts herself into a group that has more, nor gives more to a group that she is in', async () => {
    const { add, role, groups, bindTo, bindings, boss } = await setUp();
    await role('desk', ['manageGroups', 'bindRole', 'manageRoles', 'manageMembers']);
    const ada = await add('Ada', 'desk');
    const group = await groups.create({ territory: HERE, name: 'board', actor: ada.id });
    await groups.add({ territory: HERE, id: group.id, person: ada.id, actor: ada.id });
    const subject = { kind: 'group', id: group.id } as const;
    const giving = bindings.create({ territory: HERE, subject, role: 'steward', scope: POOL, actor: ada.id });
    await expect(giving).rejects.toMatchObject({ code: 'forbidden' });
    const other = await groups.create({ territory: HERE, name: 'council', actor: boss.id });
    await bindTo({ subject: { kind: 'group', id: other.id }, role: 'steward' });
    const joining = groups.add({ territory: HERE, id: other.id, person: ada.id, actor: ada.id });
    await expect(joining).rejects.toMatchObject({ code: 'forbidden', message: expect.stringMatching(/as a steward/) });
    const removing = groups.remove({ territory: HERE, id: other.id, actor: ada.id });
    await expect(removing).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('names of groups and roles are one of a kind, and built-in roles stay as they are', async () => {
    const { groups, roles, boss } = await setUp();
    const act = { territory: HERE, actor: boss.id };
    await groups.create({ ...act, name: 'night' });
    await expect(groups.create({ ...act, name: 'night' })).rejects.toMatchObject({ code: 'conflict' });
    await roles.create({ ...act, name: 'desk', permissions: ['readPeople'] });
    await expect(roles.create({ ...act, name: 'desk', permissions: [] })).rejects.toMatchObject({ code: 'conflict' });
    await expect(roles.create({ ...act, name: 'stewards', permissions: [] })).rejects.toThrow(/built-in role steward/);
    await expect(roles.change({ ...act, name: 'caller', permissions: [] })).rejects.toThrow(/built in/);
    await expect(roles.remove({ ...act, name: 'steward', force: true })).rejects.toThrow(/built in/);
    await expect(roles.create({ ...act, name: 'x', permissions: ['fly'] })).rejects.toThrow(/no permission/);
    await expect(roles.create({ ...act, name: 'x', permissions: ['readText'] })).rejects.toThrow(/no permission/);
    expect((await roles.list(HERE)).map(({ name }) => name)).toEqual([
      'steward',
      'member',
      'caller',
      'lender',
      'auditor',
      'desk',
    ]);
  });

  test('to add to a role takes holding it wherever the role is bound, and as long', async () => {
    const { add, role, roles, bind, bindTo, holds, clock } = await setUp();
    await role('desk', ['manageRoles', 'readPeople']);
    await role('shift', ['uploadBlob']);
    const [ada, ben] = [await add('Ada', 'desk'), await add('Ben', 'caller')];
    await bindTo({ subject: person(ben.id), role: 'shift', scope: POOL });
    const wider = (permissions: string[]) =>
      roles.change({ territory: HERE, name: 'shift', permissions: ['uploadBlob', ...permissions], actor: ada.id });
    await expect(wider(['readAudit'])).rejects.toMatchObject({ code: 'forbidden' });
    expect(await wider(['readPeople'])).toMatchObject({ permissions: ['readPeople', 'uploadBlob'] });
    expect(await holds(ben.id, 'readPeople', POOL)).toBe(true);
    // For a while only: what is bound without an end outlasts it.
    await bind(ada.id, 'auditor', { untilMs: clock.now() + HOUR_MS });
    await expect(wider(['readPeople', 'readAudit'])).rejects.toMatchObject({ code: 'forbidden' });
    // Her own role, too.
    const own = roles.change({
      territory: HERE,
      name: 'desk',
      permissions: ['manageRoles', 'createKey'],
      actor: ada.id,
    });
    await expect(own).rejects.toMatchObject({ code: 'forbidden' });
    // To take something away gives nobody anything.
    await roles.change({ territory: HERE, name: 'shift', permissions: [], actor: ada.id });
    expect(await holds(ben.id, 'uploadBlob', POOL)).toBe(false);
  });

  test('a role that a key, an invitation or a provider gives is changed by who holds what is added', async () => {
    const { db, add, role, roles, keys, bind, clock } = await setUp();
    await role('desk', ['manageRoles']);
    await role('shift', []);
    const ada = await add('Ada', 'desk');
    const wider = () => roles.change({ territory: HERE, name: 'shift', permissions: ['readAudit'], actor: ada.id });
    await bind(ada.id, 'auditor', { untilMs: clock.now() + HOUR_MS });
    const { id } = await keys.create({ territory: HERE, role: 'shift', actor: 'hub' });
    await expect(wider()).rejects.toMatchObject({ code: 'forbidden' });
    await keys.revoke({ territory: HERE, id, actor: 'hub' });
    await db
      .insertInto('sign_in_links')
      .values({
        id: 'lnk_1',
        territory_id: HERE,
        hash: 'x',
        person_id: null,
        name: '',
        role: 'shift',
        groups_json: '[]',
        created_by: 'hub',
        created_at_ms: 0,
        expires_at_ms: clock.now() + HOUR_MS,
        used_at_ms: null,
        used_by: null,
        withdrawn_at_ms: null,
      })
      .execute();
    await expect(wider()).rejects.toMatchObject({ code: 'forbidden' });
    await db.deleteFrom('sign_in_links').execute();
    expect(await wider()).toMatchObject({ permissions: ['readAudit'] });
  });

  test('a role in use is removed by force alone, and takes along what it gave', async () => {
    const { add, role, roles, keys, bindTo, holds, boss } = await setUp();
    await role('shift', ['readStatus']);
    const ben = await add('Ben', 'member');
    await bindTo({ subject: person(ben.id), role: 'shift' });
    const { key } = await keys.create({ territory: HERE, role: 'shift', actor: boss.id });
    const act = { territory: HERE, name: 'shift', actor: boss.id };
    await expect(roles.remove({ ...act, force: false })).rejects.toThrow(/1 bindings, 1 keys/);
    await roles.remove({ ...act, force: true });
    // By a later role of that name nothing comes back to life.
    await roles.create({ ...act, permissions: ['readAudit'] });
    expect(await holds(ben.id, 'readAudit')).toBe(false);
    await expect(keys.authenticate(key)).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  test('a binding gives until its end, and then nothing; nobody gives for longer than she holds', async () => {
    const { add, role, bind, bindings, bindTo, holds, clock, boss } = await setUp();
    await role('desk', ['bindRole']);
    const [ada, ben] = [await add('Ada', 'desk'), await add('Ben', 'member')];
    const end = clock.now() + HOUR_MS;
    await bind(ada.id, 'auditor', { untilMs: end });
    const give = (expiresAtMs?: number) =>
      bindings.create({
        territory: HERE,
        subject: person(ben.id),
        role: 'auditor',
        scope: TERRITORY,
        expiresAtMs,
        actor: ada.id,
      });
    await expect(give()).rejects.toThrow(/for a shorter time/);
    await expect(give(end + 1)).rejects.toThrow(/for a shorter time/);
    const given = await give(end);
    expect(await holds(ben.id, 'readAudit')).toBe(true);
    await expect(give(end)).rejects.toMatchObject({ code: 'conflict' });
    expect(await bindings.list({ territory: HERE, subject: ben.id, role: 'auditor' })).toEqual([given]);
    await clock.advance(HOUR_MS);
    expect(await holds(ben.id, 'readAudit')).toBe(false);
    expect(await bindings.list({ territory: HERE, role: 'auditor' })).toEqual([]);
    await bindTo({ subject: person(ben.id), role: 'auditor' });
    await expect(give(clock.now() - 1)).rejects.toMatchObject({ code: 'invalid_request' });
    const [again] = await bindings.list({ territory: HERE, subject: ben.id, role: 'auditor' });
    await bindings.remove({ territory: HERE, id: again?.id ?? '', actor: boss.id });
    expect(await holds(ben.id, 'readAudit')).toBe(false);
  });

  test('what is not there has no role and is no scope', async () => {
    const { add, bindTo, bindings, boss } = await setUp();
    const ada = await add('Ada', 'member');
    const elsewhere = await add('Ben', 'member', { territory: ELSEWHERE });
    const all: Parameters<typeof bindTo>[0][] = [
      { subject: person('per_x'), role: 'caller' },
      { subject: person(elsewhere.id), role: 'caller' },
      { subject: { kind: 'group', id: 'grp_x' }, role: 'caller' },
      { subject: { kind: 'key', id: 'key_x' }, role: 'caller' },
      { subject: person(ada.id), role: 'king' },
      { subject: person(ada.id), role: 'caller', scope: { kind: 'model', id: 'bafy' } },
      { subject: person(ada.id), role: 'caller', scope: { kind: 'project', id: 'prj_x' } },
    ];
    for (const order of all) await expect(bindTo(order)).rejects.toMatchObject({ code: 'not_found' });
    const odd = [{ kind: 'pool', id: 'a\nb' } as const, { kind: 'territory', id: 'x' } as const];
    for (const scope of odd) {
      const order = { subject: person(ada.id), role: 'caller', scope };
      await expect(bindTo(order)).rejects.toMatchObject({ code: 'invalid_request' });
    }
    expect(await bindings.list({ territory: HERE, subject: ada.id })).toHaveLength(1);
    expect(boss.name).toBe('Boss');
  });

  test("the last steward's binding and group stay, and so does the last key of one", async () => {
    const { db, add, groups, bindTo, bindings, keys, desk, boss } = await setUp();
    const mine = (await bindings.list({ territory: HERE, subject: boss.id }))[0]?.id ?? '';
    await expect(bindings.remove({ territory: HERE, id: mine, actor: boss.id })).rejects.toThrow(/without a steward/);
    const ada = await add('Ada', 'member');
    const group = await groups.create({ territory: HERE, name: 'board', actor: boss.id });
    await bindTo({ subject: { kind: 'group', id: group.id }, role: 'steward' });
    await groups.add({ territory: HERE, id: group.id, person: ada.id, actor: boss.id });
    await bindings.remove({ territory: HERE, id: mine, actor: boss.id });
    const on = { territory: HERE, id: group.id, actor: ada.id };
    await expect(groups.take({ ...on, person: ada.id })).rejects.toThrow(/without a steward/);
    await expect(groups.remove(on)).rejects.toThrow(/without a steward/);
    const { id } = await keys.create({ territory: HERE, role: 'steward', actor: 'hub' });
    await groups.remove(on);
    const asKey = {
      kind: 'key',
      keyId: id,
      territory: HERE,
      role: 'steward',
      name: '',
      dataClass: 'internal',
    } as const;
    await expect(desk.revoke(asKey, id)).rejects.toThrow(/without a steward/);
    const next = await desk.make(asKey, { role: 'steward' });
    await desk.revoke(asKey, id);
    expect(await db.selectFrom('keys').select('id').where('revoked_at_ms', 'is', null).execute()).toEqual([
      { id: next.id },
    ]);
  });

  test('a key makes none that may do more, or lasts longer; a key that is nobody makes none of her own', async () => {
    const { role, keys, desk, clock } = await setUp();
    await role('minter', ['createKey', 'createOwnKey', 'answer']);
    await role('asker', ['answer']);
    const { id } = await keys.create({ territory: HERE, role: 'minter', actor: 'hub', expiresInMs: HOUR_MS });
    const minter = {
      kind: 'key',
      keyId: id,
      territory: HERE,
      role: 'minter',
      name: '',
      dataClass: 'internal',
    } as const;
    await expect(desk.make(minter, { role: 'steward', expiresInMs: 1_000 })).rejects.toMatchObject({
      code: 'forbidden',
    });
    await expect(desk.make(minter, { role: 'asker' })).rejects.toThrow(/for a shorter time/);
    await expect(desk.make(minter, { role: 'asker', expiresInMs: HOUR_MS + 1 })).rejects.toThrow(/shorter/);
    await expect(desk.make(minter, { role: 'king', expiresInMs: 1_000 })).rejects.toMatchObject({ code: 'not_found' });
    expect(await desk.make(minter, { role: 'asker', expiresInMs: HOUR_MS })).toMatchObject({ role: 'asker' });
    await expect(desk.makeOwn(minter, { role: 'asker' })).rejects.toThrow(/sign in/);
    await clock.advance(HOUR_MS);
    await expect(desk.make(minter, { role: 'asker', expiresInMs: 1 })).rejects.toMatchObject({ code: 'forbidden' });
  });

  test("a person's own key does what both may, is listed with her name, and is revoked by her", async () => {
    const { db, add, desk, holds, members, boss } = await setUp();
    const ada = await add('Ada', 'member');
    const asker = signedIn(ada.id);
    await expect(desk.makeOwn(asker, { role: 'steward' })).rejects.toMatchObject({ code: 'forbidden' });
    const { id } = await desk.makeOwn(asker, { role: 'caller', name: 'notebook', dataClass: 'public' });
    expect(await holds(id, 'answer')).toBe(true);
    expect(await holds(id, 'createOwnKey')).toBe(false);
    expect(await desk.listOwn(asker)).toMatchObject([{ id, person: ada.id, personName: 'Ada', dataClass: 'public' }]);
    await desk.make(signedIn(boss.id), { role: 'caller' });
    expect(await desk.listOwn(asker)).toHaveLength(1);
    expect(await desk.list(HERE)).toHaveLength(2);
    await db
      .insertInto('usage')
      .values({
        territory_id: HERE,
        key_id: id,
        model_cid: 'bafy',
        day: 20_000,
        requests: 1,
        failed: 0,
        cancelled: 0,
        prompt_tokens: 1,
        cached_tokens: 0,
        answer_tokens: 1,
        device_ms: 1,
      })
      .execute();
    expect(await desk.listOwn(asker)).toMatchObject([{ lastUsedDay: '2024-10-04' }]);
    // What she loses, her key loses.
    await members.suspend({ territory: HERE, id: ada.id, actor: boss.id });
    expect(await holds(id, 'answer')).toBe(false);
    await desk.revoke(asker, id);
    expect(await desk.listOwn(asker)).toMatchObject([{ revokedAtMs: expect.any(Number) }]);
  });

  test('an own key asks for a project that its person is in, and there is a bound on how many there are', async () => {
    const { db, add, bind, desk } = await setUp();
    const ada = await add('Ada', 'member');
    const project = {
      id: 'prj_1',
      territory_id: HERE,
      name: 'digs',
      purpose: 'science',
      description: '',
      state: 'active',
      created_at_ms: 0,
      created_by: 'hub',
      closed_at_ms: null,
    } as const;
    await db.insertInto('projects').values(project).execute();
    const make = (wish: object = {}) => desk.makeOwn(signedIn(ada.id), { role: 'caller', ...wish });
    await expect(make({ project: 'prj_2' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(make({ project: 'prj_1' })).rejects.toThrow(/not in the project/);
    await bind(ada.id, 'caller', { scope: { kind: 'project', id: 'prj_1' } });
    await make({ project: 'prj_1' });
    for (let count = 1; count < PEOPLE_LIMITS.ownKeysMax; count++) await make();
    await expect(make()).rejects.toMatchObject({ code: 'conflict' });
  });

  test("who is no steward revokes no steward's key", async () => {
    const { add, role, keys, desk } = await setUp();
    await role('desk', ['revokeKey']);
    const ada = await add('Ada', 'desk');
    const stewards = await keys.create({ territory: HERE, role: 'steward', actor: 'hub' });
    const callers = await keys.create({ territory: HERE, role: 'caller', actor: 'hub' });
    await expect(desk.revoke(signedIn(ada.id), stewards.id)).rejects.toMatchObject({ code: 'forbidden' });
    await desk.revoke(signedIn(ada.id), callers.id);
  });

  test('groups and roles that a policy names are for stewards alone to give and to take', async () => {
    const { db, add, role, groups, roles, bindings, bindTo, members, desk, boss } = await setUp();
    await role('desk', ['manageGroups', 'bindRole', 'manageRoles', 'manageMembers', 'createKey']);
    await role('quiet', []);
    const [ada, ben] = [await add('Ada', 'desk'), await add('Ben', 'caller')];
    const act = { territory: HERE, actor: ada.id };
    const night = await groups.create({ ...act, name: 'night' });
    const staff = await groups.create({ ...act, name: 'staff' });
    const quiet = await bindTo({ subject: person(ben.id), role: 'quiet' });
    const text =
      'permit (principal in Group::"night", action, resource);' +
      'forbid (principal in Role :: "quiet", action, resource);';
    const policy = { territory_id: HERE, name: 'night', text, version: 1, changed_at_ms: 0, changed_by: boss.id };
    await db.insertInto('policies').values(policy).execute();
    const refused = [
      () => groups.add({ ...act, id: night.id, person: ada.id }),
      () =>
        groups
          .rename({ ...act, id: staff.id, name: 'late' })
          .then(() => groups.rename({ ...act, id: night.id, name: 'x' })),
      () => groups.remove({ ...act, id: night.id }),
      () => bindings.create({ ...act, subject: person(ada.id), role: 'quiet', scope: TERRITORY }),
      () => bindings.remove({ ...act, id: quiet.id }),
      () => roles.remove({ ...act, name: 'quiet', force: true }),
      () => desk.make(signedIn(ada.id), { role: 'quiet' }),
    ];
    for (const attempt of refused) {
      const refusal = { code: 'forbidden', message: expect.stringMatching(/a policy of the territory names/) };
      await expect(attempt()).rejects.toMatchObject(refusal);
    }
    // Nor does anybody get rid of it by leaving; whom no policy names goes.
    const [cyn, dan] = [await add('Cyn', 'caller'), await add('Dan', 'caller')];
    await groups.add({ territory: HERE, id: night.id, person: cyn.id, actor: boss.id });
    const leave = (id: string): Promise<unknown> => members.remove({ territory: HERE, id, actor: id });
    for (const id of [ben.id, cyn.id]) await expect(leave(id)).rejects.toThrow(/a policy of the territory names/);
    await leave(dan.id);
    // Who may do nothing at all needs no forbidding.
    await members.suspend({ ...act, id: ben.id });
    // What no policy names is hers to manage, and everything is a steward's.
    await groups.add({ ...act, id: staff.id, person: ada.id });
    await groups.add({ territory: HERE, actor: boss.id, id: night.id, person: ada.id });
    await bindings.remove({ territory: HERE, actor: boss.id, id: quiet.id });
    // A text that names a group in a way that is not seen through names all of them.
    const veiled = 'permit (principal in Group::"n\\u{69}ght", action, resource);';
    await db.updateTable('policies').set({ text: veiled }).where('territory_id', '=', HERE).execute();
    await expect(groups.take({ ...act, id: staff.id, person: ada.id })).rejects.toMatchObject({ code: 'forbidden' });
  });

  test('no act reaches into another territory', async () => {
    const { add, role, groups, roles, bindings, keys, desk } = await setUp();
    const there = await add('Chief', 'steward', { territory: ELSEWHERE });
    const ada = await add('Ada', 'member');
    await role('shift', ['readStatus']);
    const group = await groups.create({ territory: HERE, name: 'night', actor: 'hub' });
    const key = await keys.create({ territory: HERE, role: 'caller', actor: 'hub' });
    const [binding] = await bindings.list({ territory: HERE, subject: ada.id });
    const on = { territory: ELSEWHERE, id: group.id, actor: there.id };
    const named = { territory: ELSEWHERE, name: 'shift', actor: there.id };
    const chief = { ...signedIn(there.id), territory: ELSEWHERE };
    for (const act of [
      () => groups.rename({ ...on, name: 'x' }),
      () => groups.remove(on),
      () => groups.add({ ...on, person: there.id }),
      () => groups.take({ ...on, person: ada.id }),
      () => groups.membersOf(ELSEWHERE, group.id),
      () => roles.get(ELSEWHERE, 'shift'),
      () => roles.change({ ...named, permissions: ['readAudit'] }),
      () => roles.remove({ ...named, force: true }),
      () => bindings.remove({ territory: ELSEWHERE, id: binding?.id ?? '', actor: there.id }),
      () => desk.revoke(chief, key.id),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'not_found' });
    }
    expect(await groups.list(ELSEWHERE)).toEqual([]);
    expect(await bindings.list({ territory: ELSEWHERE, subject: ada.id })).toEqual([]);
    expect(await desk.list(ELSEWHERE)).toEqual([]);
    expect((await roles.list(ELSEWHERE)).some(({ name }) => name === 'shift')).toBe(false);
    expect(await groups.list(HERE)).toHaveLength(1);
    expect((await roles.get(HERE, 'shift')).permissions).toEqual(['readStatus']);
  });
});
