/**
 * A database holds many territories, and one that is closed keeps its rows and is served no longer. Which territory
 * brought which bytes, as long as no model of it says so. A hub of before serves one territory and refuses a database
 * of several. Like every migration, this file is never changed once
 * released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function territories({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema.alterTable('territories').addColumn('closed_at_ms', instant).execute();
  await schema
    .createTable('held_blobs')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('cid', 'text', (column) => column.notNull())
    .addColumn('begun_bytes', 'bigint')
    .addPrimaryKeyConstraint('held_blobs_primary', ['territory_id', 'cid'])
    .execute();
}
