/** Whose accounts somebody spends from: those of the territory, the key, its person and its project. */
import type { DatabaseTransaction } from '../db/schema.ts';
import type { CapKind } from '../db/schema/projects.ts';

/** Who asks. */
export interface Spender {
  readonly keyId: string;
  readonly person?: string | undefined;
  readonly project?: string | undefined;
}

/** Whose caps hold for somebody. */
export function subjectsOf({
  keyId,
  person,
  project,
}: Spender): { readonly kind: CapKind; readonly subject: string }[] {
  return [
    { kind: 'territory', subject: '' },
    { kind: 'key', subject: keyId },
    ...(person === undefined ? [] : [{ kind: 'person' as const, subject: person }]),
    ...(project === undefined ? [] : [{ kind: 'project' as const, subject: project }]),
  ];
}

/** By what requests are counted under: keys, and people who ask without one, who are as a key of their own. */
export async function spendersOf(
  tx: DatabaseTransaction,
  territory: string,
  ids: readonly string[],
): Promise<(id: string) => Spender> {
  const rows =
    ids.length === 0
      ? []
      : await tx
          .selectFrom('keys')
          .select(['id', 'person_id', 'project_id'])
          .where('territory_id', '=', territory)
          .where('id', 'in', ids)
          .execute();
  const known = new Map(rows.map((row) => [row.id, row]));
  return (id) => {
    const key = known.get(id);
    return key === undefined
      ? { keyId: id, person: id }
      : { keyId: id, person: key.person_id ?? undefined, project: key.project_id ?? undefined };
  };
}
