/**
 * Policies that a territory wrote itself, what they said before, and models that are stopped. `../schema/policies.ts`
 * says what each column means. A hub of before would let through what these refuse, so it may not work beside. Like
 * every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function policies({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('policies')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('text', 'text', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('changed_at_ms', instant, (column) => column.notNull())
    .addColumn('changed_by', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('policies_primary', ['territory_id', 'name'])
    .execute();
  await schema
    .createTable('policy_history')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('text', 'text')
    .addColumn('why', 'text', (column) => column.notNull())
    .addColumn('changed_at_ms', instant, (column) => column.notNull())
    .addColumn('changed_by', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('policy_history_primary', ['territory_id', 'name', 'version'])
    .execute();
  await schema
    .createTable('model_stops')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('cid', 'text', (column) => column.notNull())
    .addColumn('why', 'text', (column) => column.notNull())
    .addColumn('stopped_at_ms', instant, (column) => column.notNull())
    .addColumn('stopped_by', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('model_stops_primary', ['territory_id', 'cid'])
    .execute();
}
