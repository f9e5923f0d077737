/**
 * In which territories of this hub somebody is a member. It is asked for that person alone, by what proved to be her;
 * nobody learns from it where others are.
 */
import type { Database } from '../db/schema.ts';
import type { MemberState } from '../db/schema/people.ts';

export interface Community {
  /** Of the territory. */
  readonly id: string;
  readonly name: string;
  /** What she is called there. */
  readonly called: string;
  readonly state: MemberState;
}

/** By name, without those that are closed. */
export async function communitiesOf(db: Database, person: string): Promise<Community[]> {
  const rows = await db
    .selectFrom('members')
    .innerJoin('territories', 'territories.id', 'members.territory_id')
    .select(['territories.id', 'territories.name', 'members.name as called', 'members.state'])
    .where('members.person_id', '=', person)
    .where('territories.closed_at_ms', 'is', null)
    .orderBy('territories.name')
    .orderBy('territories.id')
    .execute();
  return rows;
}

/** Of these ids, those that are open: what a community is called everybody may read at its address. */
export async function openAmong(
  db: Database,
  ids: readonly string[],
): Promise<{ readonly id: string; readonly name: string }[]> {
  if (ids.length === 0) return [];
  return db
    .selectFrom('territories')
    .select(['id', 'name'])
    .where('id', 'in', ids)
    .where('closed_at_ms', 'is', null)
    .orderBy('name')
    .execute();
}

/** Whether this hub has any besides; nobody learns which. */
export async function hasOthers(db: Database, territory: string): Promise<boolean> {
  const other = await db
    .selectFrom('territories')
    .select('id')
    .where('id', '!=', territory)
    .where('closed_at_ms', 'is', null)
    .limit(1)
    .executeTakeFirst();
  return other !== undefined;
}
