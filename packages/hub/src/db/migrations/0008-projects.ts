/**
 * Projects, allocations, caps, and what was spent and is held of them; which device ended a request and what that drew.
 * `../schema/projects.ts` and `../schema.ts` say what each column means. Like every migration, this file is never
 * changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function projects(db: Kysely<unknown>, columns: ColumnTypes): Promise<void> {
  await accounts(db, columns);
  await allocations(db, columns);
  await spending(db, columns);
  await requests(db);
}

async function accounts({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('projects')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('purpose', 'text', (column) => column.notNull())
    .addColumn('description', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('closed_at_ms', instant)
    .addUniqueConstraint('projects_name', ['territory_id', 'name'])
    .execute();
}

async function allocations({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  let table = schema
    .createTable('allocations')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('project_id', 'text', (column) => column.notNull().references('projects.id'))
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('why', 'text', (column) => column.notNull())
    .addColumn('granted_device_ms', 'bigint')
    .addColumn('from_ms', instant, (column) => column.notNull())
    .addColumn('to_ms', instant, (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull());
  for (const amount of [
    'asked_tokens',
    'asked_device_ms',
    'asked_bytes',
    'granted_tokens',
    'granted_bytes',
    'spent_tokens',
    'spent_device_ms',
    'held_tokens',
  ])
    table = table.addColumn(amount, 'bigint', (column) => column.notNull().defaultTo(0));
  await table.execute();
  await schema
    .createIndex('allocations_by_project')
    .on('allocations')
    .columns(['territory_id', 'project_id', 'state'])
    .execute();
  await schema
    .createTable('allocation_history')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('allocation_id', 'text', (column) => column.notNull().references('allocations.id'))
    .addColumn('seq', 'integer', (column) => column.notNull())
    .addColumn('act', 'text', (column) => column.notNull())
    .addColumn('at_ms', instant, (column) => column.notNull())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('tokens', 'bigint', (column) => column.notNull())
    .addColumn('device_ms', 'bigint')
    .addColumn('bytes', 'bigint', (column) => column.notNull())
    .addColumn('from_ms', instant, (column) => column.notNull())
    .addColumn('to_ms', instant, (column) => column.notNull())
    .addColumn('note', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('allocation_history_primary', ['territory_id', 'allocation_id', 'seq'])
    .execute();
}

async function spending({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('spend_caps')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('subject_id', 'text', (column) => column.notNull())
    .addColumn('tokens_per_day', 'bigint')
    .addColumn('requests_per_day', 'bigint')
    .addColumn('tokens_per_minute', 'bigint')
    .addColumn('requests_per_minute', 'bigint')
    .addPrimaryKeyConstraint('spend_caps_primary', ['territory_id', 'kind', 'subject_id'])
    .execute();
  await schema
    .createTable('spend_settings')
    .addColumn('territory_id', 'text', (column) => column.primaryKey().references('territories.id'))
    .addColumn('allocations', 'text', (column) => column.notNull())
    .addColumn('floor_tokens', 'bigint', (column) => column.notNull())
    .addColumn('floor_requests', 'bigint', (column) => column.notNull())
    .execute();
  let days = schema
    .createTable('spend_days')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('subject_id', 'text', (column) => column.notNull())
    .addColumn('day', 'integer', (column) => column.notNull());
  for (const amount of ['tokens', 'held', 'requests'])
    days = days.addColumn(amount, 'bigint', (column) => column.notNull());
  await days.addPrimaryKeyConstraint('spend_days_primary', ['territory_id', 'day', 'kind', 'subject_id']).execute();
  await schema
    .createTable('spend_holds')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('day', 'integer', (column) => column.notNull())
    .addColumn('accounts_json', 'text', (column) => column.notNull())
    .addColumn('payer', 'text')
    .addColumn('tokens', 'bigint', (column) => column.notNull())
    .addColumn('left_tokens', 'bigint', (column) => column.notNull())
    .addColumn('ended', 'integer', (column) => column.notNull().defaultTo(0))
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .execute();
  await schema
    .createIndex('spend_holds_by_expiry')
    .on('spend_holds')
    .columns(['territory_id', 'expires_at_ms'])
    .execute();
}

async function requests({ schema }: Kysely<unknown>): Promise<void> {
  for (const column of ['hold_id', 'device_id'])
    await schema.alterTable('requests').addColumn(column, 'text').execute();
  for (const table of ['requests', 'usage'])
    await schema
      .alterTable(table)
      .addColumn('energy_mwh', 'bigint', (column) => column.notNull().defaultTo(0))
      .execute();
  await schema
    .createIndex('requests_by_device')
    .on('requests')
    .columns(['territory_id', 'device_id', 'finished_at_ms'])
    .execute();
}
