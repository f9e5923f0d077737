/**
 * The people of a territory: who is one, what the territory calls them, and whether they may do anything at the moment.
 *
 *   added ──► active ⇄ suspended
 *               └──────────┴──► removed (`removal.ts`)
 *
 * A person is of the whole hub and has one id in all its territories; each of them knows only its own members. A member
 * holds what is bound to her and to her groups, and nothing besides. Only stewards touch stewards, and one stays.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { MemberState } from '../db/schema/people.ts';
import { transact } from '../db/transact.ts';
import { requireNamedGroups, requirePermissions, turnOf } from './granting.ts';
import { PEOPLE_LIMITS } from './limits.ts';
import { personName } from './names.ts';
import { policyNames } from './policy-names.ts';
import { removeMember, type Removed } from './removal.ts';
import { groupsOf, rolesOf, type HeldRole } from './self.ts';
import type { Place } from './standing.ts';
import { heldOrBound, keepingASteward, requireOver } from './stewards.ts';
import { touchPeople } from './versions.ts';

export interface Member {
  /** Id of the person. */
  readonly id: string;
  readonly name: string;
  readonly state: MemberState;
  readonly joinedAtMs: number;
}

export interface ListedMember extends Member {
  /** Names of what is bound to her, in the whole territory, and not through a group. */
  readonly roles: readonly string[];
}

export interface MemberDetails extends Member {
  readonly roles: readonly HeldRole[];
  readonly groups: readonly { readonly id: string; readonly name: string }[];
  /** That she lends here, and own keys that work. */
  readonly devices: number;
  readonly keys: number;
}

export interface MemberOrder {
  readonly territory: string;
  readonly name: string;
  /** Held in the whole territory. Whether it may be given is the caller's to ask: `requireGrant`. */
  readonly role: string;
  /** Ids of groups; the same holds for what they give. */
  readonly groups?: readonly string[];
  /** Who let her in: a person, a key, or the provider that vouches for her. */
  readonly actor: string;
  /** Who is known already, in another territory of this hub; absent: a new person. */
  readonly person?: string | undefined;
  /** Where the name is another's: refuses, or goes on as "Ada 2"; absent: refuses. */
  readonly ifTaken?: 'refuse' | 'number';
}

/** What is done to one member, and by whom. */
export interface MemberAct {
  readonly territory: string;
  readonly id: string;
  readonly actor: string;
}

export interface MemberPage {
  readonly territory: string;
  /** Only who is called so. */
  readonly name?: string | undefined;
  /** Goes on after the member of this name. */
  readonly after?: string | undefined;
}

export interface MembersDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

export interface Members {
  /** By name, at most `PEOPLE_LIMITS.pageRows`. */
  list(page: MemberPage): Promise<ListedMember[]>;
  get(territory: string, id: string): Promise<Member | undefined>;
  /** Throws `not_found`. */
  show(territory: string, id: string): Promise<MemberDetails>;
  /** Throws `not_found`, `invalid_request`, `conflict` for a name that is taken. */
  rename(act: MemberAct & { readonly name: string }): Promise<Member>;
  /** From now on she may do nothing. Throws `conflict` for the last steward. */
  suspend(act: MemberAct): Promise<Member>;
  /** Gives back everything that is bound to her: who does it holds it, too. */
  resume(act: MemberAct): Promise<Member>;
  /** For good; what goes with her is told. */
  remove(act: MemberAct): Promise<Removed>;
}

/** Who goes could come back by a provider, without what a policy of the territory forbids to whoever has a role. */
async function requireUnnamed(transaction: Database, place: Place, id: string): Promise<void> {
  const groups = await groupsOf(transaction, place.territory, id);
  const { namesRole } = await policyNames(transaction, place.territory);
  const roles = await rolesOf(transaction, place.territory, [id], groups, place.nowMs);
  const named = roles
    .filter(({ role }) => namesRole(role))
    .map(({ role, scope }) => ({ role, scope, permissions: 'all', untilMs: 0 }) as const);
  const names = groups.map(({ name }) => name);
  await requirePermissions(transaction, place, id, named, 'leave (a policy of the territory names a role of yours)');
  await requireNamedGroups(transaction, place, id, names, 'leave');
}

type AddDeps = Pick<MembersDeps, 'clock' | 'random' | 'audit'>;

/**
 * Somebody new, inside the caller's transaction, which has appended nothing to the audit log yet. Throws
 * `invalid_request`, `conflict` for who is a member already and for a name that is taken, `not_found` for a group.
 */
export async function addMember(
  transaction: DatabaseTransaction,
  { clock, random, audit }: AddDeps,
  order: MemberOrder,
): Promise<Member> {
  const { territory, role, groups = [], actor } = order;
  await turnOf(transaction, territory);
  const nowMs = clock.now();
  await checkRoom(transaction, territory);
  const id = order.person ?? newId('per', random);
  const wanted = personName(order.name);
  const isNumbered = order.ifTaken === 'number';
  const name = isNumbered ? await freeName(transaction, territory, wanted) : wanted;
  if (order.person !== undefined && (await read(transaction, territory, id)) !== undefined)
    throw new IdlewildError('conflict', `${id} is a member of the territory already`);
  if (!isNumbered) await checkFree(transaction, territory, name);
  await transaction
    .insertInto('people')
    .values({ id, name, created_at_ms: nowMs })
    .onConflict((on) => on.doNothing())
    .execute();
  await transaction
    .insertInto('members')
    .values({ territory_id: territory, person_id: id, name, state: 'active', joined_at_ms: nowMs })
    .execute();
  await transaction
    .insertInto('bindings')
    .values({
      id: newId('bnd', random),
      territory_id: territory,
      subject_kind: 'person',
      subject_id: id,
      role,
      scope_kind: 'territory',
      scope_id: '',
      expires_at_ms: null,
      created_at_ms: nowMs,
      created_by: actor,
    })
    .execute();
  await join(transaction, territory, id, [...new Set(groups)]);
  await touchPeople(transaction, territory);
  const details = { name, role, groups: groups.length };
  await audit.append(transaction, { territory, actor, action: 'addMember', subject: id, details });
  return { id, name, state: 'active', joinedAtMs: nowMs };
}

async function join(
  transaction: DatabaseTransaction,
  territory: string,
  person: string,
  groups: readonly string[],
): Promise<void> {
  if (groups.length === 0) return;
  const there = await transaction
    .selectFrom('groups')
    .select('id')
    .where('territory_id', '=', territory)
    .where('id', 'in', groups)
    .execute();
  const known = new Set(there.map(({ id }) => id));
  const strange = groups.find((id) => !known.has(id));
  if (strange !== undefined) throw new IdlewildError('not_found', `there is no group ${strange} in this territory`);
  const rows = groups.map((group) => ({ territory_id: territory, group_id: group, person_id: person }));
  await transaction.insertInto('group_members').values(rows).execute();
}

async function checkRoom(transaction: Database, territory: string): Promise<void> {
  const { count } = await transaction
    .selectFrom('members')
    .select((row) => row.fn.countAll().as('count'))
    .where('territory_id', '=', territory)
    .executeTakeFirstOrThrow();
  if (Number(count) < PEOPLE_LIMITS.membersMax) return;
  throw new IdlewildError('conflict', `a territory has at most ${PEOPLE_LIMITS.membersMax} members`);
}

async function isTaken(source: Database, territory: string, name: string): Promise<boolean> {
  const taken = source.selectFrom('members').select('person_id').where('territory_id', '=', territory);
  return (await taken.where('name', '=', name).executeTakeFirst()) !== undefined;
}

async function checkFree(source: Database, territory: string, name: string): Promise<void> {
  if (!(await isTaken(source, territory, name))) return;
  throw new IdlewildError('conflict', `somebody in this territory is called ${name} already; take another name`);
}

async function freeName(source: Database, territory: string, wanted: string): Promise<string> {
  let name = wanted;
  for (let number = 2; await isTaken(source, territory, name); number++) {
    const ending = ` ${number}`;
    name = wanted.slice(0, PEOPLE_LIMITS.nameCharactersMax - ending.length).trimEnd() + ending;
  }
  return name;
}

async function read(source: Database, territory: string, id: string): Promise<Member | undefined> {
  const row = await source
    .selectFrom('members')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('person_id', '=', id)
    .executeTakeFirst();
  return row === undefined ? undefined : memberOf(row);
}

const memberOf = (row: { person_id: string; name: string; state: MemberState; joined_at_ms: number }): Member => ({
  id: row.person_id,
  name: row.name,
  state: row.state,
  joinedAtMs: row.joined_at_ms,
});

/** Throws `not_found`. */
export async function existingMember(source: Database, territory: string, id: string): Promise<Member> {
  const member = await read(source, territory, id);
  if (member === undefined) throw new IdlewildError('not_found', `there is no member ${id} in this territory`);
  return member;
}

async function rolesOfAll(
  db: Database,
  { territory, nowMs }: Place,
  members: readonly Member[],
): Promise<Map<string, string[]>> {
  if (members.length === 0) return new Map();
  const rows = await db
    .selectFrom('bindings')
    .select(['subject_id', 'role'])
    .where('territory_id', '=', territory)
    .where('subject_kind', '=', 'person')
    .where('scope_kind', '=', 'territory')
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .where(
      'subject_id',
      'in',
      members.map(({ id }) => id),
    )
    .orderBy('role')
    .execute();
  const grouped = Map.groupBy(rows, (row) => row.subject_id);
  return new Map([...grouped].map(([id, of]) => [id, of.map(({ role }) => role)]));
}

async function countsOf(
  db: Database,
  { territory, nowMs }: Place,
  person: string,
): Promise<Pick<MemberDetails, 'devices' | 'keys'>> {
  const devices = await db
    .selectFrom('devices')
    .select('id')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .where('revoked_at_ms', 'is', null)
    .execute();
  const keys = await db
    .selectFrom('keys')
    .select('id')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .where('revoked_at_ms', 'is', null)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .execute();
  return { devices: devices.length, keys: keys.length };
}

export function createMembers({ db, clock, audit }: MembersDeps): Members {
  const placeOf = (territory: string): Place => ({ territory, nowMs: clock.now() });

  async function setState(
    transaction: DatabaseTransaction,
    { territory, id, actor }: MemberAct,
    state: MemberState,
    action: string,
  ): Promise<void> {
    await transaction
      .updateTable('members')
      .set({ state })
      .where('territory_id', '=', territory)
      .where('person_id', '=', id)
      .execute();
    await touchPeople(transaction, territory);
    await audit.append(transaction, { territory, actor, action, subject: id });
  }

  return {
    async list({ territory, name, after }) {
      let query = db.selectFrom('members').selectAll().where('territory_id', '=', territory);
      if (name !== undefined) query = query.where('name', '=', name.normalize('NFKC'));
      if (after !== undefined) query = query.where('name', '>', after);
      const page = (await query.orderBy('name').limit(PEOPLE_LIMITS.pageRows).execute()).map(memberOf);
      const roles = await rolesOfAll(db, placeOf(territory), page);
      return page.map((member) => ({ ...member, roles: roles.get(member.id) ?? [] }));
    },
    get: (territory, id) => read(db, territory, id),
    async show(territory, id) {
      const member = await existingMember(db, territory, id);
      const groups = await groupsOf(db, territory, id);
      const roles = await rolesOf(db, territory, [id], groups, clock.now());
      return { ...member, roles, groups, ...(await countsOf(db, placeOf(territory), id)) };
    },
    async rename(act) {
      const { territory, id, actor } = act;
      const name = personName(act.name);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const member = await existingMember(transaction, territory, id);
        if (member.name === name) return member;
        if (actor !== id) await requireOver(transaction, placeOf(territory), actor, id, `rename ${member.name}`);
        await checkFree(transaction, territory, name);
        await transaction
          .updateTable('members')
          .set({ name })
          .where('territory_id', '=', territory)
          .where('person_id', '=', id)
          .execute();
        await touchPeople(transaction, territory);
        const details = { from: member.name, to: name };
        await audit.append(transaction, { territory, actor, action: 'renameMember', subject: id, details });
        return { ...member, name };
      });
    },
    suspend(act) {
      const { territory, id, actor } = act;
      const place = placeOf(territory);
      return transact(db, (transaction) =>
        keepingASteward(transaction, place, async () => {
          const member = await existingMember(transaction, territory, id);
          if (member.state === 'suspended') return member;
          await requireOver(transaction, place, actor, id, `suspend ${member.name}`);
          await setState(transaction, act, 'suspended', 'suspendMember');
          return { ...member, state: 'suspended' };
        }),
      );
    },
    resume(act) {
      const { territory, id, actor } = act;
      const place = placeOf(territory);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const member = await existingMember(transaction, territory, id);
        if (member.state === 'active') return member;
        const given = await heldOrBound(transaction, place, id);
        const how = `give ${member.name} back what is bound to them`;
        await requirePermissions(transaction, place, actor, given, how);
        const groups = await groupsOf(transaction, territory, id);
        await requireNamedGroups(
          transaction,
          place,
          actor,
          groups.map(({ name }) => name),
          how,
        );
        await setState(transaction, act, 'active', 'resumeMember');
        return { ...member, state: 'active' };
      });
    },
    remove(act) {
      const place = placeOf(act.territory);
      return transact(db, (transaction) =>
        keepingASteward(transaction, place, async () => {
          const member = await existingMember(transaction, act.territory, act.id);
          await requireOver(transaction, place, act.actor, act.id, `remove ${member.name}`);
          if (act.actor === act.id) await requireUnnamed(transaction, place, act.id);
          return removeMember(transaction, { audit, nowMs: place.nowMs }, act, member.name);
        }),
      );
    },
  };
}
