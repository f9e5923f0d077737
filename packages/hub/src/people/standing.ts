/**
 * What somebody holds in a territory at this moment, as a transaction reads it: roles, where, and until when.
 *
 * For acts that give or take rights, which must not go by what was known half a second ago; who only asks or reads is
 * decided on by the policy. A person who is not an active member holds nothing; neither does a key that is revoked. A
 * person's own key holds what both hold.
 */
import type { Database } from '../db/schema.ts';
import type { MemberState, ScopeKind, SubjectKind } from '../db/schema/people.ts';
import { ACTIONS, type Action } from '../policy/actions.ts';
import { isBuiltIn, PERMISSIONS } from '../policy/built-in-roles.ts';

/** What a role permits; `all` is also what is added later, and only a steward's. */
export type Permissions = 'all' | ReadonlySet<Action>;

export interface Scope {
  readonly kind: ScopeKind;
  /** Empty for the territory. */
  readonly id: string;
}
export const TERRITORY: Scope = { kind: 'territory', id: '' };

export interface Holding {
  readonly role: string;
  readonly permissions: Permissions;
  readonly scope: Scope;
  /** `null`: until it is taken. */
  readonly untilMs: number | null;
}

/** In which territory, and when. */
export interface Place {
  readonly territory: string;
  readonly nowMs: number;
}

export type Subject = { readonly kind: SubjectKind; readonly id: string };

/** Names of roles, with what they permit now; an unknown one permits nothing. */
export async function permissionsOf(
  source: Database,
  territory: string,
  roles: readonly string[],
): Promise<(role: string) => Permissions> {
  const own = roles.filter((role) => !isBuiltIn(role));
  const rows =
    own.length === 0
      ? []
      : await source
          .selectFrom('roles')
          .select(['name', 'permissions_json'])
          .where('territory_id', '=', territory)
          .where('name', 'in', [...new Set(own)])
          .execute();
  const custom = new Map(rows.map((row) => [row.name, actionsOf(row.permissions_json)]));
  return (role) => builtIn(role) ?? custom.get(role) ?? new Set<Action>();
}

const builtIn = (role: string): Permissions | undefined => {
  if (!isBuiltIn(role)) return undefined;
  return role === 'steward' ? 'all' : new Set(PERMISSIONS[role]);
};

/** Those that there still are: an action that an update took away permits nothing. */
export const actionsOf = (permissionsJson: string): Set<Action> =>
  new Set((JSON.parse(permissionsJson) as string[]).filter((name): name is Action => Object.hasOwn(ACTIONS, name)));

/** What `actor`, the id of a person or a key, holds; nothing is held by whoever is neither. */
export async function holdingsOf(source: Database, place: Place, actor: string): Promise<Holding[]> {
  if (actor.startsWith('per_')) return personHoldings(source, place, actor);
  return actor.startsWith('key_') ? keyHoldings(source, place, actor) : [];
}

async function personHoldings(source: Database, place: Place, person: string): Promise<Holding[]> {
  if ((await memberState(source, place.territory, person)) !== 'active') return [];
  const groups = await groupsOf(source, place.territory, person);
  return boundTo(source, place, [
    { kind: 'person', id: person },
    ...groups.map((id) => ({ kind: 'group', id }) as const),
  ]);
}

export async function memberState(
  source: Database,
  territory: string,
  person: string,
): Promise<MemberState | undefined> {
  const row = await source
    .selectFrom('members')
    .select('state')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .executeTakeFirst();
  return row?.state;
}

export async function groupsOf(source: Database, territory: string, person: string): Promise<string[]> {
  const rows = await source
    .selectFrom('group_members')
    .select('group_id')
    .where('territory_id', '=', territory)
    .where('person_id', '=', person)
    .orderBy('group_id')
    .execute();
  return rows.map((row) => row.group_id);
}

async function keyHoldings(source: Database, place: Place, key: string): Promise<Holding[]> {
  const row = await source
    .selectFrom('keys')
    .select(['role', 'person_id', 'expires_at_ms', 'revoked_at_ms'])
    .where('territory_id', '=', place.territory)
    .where('id', '=', key)
    .executeTakeFirst();
  if (row === undefined || row.revoked_at_ms !== null) return [];
  const until = row.expires_at_ms;
  if (until !== null && until <= place.nowMs) return [];
  const permissions = (await permissionsOf(source, place.territory, [row.role]))(row.role);
  const bound = await boundTo(source, place, [{ kind: 'key', id: key }]);
  const own = [{ role: row.role, permissions, scope: TERRITORY, untilMs: until }, ...bound].map((holding) => ({
    ...holding,
    untilMs: earlier(holding.untilMs, until),
  }));
  if (row.person_id === null) return own;
  return both(own, await personHoldings(source, place, row.person_id));
}

/** What is bound to any of these and has not expired. */
export async function boundTo(source: Database, place: Place, subjects: readonly Subject[]): Promise<Holding[]> {
  const rows = await source
    .selectFrom('bindings')
    .select(['role', 'scope_kind', 'scope_id', 'expires_at_ms'])
    .where('territory_id', '=', place.territory)
    .where((row) =>
      row.or(subjects.map(({ kind, id }) => row.and([row('subject_kind', '=', kind), row('subject_id', '=', id)]))),
    )
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', place.nowMs)]))
    .execute();
  const permissions = await permissionsOf(
    source,
    place.territory,
    rows.map(({ role }) => role),
  );
  return rows.map((row) => ({
    role: row.role,
    permissions: permissions(row.role),
    scope: { kind: row.scope_kind, id: row.scope_id },
    untilMs: row.expires_at_ms,
  }));
}

/** What is held by both: where, as long as, and as far as both hold it. */
function both(some: readonly Holding[], others: readonly Holding[]): Holding[] {
  return some.flatMap((one) =>
    others.flatMap((other) => {
      const scope = isWithin(one.scope, other.scope) ? one.scope : other.scope;
      if (!isWithin(scope, one.scope) || !isWithin(scope, other.scope)) return [];
      const permissions = common(one.permissions, other.permissions);
      return [{ role: one.role, permissions, scope, untilMs: earlier(one.untilMs, other.untilMs) }];
    }),
  );
}

function common(one: Permissions, other: Permissions): Permissions {
  if (one === 'all') return other;
  return other === 'all' ? one : new Set([...one].filter((action) => other.has(action)));
}

const earlier = (one: number | null, other: number | null): number | null =>
  one === null || other === null ? (one ?? other) : Math.min(one, other);

/** Whether all of `scope` is in `whole`. */
export const isWithin = (scope: Scope, whole: Scope): boolean =>
  whole.kind === 'territory' || (scope.kind === whole.kind && scope.id === whole.id);
