/** Who somebody is in a territory, for herself: name, roles and where they hold, groups, communities. */
import type { Database } from '../db/schema.ts';
import type { MemberState } from '../db/schema/people.ts';
import { actorOf, personOf, type Principal } from '../identity/principal.ts';
import type { Community } from './communities.ts';
import { provedCommunities, shownTo, type Shown } from './proved.ts';
import type { Scope } from './standing.ts';

export interface HeldRole {
  /** Of the binding; absent for what a key was made with. */
  readonly binding?: string;
  readonly role: string;
  readonly scope: Scope;
  readonly expiresAtMs: number | null;
  /** Through what she has it. */
  readonly by: 'key' | 'person' | 'group';
  /** Of the group. */
  readonly group?: string;
}

export interface Self {
  readonly kind: Principal['kind'];
  readonly id: string;
  /** Of the member, or of a key that is nobody's own. */
  readonly name: string;
  /** Behind the asker. */
  readonly person: string | undefined;
  readonly state: MemberState | undefined;
  readonly roles: readonly HeldRole[];
  readonly groups: readonly { readonly id: string; readonly name: string }[];
  /** Those that her session speaks for (`proved.ts`); a key knows its own territory only. */
  readonly communities: readonly Community[];
  /** How far they, and her own devices, are all of them. */
  readonly shows: Shown;
}

export interface SelfDeps {
  readonly db: Database;
  readonly clock: { now(): number };
}

export async function selfOf({ db, clock }: SelfDeps, asker: Principal): Promise<Self> {
  const { territory } = asker;
  const person = personOf(asker);
  const id = actorOf(asker);
  const member = person === undefined ? undefined : await memberOf(db, territory, person);
  const groups = person === undefined ? [] : await groupsOf(db, territory, person);
  const bound = await rolesOf(db, territory, [id, ...(person === undefined ? [] : [person])], groups, clock.now());
  const own: HeldRole[] =
    asker.kind === 'key'
      ? [{ role: asker.role, scope: { kind: 'territory', id: '' }, expiresAtMs: null, by: 'key' }]
      : [];
  return {
    kind: asker.kind,
    id,
    name: member?.name ?? (asker.kind === 'key' ? asker.name : ''),
    person,
    state: member?.state,
    roles: [...own, ...bound],
    groups,
    communities: await provedCommunities(db, asker),
    shows: await shownTo(db, asker),
  };
}

async function memberOf(db: Database, territory: string, person: string) {
  return db
    .selectFrom('members')
    .select(['name', 'state'])
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .executeTakeFirst();
}

export async function groupsOf(
  db: Database,
  territory: string,
  person: string,
): Promise<{ id: string; name: string }[]> {
  return db
    .selectFrom('group_members')
    .innerJoin('groups', (join) =>
      join
        .onRef('groups.territory_id', '=', 'group_members.territory_id')
        .onRef('groups.id', '=', 'group_members.group_id'),
    )
    .select(['groups.id', 'groups.name'])
    .where('group_members.territory_id', '=', territory)
    .where('group_members.person_id', '=', person)
    .orderBy('groups.name')
    .execute();
}

/** Bound to any of these subjects or groups, and not expired. */
export async function rolesOf(
  db: Database,
  territory: string,
  subjects: readonly string[],
  groups: readonly { readonly id: string; readonly name: string }[],
  nowMs: number,
): Promise<HeldRole[]> {
  const names = new Map(groups.map((group) => [group.id, group.name]));
  const rows = await db
    .selectFrom('bindings')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('subject_id', 'in', [...subjects, ...names.keys()])
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .orderBy('role')
    .orderBy('id')
    .execute();
  return rows.map((row) => {
    const group = names.get(row.subject_id);
    return {
      binding: row.id,
      role: row.role,
      scope: { kind: row.scope_kind, id: row.scope_id },
      expiresAtMs: row.expires_at_ms,
      by: row.subject_kind,
      ...(group === undefined ? {} : { group }),
    };
  });
}
