/**
 * A territory always has a steward: a person, or a service key. Whatever would leave it without one is taken back.
 *
 * Those whose right expires are stewards, too, but not the last ones: where there is one that stays, one stays.
 */
import { IdlewildError } from '@idlewild/protocol';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { turnOf, requirePermissions } from './granting.ts';
import { policyNames } from './policy-names.ts';
import { boundTo, groupsOf, holdingsOf, type Holding, type Place } from './standing.ts';

export interface Steward {
  /** Of a person or a service key. */
  readonly id: string;
  /** `null`: until it is taken. */
  readonly untilMs: number | null;
}

interface Stewards {
  readonly all: number;
  /** Whose right does not expire. */
  readonly lasting: number;
}

/** Runs `act` under the territory's turn. Throws `conflict` where it took the last steward away. */
export async function keepingASteward<Result>(
  transaction: DatabaseTransaction,
  place: Place,
  act: () => Promise<Result>,
): Promise<Result> {
  await turnOf(transaction, place.territory);
  const before = await count(transaction, place);
  const result = await act();
  const after = await count(transaction, place);
  const isLost = (before.all > 0 && after.all === 0) || (before.lasting > 0 && after.lasting === 0);
  if (!isLost) return result;
  throw new IdlewildError(
    'conflict',
    'the territory would be without a steward; make somebody else one first, without an end',
  );
}

async function count(transaction: DatabaseTransaction, place: Place): Promise<Stewards> {
  const stewards = await stewardsIn(transaction, place);
  return { all: stewards.length, lasting: stewards.filter(({ untilMs }) => untilMs === null).length };
}

/** One who is so by several rights is there several times. */
export const stewardsIn = async (source: Database, place: Place): Promise<Steward[]> => [
  ...(await stewardPersons(source, place)),
  ...(await stewardKeys(source, place)),
];

async function stewardPersons(source: Database, { territory, nowMs }: Place): Promise<Steward[]> {
  const live = source
    .selectFrom('bindings')
    .where('bindings.territory_id', '=', territory)
    .where('bindings.role', '=', 'steward')
    .where('bindings.scope_kind', '=', 'territory')
    .where((row) => row.or([row('bindings.expires_at_ms', 'is', null), row('bindings.expires_at_ms', '>', nowMs)]));
  const direct = await live
    .innerJoin('members', (join) =>
      join
        .onRef('members.territory_id', '=', 'bindings.territory_id')
        .onRef('members.person_id', '=', 'bindings.subject_id'),
    )
    .where('bindings.subject_kind', '=', 'person')
    .where('members.state', '=', 'active')
    .select(['members.person_id', 'bindings.expires_at_ms'])
    .execute();
  const grouped = await live
    .innerJoin('group_members', (join) =>
      join
        .onRef('group_members.territory_id', '=', 'bindings.territory_id')
        .onRef('group_members.group_id', '=', 'bindings.subject_id'),
    )
    .innerJoin('members', (join) =>
      join
        .onRef('members.territory_id', '=', 'bindings.territory_id')
        .onRef('members.person_id', '=', 'group_members.person_id'),
    )
    .where('bindings.subject_kind', '=', 'group')
    .where('members.state', '=', 'active')
    .select(['members.person_id', 'bindings.expires_at_ms'])
    .execute();
  return [...direct, ...grouped].map((row) => ({ id: row.person_id, untilMs: row.expires_at_ms }));
}

/** Service keys; what a person's own key may do ends with the person. */
async function stewardKeys(source: Database, { territory, nowMs }: Place): Promise<Steward[]> {
  const rows = await source
    .selectFrom('keys')
    .select(['id', 'expires_at_ms'])
    .where('territory_id', '=', territory)
    .where('role', '=', 'steward')
    .where('person_id', 'is', null)
    .where('revoked_at_ms', 'is', null)
    .where((row) => row.or([row('expires_at_ms', 'is', null), row('expires_at_ms', '>', nowMs)]))
    .execute();
  return rows.map((row) => ({ id: row.id, untilMs: row.expires_at_ms }));
}

/** Throws `forbidden` where `subject`, a person or key, is a steward, suspended or not, and `actor` is none there. */
export async function requireOver(
  transaction: DatabaseTransaction,
  place: Place,
  actor: string,
  subject: string,
  how: string,
): Promise<void> {
  const held = await heldOrBound(transaction, place, subject);
  const stewards = held.filter(({ permissions }) => permissions === 'all');
  await requireSteward(transaction, place, actor, stewards, how);
}

/**
 * Before `taken` goes. Throws `forbidden` where any of it is a steward's, or is named by a policy, which may be what
 * forbids something to whoever has it; and `actor` is no steward there.
 */
export async function requireSteward(
  transaction: DatabaseTransaction,
  place: Place,
  actor: string,
  taken: readonly Holding[],
  how: string,
): Promise<void> {
  const { namesRole } = await policyNames(transaction, place.territory);
  const grants = taken
    .filter(({ role, permissions }) => permissions === 'all' || namesRole(role))
    .map((each) => ({ ...each, untilMs: 0 }));
  await requirePermissions(transaction, place, actor, grants, how);
}

/** Of a person also what is only held again when she is active. */
export async function heldOrBound(
  transaction: DatabaseTransaction,
  place: Place,
  subject: string,
): Promise<readonly Holding[]> {
  if (!subject.startsWith('per_')) return holdingsOf(transaction, place, subject);
  const groups = await groupsOf(transaction, place.territory, subject);
  return boundTo(transaction, place, [
    { kind: 'person', id: subject },
    ...groups.map((id) => ({ kind: 'group', id }) as const),
  ]);
}
