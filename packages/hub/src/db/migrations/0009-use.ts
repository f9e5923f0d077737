/**
 * Rules of use, refusals, appeals. `../schema/use.ts` says what each column means. A hub of before would hold nobody
 * to the rules, so it may not work beside. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function use({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('use_rules')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('version', 'integer', (column) => column.notNull())
    .addColumn('rules_json', 'text', (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('use_rules_primary', ['territory_id', 'version'])
    .execute();
  await schema
    .createTable('refusals')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('day', 'integer', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('count', 'bigint', (column) => column.notNull())
    .addPrimaryKeyConstraint('refusals_primary', ['territory_id', 'day', 'reason'])
    .execute();
  await schema
    .createTable('refused')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('person_id', 'text')
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('model', 'text', (column) => column.notNull())
    .addColumn('at_ms', instant, (column) => column.notNull())
    .execute();
  await schema.createIndex('refused_by_time').on('refused').columns(['territory_id', 'at_ms']).execute();
  await schema
    .createTable('appeals')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('refused_id', 'text', (column) => column.notNull().references('refused.id'))
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('words', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('due_at_ms', instant, (column) => column.notNull())
    .addColumn('decided_by', 'text')
    .addColumn('decided_at_ms', instant)
    .addColumn('note', 'text')
    .addUniqueConstraint('appeals_once', ['territory_id', 'refused_id'])
    .execute();
  await schema
    .createIndex('appeals_by_state')
    .on('appeals')
    .columns(['territory_id', 'state', 'created_at_ms'])
    .execute();
  await schema
    .createTable('use_exemptions')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('reason', 'text', (column) => column.notNull())
    .addColumn('until_ms', instant)
    .addPrimaryKeyConstraint('use_exemptions_primary', ['territory_id', 'subject', 'reason'])
    .execute();
}
