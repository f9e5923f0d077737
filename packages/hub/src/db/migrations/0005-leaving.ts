/**
 * Devices that left of their own accord, and how to count what one gave. `../schema.ts` says what the column means.
 *
 * Only added to: a hub of a version before takes a device that left for a revoked one, which it is, too. Like every
 * migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function leaving(db: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await db.schema.alterTable('devices').addColumn('left_at_ms', instant).execute();
  await db.schema.createIndex('receipts_by_device').on('receipts').columns(['territory_id', 'device_id']).execute();
}
