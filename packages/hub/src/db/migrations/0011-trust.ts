/**
 * How far invites let devices be trusted, which texts requests were, and who vouches for devices. `../schema.ts` and
 * `../schema/trust.ts` say what each column means. A hub of before would give any text to any device, so it may not
 * work beside. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function trust({ schema }: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await schema
    .alterTable('invites')
    .addColumn('tier', 'text', (column) => column.notNull().defaultTo('member'))
    .execute();
  await schema.alterTable('invites').addColumn('person_id', 'text').execute();
  await schema.alterTable('invites').addColumn('vouch', bytes).execute();
  await schema
    .alterTable('requests')
    .addColumn('data_class', 'text', (column) => column.notNull().defaultTo('internal'))
    .execute();
  await schema.alterTable('requests').addColumn('cause', 'text').execute();
  await schema
    .createTable('steward_keys')
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('public_key', bytes, (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('added_at_ms', instant, (column) => column.notNull())
    .addColumn('added_by', 'text', (column) => column.notNull())
    .addColumn('removed_at_ms', instant)
    .addPrimaryKeyConstraint('steward_keys_primary', ['territory_id', 'id'])
    .execute();
  await schema
    .createTable('device_vouches')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('device_id', 'text', (column) => column.notNull())
    .addColumn('steward_id', 'text', (column) => column.notNull())
    .addColumn('chain', bytes, (column) => column.notNull())
    .addColumn('issued_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('device_vouches_primary', ['territory_id', 'device_id'])
    .execute();
}
