/** What the subjects of bindings are called: members, groups and keys, by their ids. */
import type { Database } from '../db/schema.ts';

export async function subjectNames(
  db: Database,
  territory: string,
  subjects: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const ids = (prefix: string): string[] => [...new Set(subjects.filter((id) => id.startsWith(prefix)))];
  const names = new Map<string, string>();
  const people = ids('per_');
  if (people.length > 0) {
    const rows = await db
      .selectFrom('members')
      .select(['person_id', 'name'])
      .where('territory_id', '=', territory)
      .where('person_id', 'in', people)
      .execute();
    for (const row of rows) names.set(row.person_id, row.name);
  }
  for (const [table, prefix] of [
    ['groups', 'grp_'],
    ['keys', 'key_'],
  ] as const) {
    const wanted = ids(prefix);
    if (wanted.length === 0) continue;
    const rows = await db
      .selectFrom(table)
      .select(['id', 'name'])
      .where('territory_id', '=', territory)
      .where('id', 'in', wanted)
      .execute();
    for (const row of rows) names.set(row.id, row.name);
  }
  return names;
}
