/**
 * Nobody gives what she does not hold: not by a binding, a role, a group, an invitation or a key, not in more places,
 * not for longer.
 *
 * A steward holds everything, also what is added later; whoever holds every action that there is today is still no
 * steward. What is asked is read in the transaction of the act, under the territory's turn (`turnOf`), so that nobody
 * gives away what is being taken from her.
 */
import { IdlewildError } from '@idlewild/protocol';
import { oneAtATime } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Action } from '../policy/actions.ts';
import { policyNames } from './policy-names.ts';
import {
  TERRITORY,
  holdingsOf,
  isWithin,
  permissionsOf,
  type Holding,
  type Permissions,
  type Place,
  type Scope,
} from './standing.ts';

/**
 * Waits until no other transaction changes who may do what in `territory`. Taken before anything is read, and before
 * the audit log's own turn.
 */
export const turnOf = (transaction: DatabaseTransaction, territory: string): Promise<void> =>
  oneAtATime(transaction, `people ${territory}`);

/** What is given, where, until when; `null` is until it is taken. */
export interface Grant {
  /** By which it is given; absent: by none that has a name yet. */
  readonly role?: string;
  readonly permissions: Permissions;
  readonly scope: Scope;
  readonly untilMs: number | null;
}

/** What she lacks of it; `all` where it is a steward's. */
function missing(holdings: readonly Holding[], { permissions, scope, untilMs }: Grant): (Action | 'all')[] {
  const lasts = (until: number | null): boolean => until === null || (untilMs !== null && untilMs <= until);
  const held = holdings.filter((holding) => isWithin(scope, holding.scope) && lasts(holding.untilMs));
  if (held.some((holding) => holding.permissions === 'all')) return [];
  if (permissions === 'all') return ['all'];
  return [...permissions].filter(
    (action) => !held.some((holding) => holding.permissions !== 'all' && holding.permissions.has(action)),
  );
}

export interface RoleGrant {
  readonly role: string;
  readonly scope: Scope;
  readonly untilMs: number | null;
}

/**
 * Throws `forbidden` unless `actor` (the id of a person or a key) may give these roles. `how` says what she is about to
 * do, for the message: "give the role auditor".
 */
export async function requireGrant(
  transaction: Database,
  place: Place,
  actor: string,
  grants: readonly RoleGrant[],
  how: string,
): Promise<void> {
  const permissions = await permissionsOf(
    transaction,
    place.territory,
    grants.map(({ role }) => role),
  );
  const asked = grants.map((grant) => ({ ...grant, permissions: permissions(grant.role) }));
  await requirePermissions(transaction, place, actor, asked, how);
}

/** The same for permissions of whatever role. */
export async function requirePermissions(
  transaction: Database,
  place: Place,
  actor: string,
  grants: readonly Grant[],
  how: string,
): Promise<void> {
  if (grants.length === 0) return;
  const holdings = await holdingsOf(transaction, place, actor);
  const { namesRole } = await policyNames(transaction, place.territory);
  for (const grant of grants) {
    const isNamed = grant.role !== undefined && namesRole(grant.role);
    const asked: Grant = isNamed ? { ...grant, permissions: 'all' } : grant;
    const lacked = missing(holdings, asked);
    if (lacked.length === 0) continue;
    const isOfPolicy = isNamed && grant.permissions !== 'all';
    throw refusal(holdings, asked, lacked, isOfPolicy ? `${how} (a policy of the territory names this role)` : how);
  }
}

/**
 * Throws `forbidden` where a policy of the territory names one of these groups and `actor` is no steward. What is bound
 * to a group is asked about by its roles.
 */
export async function requireNamedGroups(
  transaction: Database,
  place: Place,
  actor: string,
  names: readonly string[],
  how: string,
): Promise<void> {
  const { namesGroup } = await policyNames(transaction, place.territory);
  const named = names.find((name) => namesGroup(name));
  if (named === undefined) return;
  const grant: Grant = { permissions: 'all', scope: TERRITORY, untilMs: 0 };
  await requirePermissions(transaction, place, actor, [grant], `${how} (a policy of the territory names ${named})`);
}

const NAMED_MAX = 5;

function refusal(holdings: readonly Holding[], grant: Grant, lacked: (Action | 'all')[], how: string): IdlewildError {
  const isForNow = grant.untilMs === null || grant.untilMs > 0;
  const heldForNow = isForNow && missing(holdings, { ...grant, untilMs: 0 }).length === 0;
  const where =
    grant.scope.kind === 'territory' ? 'in the whole territory' : `on the ${grant.scope.kind} ${grant.scope.id}`;
  const named = lacked.slice(0, NAMED_MAX).join(', ') + (lacked.length > NAMED_MAX ? ', …' : '');
  const what = lacked[0] === 'all' ? 'everything, as a steward does,' : named;
  const why = heldForNow
    ? `you hold ${what} ${where} for a shorter time; let it expire earlier`
    : `you do not hold ${what} ${where}, and nobody gives what she does not hold; ask a steward`;
  return new IdlewildError('forbidden', `you may not ${how}: ${why}`, {
    details: { lacked: lacked.slice(0, NAMED_MAX) },
  });
}
