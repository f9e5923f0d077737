/**
 * Nobody comes to hold what nobody gave her who held it: random acts of random people, looked at from outside. What
 * everybody holds is computed here anew from the rows, one action, thing and moment at a time, and after each act
 * whoever gained something must have been given it by an actor who had it.
 */
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { openDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import type { SubjectKind } from '../db/schema/people.ts';
import { createKeys } from '../identity/keys.ts';
import type { Principal } from '../identity/principal.ts';
import type { Action } from '../policy/actions.ts';
import { PERMISSIONS } from '../policy/built-in-roles.ts';
import { createBindings } from './bindings.ts';
import { requireGrant } from './granting.ts';
import { createGroups } from './groups.ts';
import { createKeyDesk } from './key-desk.ts';
import { addMember } from './members.ts';
import { createRoles } from './roles.ts';
import { TERRITORY, type Scope } from './standing.ts';
import { createPeopleWorld, HERE } from './testing/people-world.ts';

const HOUR_MS = 3_600_000;
const ACTIONS = [
  'answer',
  'readPeople',
  'manageRoles',
  'bindRole',
  'readAudit',
  'createKey',
] as const satisfies Action[];
const SCOPES: readonly Scope[] = [TERRITORY, { kind: 'pool', id: 'lab' }, { kind: 'pool', id: 'attic' }];
const LATER_MS = [0, HOUR_MS, 2 * HOUR_MS, 1_000 * HOUR_MS];

const WHO = [
  ['Ada', 'member'],
  ['Ben', 'desk'],
  ['Cyn', 'auditor'],
  ['Dan', 'caller'],
] as const;

/** "who may do what, where, how far from now": `later` stands for what only a steward holds. */
type Atoms = ReadonlyMap<string, ReadonlySet<string>>;

async function atomsOf(db: Database, nowMs: number): Promise<Atoms> {
  const [members, grouped, bindings, roles, keys] = await Promise.all([
    db.selectFrom('members').selectAll().execute(),
    db.selectFrom('group_members').selectAll().execute(),
    db.selectFrom('bindings').selectAll().execute(),
    db.selectFrom('roles').selectAll().execute(),
    db.selectFrom('keys').selectAll().execute(),
  ]);
  const permits = (role: string, action: string): boolean => {
    if (role === 'steward') return true;
    const own = roles.find(({ name }) => name === role);
    const list: readonly string[] =
      own === undefined ? (PERMISSIONS[role as 'member'] ?? []) : (JSON.parse(own.permissions_json) as string[]);
    return list.includes(action);
  };
  const bound = (kind: SubjectKind, id: string, action: string, scope: Scope, atMs: number): boolean =>
    bindings.some(
      (row) =>
        row.subject_kind === kind &&
        row.subject_id === id &&
        (row.expires_at_ms === null || row.expires_at_ms > atMs) &&
        (row.scope_kind === 'territory' || (row.scope_kind === scope.kind && row.scope_id === scope.id)) &&
        permits(row.role, action),
    );
  const byPerson = (id: string, action: string, scope: Scope, atMs: number): boolean =>
    members.some((row) => row.person_id === id && row.state === 'active') &&
    (bound('person', id, action, scope, atMs) ||
      grouped.some((row) => row.person_id === id && bound('group', row.group_id, action, scope, atMs)));
  const byKey = (id: string, action: string, scope: Scope, atMs: number): boolean => {
    const key = keys.find((row) => row.id === id);
    if (key === undefined || key.revoked_at_ms !== null) return false;
    if (key.expires_at_ms !== null && key.expires_at_ms <= atMs) return false;
    const person = key.person_id ?? null;
    return (
      (permits(key.role, action) || bound('key', id, action, scope, atMs)) &&
      (person === null || byPerson(person, action, scope, atMs))
    );
  };
  const may = (id: string, action: string, scope: Scope, atMs: number): boolean =>
    id.startsWith('key_') ? byKey(id, action, scope, atMs) : byPerson(id, action, scope, atMs);
  const all = [...members.map((row) => row.person_id), ...keys.map(({ id }) => id)];
  return new Map(
    all.map((id) => {
      const atoms = [...ACTIONS, 'later'].flatMap((action) =>
        SCOPES.flatMap((scope) =>
          LATER_MS.filter((laterMs) => may(id, action, scope, nowMs + laterMs)).map(
            (laterMs) => `${action} ${scope.kind} ${scope.id} +${laterMs / HOUR_MS} h`,
          ),
        ),
      );
      return [id, new Set(atoms)];
    }),
  );
}

async function play(seed: number, acts: number) {
  const database = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  const world = await createPeopleWorld(database, seed);
  const { db, clock } = world;
  const random = createSeededRandom(seed * 7 + 1);
  const one = <Thing>(things: readonly Thing[]): Thing | undefined => things[Math.floor(random.unit() * things.length)];
  const keys = createKeys({ ...world, crypto: nodeCrypto });
  const rooms = {
    members: world.members,
    groups: createGroups(world),
    roles: createRoles(world),
    bindings: createBindings(world),
    desk: createKeyDesk({ db, keys, clock }),
  };
  await world.add('Boss', 'steward');
  await world.role('desk', ['readPeople', 'bindRole']);
  const named = new Map<string, string>();
  for (const [name, role] of WHO) named.set(name, (await world.add(name, role)).id);
  // Much, but here only, for a while only, or only as far as its person.
  await world.bind(named.get('Ben') ?? '', 'steward', { scope: SCOPES[1] as Scope });
  const brief = await keys.create({ territory: HERE, role: 'caller', expiresInMs: HOUR_MS, actor: 'hub' });
  await world.bind(brief.id, 'steward');
  await keys.create({ territory: HERE, role: 'steward', person: named.get('Dan'), actor: 'hub' });
  for (const name of ['staff', 'night']) await rooms.groups.create({ territory: HERE, name, actor: 'hub' });

  const ids = async (table: 'groups' | 'bindings' | 'keys'): Promise<string[]> =>
    (await db.selectFrom(table).select('id').orderBy('id').execute()).map(({ id }) => id);
  const people = async (): Promise<string[]> =>
    (await db.selectFrom('members').select('person_id').orderBy('name').execute()).map((row) => row.person_id);
  const roleNames = async (): Promise<string[]> => (await rooms.roles.list(HERE)).map(({ name }) => name);

  async function act(actor: string): Promise<void> {
    const asker: Principal = actor.startsWith('per_')
      ? { kind: 'person', personId: actor, session: 'sis_x', territory: HERE }
      : await keyPrincipal(db, actor);
    const territory = HERE;
    const id = one(await people()) ?? '';
    const group = one(await ids('groups')) ?? '';
    const role = one(await roleNames()) ?? '';
    const expiresInMs = one([undefined, HOUR_MS, 2 * HOUR_MS]);
    const permissions = ACTIONS.filter(() => random.unit() < 0.4);
    const wish = { role, ...(expiresInMs === undefined ? {} : { expiresInMs }) };
    const subject = one([
      { kind: 'person', id },
      { kind: 'group', id: group },
      { kind: 'key', id: one(await ids('keys')) ?? '' },
    ] as const) as { kind: SubjectKind; id: string };
    const expiresAtMs = expiresInMs === undefined ? undefined : clock.now() + expiresInMs;
    const options: (() => Promise<unknown>)[] = [
      () => rooms.bindings.create({ territory, subject, role, scope: one(SCOPES) as Scope, expiresAtMs, actor }),
      () => rooms.bindings.create({ territory, subject, role, scope: one(SCOPES) as Scope, expiresAtMs, actor }),
      async () => rooms.bindings.remove({ territory, id: one(await ids('bindings')) ?? '', actor }),
      () => rooms.groups.add({ territory, id: group, person: id, actor }),
      () => rooms.groups.add({ territory, id: group, person: actor, actor }),
      () => rooms.groups.take({ territory, id: group, person: id, actor }),
      () => rooms.roles.create({ territory, name: `job-${Math.floor(random.unit() * 4)}`, permissions, actor }),
      () => rooms.roles.change({ territory, name: role, permissions, actor }),
      () => rooms.roles.remove({ territory, name: role, force: random.unit() < 0.5, actor }),
      () => rooms.members.suspend({ territory, id, actor }),
      () => rooms.members.resume({ territory, id, actor }),
      () => (random.unit() < 0.2 ? rooms.members.remove({ territory, id, actor }) : Promise.resolve()),
      () => rooms.desk.make(asker, wish),
      () => rooms.desk.makeOwn(asker, wish),
      async () => rooms.desk.revoke(asker, one(await ids('keys')) ?? ''),
      // As an invitation is made.
      () =>
        db.transaction().execute(async (transaction) => {
          const place = { territory, nowMs: clock.now() };
          await requireGrant(transaction, place, actor, [{ role, scope: TERRITORY, untilMs: null }], 'invite somebody');
          return addMember(transaction, world, { territory, name: 'New', role, actor, ifTaken: 'number' });
        }),
    ];
    await (one(options) as () => Promise<unknown>)();
  }

  let done = 0;
  const gains = new Set<string>();
  for (let step = 0; step < acts; step++) {
    if (random.unit() < 0.05) await clock.advance(HOUR_MS / 2);
    const actor = one([...(await people()), ...(await ids('keys'))]) as string;
    const before = await atomsOf(db, clock.now());
    const thrown = await act(actor).then(
      () => undefined,
      (error: unknown) => error as { code?: string },
    );
    if (thrown === undefined) done++;
    else expect(['forbidden', 'conflict', 'not_found', 'invalid_request']).toContain(thrown.code ?? thrown);
    const after = await atomsOf(db, clock.now());
    for (const [who, atoms] of after) {
      for (const atom of atoms) {
        if (before.get(who)?.has(atom) === true) continue;
        gains.add(atom);
        expect({ seed, step, actor, who, atom, given: before.get(actor)?.has(atom) }).toMatchObject({ given: true });
      }
    }
    const lasting = [...after.values()].filter((atoms) => atoms.has('later territory  +1000 h'));
    expect({ seed, step, stewards: lasting.length }).not.toMatchObject({ stewards: 0 });
  }
  await database.close();
  return { done, gains: gains.size };
}

async function keyPrincipal(db: Database, id: string): Promise<Principal> {
  const row = await db.selectFrom('keys').selectAll().where('id', '=', id).executeTakeFirstOrThrow();
  const person = row.person_id === null ? {} : { person: row.person_id };
  return { kind: 'key', keyId: id, territory: HERE, role: row.role, name: '', dataClass: 'internal', ...person };
}

test('random acts of random people give nobody what its giver did not hold', async () => {
  let done = 0;
  let gains = 0;
  for (let seed = 1; seed <= 6; seed++) {
    const played = await play(seed, 120);
    done += played.done;
    gains += played.gains;
  }
  // They did things, and gave each other things: a world in which everything is refused would show nothing.
  expect(done).toBeGreaterThan(150);
  expect(gains).toBeGreaterThan(50);
});
