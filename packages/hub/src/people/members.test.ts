import { codeOf } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import type { OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { addDevice } from '../testing/device-rows.ts';
import { testDatabases } from '../testing/databases.ts';
import { requireGrant } from './granting.ts';
import { addMember } from './members.ts';
import { holdingsOf, TERRITORY, type Scope } from './standing.ts';
import { createPeopleWorld, ELSEWHERE, HERE } from './testing/people-world.ts';

describe.each(await testDatabases())('with $kind', ({ open, openShared }) => {
  const setUp = async () => createPeopleWorld(await open());
  const held = async ({ db, clock }: Awaited<ReturnType<typeof setUp>>, id: string) =>
    (await holdingsOf(db, { territory: HERE, nowMs: clock.now() }, id)).map(({ permissions }) => permissions);

  test('who is added is listed, holds her role, and nothing in another territory', async () => {
    const world = await setUp();
    const ada = await world.add('Ada', 'steward');
    expect(await world.members.list({ territory: HERE })).toEqual([{ ...ada, roles: ['steward'] }]);
    expect(await held(world, ada.id)).toEqual(['all']);
    expect(await world.members.list({ territory: ELSEWHERE })).toEqual([]);
    expect(await world.members.get(ELSEWHERE, ada.id)).toBeUndefined();
    expect(await holdingsOf(world.db, { territory: ELSEWHERE, nowMs: 0 }, ada.id)).toEqual([]);
    expect(await world.acts()).toEqual([`hub addMember ${ada.id}`]);
  });

  test('a name is one of a kind in a territory; who comes by herself may be numbered', async () => {
    const world = await setUp();
    await world.add('Ada', 'member');
    await expect(world.add(' Ada ', 'member')).rejects.toMatchObject({ code: 'conflict' });
    const order = { territory: HERE, name: 'Ada', role: 'member', actor: 'hub', ifTaken: 'number' } as const;
    const numbered = () => world.db.transaction().execute((transaction) => addMember(transaction, world, order));
    expect([(await numbered()).name, (await numbered()).name]).toEqual(['Ada 2', 'Ada 3']);
    expect((await world.add('Ada', 'member', { territory: ELSEWHERE })).name).toBe('Ada');
  });

  test('a group that is not of this territory is not joined, and nobody is added', async () => {
    const world = await setUp();
    const order = { territory: HERE, name: 'Ada', role: 'member', actor: 'hub', groups: ['grp_elsewhere'] };
    const adding = world.db.transaction().execute((transaction) => addMember(transaction, world, order));
    await expect(adding).rejects.toMatchObject({ code: 'not_found' });
    expect(await world.members.list({ territory: HERE })).toEqual([]);
  });

  test('one person may be in two territories, each with a name of its own', async () => {
    const world = await setUp();
    const ada = await world.add('Ada', 'member');
    await world.add('Countess', 'caller', { territory: ELSEWHERE, person: ada.id });
    expect(await world.members.get(ELSEWHERE, ada.id)).toMatchObject({ name: 'Countess' });
    expect(await world.members.get(HERE, ada.id)).toMatchObject({ name: 'Ada' });
    await expect(world.add('Again', 'caller', { person: ada.id })).rejects.toMatchObject({ code: 'conflict' });
  });

  test('who is suspended holds nothing until she is resumed', async () => {
    const world = await setUp();
    const [boss, ada] = [await world.add('Boss', 'steward'), await world.add('Ada', 'member')];
    const act = { territory: HERE, id: ada.id, actor: boss.id };
    expect(await world.members.suspend(act)).toMatchObject({ state: 'suspended' });
    expect(await held(world, ada.id)).toEqual([]);
    await world.members.suspend(act);
    expect(await world.members.resume(act)).toMatchObject({ state: 'active' });
    expect(await held(world, ada.id)).toHaveLength(1);
    expect((await world.acts()).slice(2)).toEqual([
      `${boss.id} suspendMember ${ada.id}`,
      `${boss.id} resumeMember ${ada.id}`,
    ]);
  });

  test('who only manages members touches no steward, and gives nobody back what she does not hold', async () => {
    const world = await setUp();
    await world.role('desk', ['readPeople', 'manageMembers']);
    const boss = await world.add('Boss', 'steward');
    await world.add('Other', 'steward');
    const [desk, ada] = [await world.add('Desk', 'desk'), await world.add('Ada', 'member')];
    const on = (id: string) => ({ territory: HERE, id, actor: desk.id });
    for (const act of [
      () => world.members.suspend(on(boss.id)),
      () => world.members.remove(on(boss.id)),
      () => world.members.rename({ ...on(boss.id), name: 'Nobody' }),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'forbidden', message: expect.stringMatching(/steward/) });
    }
    await world.members.suspend(on(ada.id));
    await expect(world.members.resume(on(ada.id))).rejects.toMatchObject({ code: 'forbidden' });
    expect(await world.members.rename({ ...on(ada.id), name: 'Ada L.' })).toMatchObject({ name: 'Ada L.' });
  });

  test('the last steward is not suspended and not removed, and a right that ends is no last one', async () => {
    const world = await setUp();
    const boss = await world.add('Boss', 'steward');
    const act = { territory: HERE, id: boss.id, actor: boss.id };
    await expect(world.members.suspend(act)).rejects.toMatchObject({ code: 'conflict' });
    await expect(world.members.remove(act)).rejects.toMatchObject({ code: 'conflict' });
    const ada = await world.add('Ada', 'member');
    await world.bind(ada.id, 'steward', { untilMs: world.clock.now() + 1_000 });
    await expect(world.members.suspend(act)).rejects.toMatchObject({ code: 'conflict' });
    await world.bind(ada.id, 'steward');
    await world.members.remove(act);
    expect(await world.members.get(HERE, boss.id)).toBeUndefined();
  });

  test('two stewards suspend each other at once: one stays', async () => {
    const [one, other] = await openShared(2);
    const here = await createPeopleWorld(one as OpenDatabase);
    const there = await createPeopleWorld(other as OpenDatabase, 2);
    for (let round = 0; round < 5; round++) {
      const [ada, ben] = [await here.add(`Ada ${round}`, 'steward'), await here.add(`Ben ${round}`, 'steward')];
      const outcomes = await Promise.allSettled([
        here.members.suspend({ territory: HERE, id: ada.id, actor: ben.id }),
        there.members.suspend({ territory: HERE, id: ben.id, actor: ada.id }),
      ]);
      const states = (await here.members.list({ territory: HERE })).map(({ state }) => state);
      expect(states.filter((state) => state === 'active')).toHaveLength(1);
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      await here.db.deleteFrom('bindings').execute();
      await here.db.deleteFrom('members').execute();
    }
  });

  test('who is removed takes along all ways in, keys, rights and devices, and nothing of anybody else', async () => {
    const world = await setUp();
    const { db } = world;
    const boss = await world.add('Boss', 'steward');
    const [ada, ben] = [await world.add('Ada', 'member'), await world.add('Ben', 'member')];
    await world.add('Ada', 'member', { territory: ELSEWHERE, person: ada.id });
    for (const territory of [HERE, ELSEWHERE]) await belongings(world, territory, ada.id);
    await belongings(world, HERE, ben.id);
    const removed = await world.members.remove({ territory: HERE, id: ada.id, actor: boss.id });
    expect(removed).toEqual({ name: 'Ada', devices: [`dev_${ada.id}`], keys: 1 });
    const { ref } = db.dynamic;
    type Table = 'keys' | 'person_sessions' | 'passkeys' | 'devices' | 'sign_in_links';
    /** Rows of somebody that nothing has ended. */
    const rowsOf =
      (territory: string, person: string) =>
      async (table: Table, ended?: string, whose = 'person_id'): Promise<number> => {
        const rows = db.selectFrom(table).select('id').where('territory_id', '=', territory);
        const own = rows.where(ref(whose), '=', person);
        return (await (ended === undefined ? own : own.where(ref(ended), 'is', null)).execute()).length;
      };
    const left = async (territory: string, person: string, count = rowsOf(territory, person)) => ({
      keys: await count('keys', 'revoked_at_ms'),
      sessions: await count('person_sessions', 'ended_at_ms'),
      passkeys: await count('passkeys'),
      devices: await count('devices', 'revoked_at_ms'),
      links: await count('sign_in_links', 'withdrawn_at_ms', 'created_by'),
      rights: (await holdingsOf(db, { territory, nowMs: 0 }, person)).length,
    });
    expect(await left(HERE, ada.id)).toEqual({ keys: 0, sessions: 0, passkeys: 0, devices: 0, links: 0, rights: 0 });
    const all = { keys: 1, sessions: 1, passkeys: 1, devices: 1, links: 1, rights: 1 };
    expect(await left(ELSEWHERE, ada.id)).toEqual(all);
    expect(await left(HERE, ben.id)).toEqual(all);
    const device = await db
      .selectFrom('devices')
      .selectAll()
      .where('id', '=', `dev_${ada.id}`)
      .where('territory_id', '=', HERE)
      .executeTakeFirstOrThrow();
    expect(device).toMatchObject({ left_at_ms: expect.any(Number) });
    expect(await db.selectFrom('people').select('id').where('id', '=', ada.id).execute()).toHaveLength(1);
    await world.members.remove({ territory: HERE, id: ben.id, actor: boss.id });
    expect(await db.selectFrom('people').select('id').where('id', '=', ben.id).execute()).toEqual([]);
  });

  test('no act reaches a member of another territory', async () => {
    const world = await setUp();
    const boss = await world.add('Boss', 'steward', { territory: ELSEWHERE });
    const ada = await world.add('Ada', 'member');
    const act = { territory: ELSEWHERE, id: ada.id, actor: boss.id };
    const { members } = world;
    for (const acting of [
      () => members.rename({ ...act, name: 'x' }),
      () => members.suspend(act),
      () => members.resume(act),
      () => members.remove(act),
    ]) {
      await expect(acting()).rejects.toMatchObject({ code: 'not_found' });
    }
    expect(await members.get(HERE, ada.id)).toEqual(ada);
  });

  test('a role is given by who holds all of it there, for as long as she holds it', async () => {
    const world = await setUp();
    const { db, clock } = world;
    const place = { territory: HERE, nowMs: clock.now() };
    const until = clock.now() + 1_000;
    await world.role('desk', ['readPeople', 'bindRole']);
    const [boss, ada] = [await world.add('Boss', 'steward'), await world.add('Ada', 'desk')];
    await world.bind(ada.id, 'caller', { scope: { kind: 'project', id: 'p1' } });
    await world.bind(ada.id, 'auditor', { untilMs: until });
    const project = { kind: 'project', id: 'p1' } as const;
    const may = async (actor: string, role: string, scope: Scope, untilMs: number | null): Promise<boolean> => {
      const code = await requireGrant(db, place, actor, [{ role, scope, untilMs }], 'give it').catch(codeOf);
      if (code !== undefined && code !== 'forbidden') throw new Error(`it ended with ${code}`);
      return code === undefined;
    };
    expect(await may(boss.id, 'steward', TERRITORY, null)).toBe(true);
    expect(await may(ada.id, 'steward', project, until)).toBe(false);
    expect(await may(ada.id, 'desk', TERRITORY, null)).toBe(true);
    expect(await may(ada.id, 'caller', project, null)).toBe(true);
    expect(await may(ada.id, 'caller', { ...project, id: 'p2' }, null)).toBe(false);
    expect(await may(ada.id, 'caller', TERRITORY, null)).toBe(false);
    expect(await may(ada.id, 'auditor', TERRITORY, until)).toBe(true);
    expect(await may(ada.id, 'auditor', TERRITORY, null)).toBe(false);
    expect(await may('hub', 'caller', TERRITORY, null)).toBe(false);
    // A right that has ended gives nothing.
    const later = { ...place, nowMs: until };
    const giving = requireGrant(db, later, ada.id, [{ role: 'auditor', scope: TERRITORY, untilMs: until }], 'give it');
    await expect(giving).rejects.toMatchObject({ code: 'forbidden' });
  });
});

/** One of each thing that somebody may have in a territory. */
async function belongings({ db }: Awaited<ReturnType<typeof createPeopleWorld>>, territory: string, person: string) {
  const common = { territory_id: territory, person_id: person };
  const id = `${territory} ${person}`;
  await db
    .insertInto('keys')
    .values({
      ...common,
      id: `key_${id}`,
      role: 'caller',
      name: '',
      hash: id,
      created_at_ms: 0,
      expires_at_ms: null,
      revoked_at_ms: null,
      requests_per_minute: null,
      tokens_per_minute: null,
    })
    .execute();
  await db
    .insertInto('person_sessions')
    .values({
      ...common,
      id: `sis_${id}`,
      hash: id,
      kind: 'browser',
      via: 'link',
      label: '',
      signed_in_at_ms: 0,
      seen_at_ms: 0,
      expires_at_ms: 1,
      ended_at_ms: null,
    })
    .execute();
  await db
    .insertInto('passkeys')
    .values({
      ...common,
      id: `pky_${id}`,
      credential_id: id,
      public_key: new Uint8Array(1),
      counter: 0,
      transports_json: '[]',
      name: '',
      is_synced: 0,
      created_at_ms: 0,
      used_at_ms: null,
    })
    .execute();
  await linkAndDevice(db, territory, person);
}

async function linkAndDevice(db: Database, territory: string, person: string): Promise<void> {
  const id = `${territory} ${person}`;
  await db
    .insertInto('sign_in_links')
    .values({
      territory_id: territory,
      person_id: null,
      id: `lnk_${id}`,
      hash: id,
      name: '',
      role: 'member',
      groups_json: '[]',
      created_by: person,
      created_at_ms: 0,
      expires_at_ms: 1,
      used_at_ms: null,
      used_by: null,
      withdrawn_at_ms: null,
    })
    .execute();
  await addDevice(db, { id: `dev_${person}`, territory, person, name: 'notebook' });
}
