/**
 * A database holds many territories, and one that is closed keeps its rows and is served no longer. A hub of before
 * serves one territory and refuses a database of several. Like every migration, this file is never changed once
 * released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function territories({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema.alterTable('territories').addColumn('closed_at_ms', instant).execute();
}
