/**
 * People, groups, roles and who has them, and whose keys and devices are. `../schema/people.ts` says what each column
 * means. A hub of before knows none of it and would let in whom a territory shut out, so it may not work beside. Like
 * every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function people(db: Kysely<unknown>, columns: ColumnTypes): Promise<void> {
  await persons(db, columns);
  await roles(db, columns);
  await owners(db);
}

async function persons({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('people')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .execute();
  await schema
    .createTable('members')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('person_id', 'text', (column) => column.notNull().references('people.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('joined_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('members_primary', ['territory_id', 'person_id'])
    .addUniqueConstraint('members_name', ['territory_id', 'name'])
    .execute();
  await schema.createIndex('members_by_person').on('members').columns(['person_id']).execute();
  await schema
    .createTable('groups')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addUniqueConstraint('groups_name', ['territory_id', 'name'])
    .execute();
  await schema
    .createTable('group_members')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('group_id', 'text', (column) => column.notNull().references('groups.id').onDelete('cascade'))
    .addColumn('person_id', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('group_members_primary', ['territory_id', 'group_id', 'person_id'])
    .execute();
  await schema
    .createIndex('group_members_by_person')
    .on('group_members')
    .columns(['territory_id', 'person_id'])
    .execute();
}

async function roles({ schema }: Kysely<unknown>, { instant }: ColumnTypes): Promise<void> {
  await schema
    .createTable('roles')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('permissions_json', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('roles_primary', ['territory_id', 'name'])
    .execute();
  await schema
    .createTable('bindings')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('subject_kind', 'text', (column) => column.notNull())
    .addColumn('subject_id', 'text', (column) => column.notNull())
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('scope_kind', 'text', (column) => column.notNull())
    .addColumn('scope_id', 'text', (column) => column.notNull())
    .addColumn('expires_at_ms', instant)
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .execute();
  await schema
    .createIndex('bindings_by_subject')
    .on('bindings')
    .columns(['territory_id', 'subject_kind', 'subject_id'])
    .execute();
  await schema
    .createTable('versions')
    .addColumn('territory_id', 'text', (column) => column.primaryKey())
    .addColumn('version', 'bigint', (column) => column.notNull())
    .execute();
}

async function owners({ schema }: Kysely<unknown>): Promise<void> {
  await schema.alterTable('keys').addColumn('person_id', 'text').execute();
  await schema.alterTable('keys').addColumn('project_id', 'text').execute();
  await schema
    .alterTable('keys')
    .addColumn('data_class', 'text', (column) => column.notNull().defaultTo('internal'))
    .execute();
  await schema.alterTable('devices').addColumn('person_id', 'text').execute();
  await schema
    .alterTable('devices')
    .addColumn('tier', 'text', (column) => column.notNull().defaultTo('member'))
    .execute();
  await schema
    .createTable('device_pools')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('pool', 'text', (column) => column.notNull())
    .addColumn('device_id', 'text', (column) => column.notNull())
    .addPrimaryKeyConstraint('device_pools_primary', ['territory_id', 'pool', 'device_id'])
    .execute();
}
