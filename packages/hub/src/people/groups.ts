/**
 * Groups of people, so that roles are given to many at once.
 *
 * To put somebody into a group is to give her everything that is bound to it, and who does it holds all of that.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { requireNamedGroups, requirePermissions, turnOf } from './granting.ts';
import { PEOPLE_LIMITS } from './limits.ts';
import { existingMember } from './members.ts';
import { groupName } from './names.ts';
import { boundTo, groupsOf, type Place } from './standing.ts';
import { keepingASteward, requireSteward } from './stewards.ts';
import { touchPeople } from './versions.ts';

export interface Group {
  readonly id: string;
  readonly name: string;
  readonly members: number;
  readonly createdAtMs: number;
}

export interface GroupAct {
  readonly territory: string;
  readonly id: string;
  readonly actor: string;
}

export interface Groups {
  /** By name. */
  list(territory: string): Promise<Group[]>;
  /** Ids and names of those who are in it, by name. Throws `not_found`. */
  membersOf(territory: string, id: string): Promise<{ readonly id: string; readonly name: string }[]>;
  /** Throws `invalid_request`, `conflict` for a name that is taken. */
  create(order: { readonly territory: string; readonly name: string; readonly actor: string }): Promise<Group>;
  rename(act: GroupAct & { readonly name: string }): Promise<Group>;
  /** Takes from everybody in it what was bound to it. */
  remove(act: GroupAct): Promise<void>;
  /** Twice is once. Throws `not_found`, `forbidden` for what the actor does not hold herself. */
  add(act: GroupAct & { readonly person: string }): Promise<void>;
  take(act: GroupAct & { readonly person: string }): Promise<void>;
}

export interface GroupsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

async function listed(source: Database, territory: string, id?: string): Promise<Group[]> {
  let query = source
    .selectFrom('groups')
    .leftJoin('group_members', (join) =>
      join
        .onRef('group_members.territory_id', '=', 'groups.territory_id')
        .onRef('group_members.group_id', '=', 'groups.id'),
    )
    .select(['groups.id', 'groups.name', 'groups.created_at_ms'])
    .select((row) => row.fn.count('group_members.person_id').as('members'))
    .where('groups.territory_id', '=', territory)
    .groupBy(['groups.id', 'groups.name', 'groups.created_at_ms']);
  if (id !== undefined) query = query.where('groups.id', '=', id);
  const rows = await query.orderBy('groups.name').execute();
  return rows.map((row) => ({
    id: row.id,
    name: row.name,
    members: Number(row.members),
    createdAtMs: row.created_at_ms,
  }));
}

async function existing(source: Database, territory: string, id: string): Promise<Group> {
  const [group] = await listed(source, territory, id);
  if (group === undefined) throw new IdlewildError('not_found', `there is no group ${id} in this territory`);
  return group;
}

async function checkFree(source: Database, territory: string, name: string): Promise<void> {
  const taken = source.selectFrom('groups').select('id').where('territory_id', '=', territory).where('name', '=', name);
  if ((await taken.executeTakeFirst()) === undefined) return;
  throw new IdlewildError('conflict', `there is a group ${name} in this territory already`);
}

async function checkRoom(source: Database, territory: string): Promise<void> {
  const { count } = await source
    .selectFrom('groups')
    .select((row) => row.fn.countAll().as('count'))
    .where('territory_id', '=', territory)
    .executeTakeFirstOrThrow();
  if (Number(count) < PEOPLE_LIMITS.groupsMax) return;
  throw new IdlewildError('conflict', `a territory has at most ${PEOPLE_LIMITS.groupsMax} groups`);
}

export function createGroups({ db, clock, random, audit }: GroupsDeps): Groups {
  const placeOf = (territory: string): Place => ({ territory, nowMs: clock.now() });
  const boundToGroup = (transaction: DatabaseTransaction, place: Place, id: string) =>
    boundTo(transaction, place, [{ kind: 'group', id }]);

  async function written(
    transaction: DatabaseTransaction,
    { territory, id, actor }: GroupAct,
    action: string,
    details: Readonly<Record<string, string | number>>,
  ): Promise<void> {
    await touchPeople(transaction, territory);
    await audit.append(transaction, { territory, actor, action, subject: id, details });
  }

  return {
    list: (territory) => listed(db, territory),
    async membersOf(territory, id) {
      await existing(db, territory, id);
      return db
        .selectFrom('group_members')
        .innerJoin('members', (join) =>
          join
            .onRef('members.territory_id', '=', 'group_members.territory_id')
            .onRef('members.person_id', '=', 'group_members.person_id'),
        )
        .select(['members.person_id as id', 'members.name'])
        .where('group_members.territory_id', '=', territory)
        .where('group_members.group_id', '=', id)
        .orderBy('members.name')
        .execute();
    },
    async create(order) {
      const { territory, actor } = order;
      const name = groupName(order.name);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        await checkFree(transaction, territory, name);
        await checkRoom(transaction, territory);
        await requireNamedGroups(transaction, placeOf(territory), actor, [name], `make the group ${name}`);
        const group = { id: newId('grp', random), name, members: 0, createdAtMs: clock.now() };
        await transaction
          .insertInto('groups')
          .values({ id: group.id, territory_id: territory, name, created_at_ms: group.createdAtMs })
          .execute();
        await written(transaction, { territory, id: group.id, actor }, 'createGroup', { name });
        return group;
      });
    },
    async rename(act) {
      const { territory, id, actor } = act;
      const name = groupName(act.name);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const group = await existing(transaction, territory, id);
        if (group.name === name) return group;
        const how = `call the group ${group.name} ${name}`;
        await requireNamedGroups(transaction, placeOf(territory), actor, [group.name, name], how);
        await checkFree(transaction, territory, name);
        await transaction
          .updateTable('groups')
          .set({ name })
          .where('territory_id', '=', territory)
          .where('id', '=', id)
          .execute();
        await written(transaction, act, 'renameGroup', { from: group.name, to: name });
        return { ...group, name };
      });
    },
    remove(act) {
      const { territory, id, actor } = act;
      const place = placeOf(territory);
      return transact(db, (transaction) =>
        keepingASteward(transaction, place, async () => {
          const group = await existing(transaction, territory, id);
          const bound = await boundToGroup(transaction, place, id);
          const how = `remove the group ${group.name}`;
          await requireSteward(transaction, place, actor, bound, how);
          await requireNamedGroups(transaction, place, actor, [group.name], how);
          await transaction
            .deleteFrom('bindings')
            .where('territory_id', '=', territory)
            .where('subject_kind', '=', 'group')
            .where('subject_id', '=', id)
            .execute();
          await transaction
            .deleteFrom('group_members')
            .where('territory_id', '=', territory)
            .where('group_id', '=', id)
            .execute();
          await transaction.deleteFrom('groups').where('territory_id', '=', territory).where('id', '=', id).execute();
          await written(transaction, act, 'removeGroup', { name: group.name, members: group.members });
        }),
      );
    },
    add(act) {
      const { territory, id, actor, person } = act;
      const place = placeOf(territory);
      return transact(db, async (transaction) => {
        await turnOf(transaction, territory);
        const group = await existing(transaction, territory, id);
        const member = await existingMember(transaction, territory, person);
        const groups = await groupsOf(transaction, territory, person);
        if (groups.includes(id)) return;
        if (groups.length >= PEOPLE_LIMITS.groupsOfPersonMax)
          throw new IdlewildError('conflict', `${member.name} is in ${groups.length} groups, and in no more than that`);
        const given = await boundToGroup(transaction, place, id);
        const how = `put ${member.name} into the group ${group.name}`;
        await requirePermissions(transaction, place, actor, given, how);
        await requireNamedGroups(transaction, place, actor, [group.name], how);
        await transaction
          .insertInto('group_members')
          .values({ territory_id: territory, group_id: id, person_id: person })
          .execute();
        await written(transaction, act, 'addToGroup', { group: group.name, person });
      });
    },
    take(act) {
      const { territory, id, actor, person } = act;
      const place = placeOf(territory);
      return transact(db, (transaction) =>
        keepingASteward(transaction, place, async () => {
          const group = await existing(transaction, territory, id);
          const member = await existingMember(transaction, territory, person);
          const bound = await boundToGroup(transaction, place, id);
          const how = `take ${member.name} out of the group ${group.name}`;
          if (actor !== person) await requireSteward(transaction, place, actor, bound, how);
          await requireNamedGroups(transaction, place, actor, [group.name], how);
          const { numDeletedRows } = await transaction
            .deleteFrom('group_members')
            .where('territory_id', '=', territory)
            .where('group_id', '=', id)
            .where('person_id', '=', person)
            .executeTakeFirst();
          if (numDeletedRows === 0n)
            throw new IdlewildError('not_found', `${member.name} is not in the group ${group.name}`);
          await written(transaction, act, 'takeFromGroup', { group: group.name, person });
        }),
      );
    },
  };
}
