/**
 * Models that are never removed from a device to make room. `../schema.ts` says what the column means. Like every
 * migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';

export async function placement(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .alterTable('models')
    .addColumn('pinned', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
}
