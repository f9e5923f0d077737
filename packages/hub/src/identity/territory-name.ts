/**
 * What people call a territory. Its stewards change it while it is served: what is told to devices, to callers and to
 * the network is the name as it is now. Nothing is known by it, and nothing signed holds it: an id is what counts, so
 * two communities of one hub may have one name, and neither is told of the other.
 *
 * A replica where it is changed knows it at once; the others hear it from who looks at the database (`house/`).
 */
import { IdlewildError, LIMITS } from '@idlewild/protocol';
import type { Audit } from '../audit/audit.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';

export interface TerritoryName {
  /** As it is known here. */
  current(): string;
  /** What the database says by now. */
  heard(name: string): void;
  /** Throws `invalid_request` for what is no name. */
  rename(order: { readonly name: string; readonly actor: string }): Promise<void>;
  /** Told of every other name from now on. */
  onChange(listener: (name: string) => void): void;
}

export interface TerritoryNameDeps {
  readonly db: Database;
  readonly audit: Audit;
}

export function createTerritoryName(
  { db, audit }: TerritoryNameDeps,
  { id, name: first }: { readonly id: string; readonly name: string },
): TerritoryName {
  let known = first;
  const listeners: ((name: string) => void)[] = [];

  function heard(name: string): void {
    if (name === known) return;
    known = name;
    for (const listener of listeners) listener(name);
  }

  return {
    current: () => known,
    heard,
    async rename({ name, actor }) {
      checkTerritoryName(name);
      await transact(db, async (transaction) => {
        const row = await transaction
          .selectFrom('territories')
          .select('name')
          .where('id', '=', id)
          .executeTakeFirstOrThrow();
        if (row.name === name) return;
        await transaction.updateTable('territories').set({ name }).where('id', '=', id).execute();
        const details = { name, before: row.name };
        await audit.append(transaction, { territory: id, actor, action: 'renameTerritory', subject: id, details });
      });
      heard(name);
    },
    onChange: (listener) => void listeners.push(listener),
  };
}

/** Throws `invalid_request`. */
export function checkTerritoryName(name: string): void {
  const isName = name.trim() === name && name !== '' && name.length <= LIMITS.nameCharactersMax;
  if (isName && !/[\p{C}\p{Zl}\p{Zp}]/u.test(name)) return;
  throw new IdlewildError(
    'invalid_request',
    `a community's name has 1 to ${LIMITS.nameCharactersMax} visible characters, and no space around them`,
    { details: { param: 'name' } },
  );
}
