/**
 * The first tables: territories, keys, invites and devices; models, requests with their journal and receipts; the audit
 * log. `../schema.ts` says what each column means. Like every migration, this file is never changed once released.
 */
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function first(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await people(db, { bytes, instant });
  await work(db, { bytes, instant });
  await db.schema
    .createTable('audit')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('seq', 'integer', (column) => column.notNull())
    .addColumn('at_ms', instant, (column) => column.notNull())
    .addColumn('actor', 'text', (column) => column.notNull())
    .addColumn('action', 'text', (column) => column.notNull())
    .addColumn('subject', 'text', (column) => column.notNull())
    .addColumn('details_json', 'text', (column) => column.notNull())
    .addColumn('previous_hash', bytes, (column) => column.notNull())
    .addColumn('hash', bytes, (column) => column.notNull())
    .addPrimaryKeyConstraint('audit_primary', ['territory_id', 'seq'])
    .execute();
}

async function people(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('territories')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('public_key', bytes, (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('keys')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('role', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant)
    .addColumn('revoked_at_ms', instant)
    .execute();
  await db.schema.createIndex('keys_by_territory').on('keys').columns(['territory_id', 'created_at_ms']).execute();
  await db.schema
    .createTable('invites')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('hash', 'text', (column) => column.notNull().unique())
    .addColumn('uses_left', 'integer', (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addColumn('created_by', 'text', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('devices')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('public_key', bytes, (column) => column.notNull())
    .addColumn('enrolled_at_ms', instant, (column) => column.notNull())
    .addColumn('last_seen_at_ms', instant, (column) => column.notNull())
    .addColumn('revoked_at_ms', instant)
    .addColumn('consent', bytes, (column) => column.notNull())
    .addColumn('profile_json', 'text', (column) => column.notNull())
    // One device may lend itself to several territories of the same database.
    .addPrimaryKeyConstraint('devices_primary', ['territory_id', 'id'])
    .execute();
}

async function work(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('models')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('cid', 'text', (column) => column.notNull())
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('manifest', bytes, (column) => column.notNull())
    .addColumn('bytes', 'bigint', (column) => column.notNull())
    .addColumn('added_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('models_primary', ['territory_id', 'cid'])
    .addUniqueConstraint('models_name', ['territory_id', 'name'])
    .execute();
  await db.schema
    .createTable('requests')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('model_cid', 'text', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('reason', 'text')
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('finished_at_ms', instant)
    .addColumn('prompt_tokens', 'integer', (column) => column.notNull())
    .addColumn('answer_tokens', 'integer', (column) => column.notNull())
    .addColumn('failovers', 'integer', (column) => column.notNull())
    .addColumn('exact', 'integer', (column) => column.notNull())
    .execute();
  await db.schema.createIndex('requests_by_state').on('requests').columns(['territory_id', 'state']).execute();
  await db.schema
    .createIndex('requests_by_key')
    .on('requests')
    .columns(['territory_id', 'key_id', 'created_at_ms'])
    .execute();
  await db.schema
    .createTable('journal')
    .addColumn('request_id', 'text', (column) => column.notNull().references('requests.id').onDelete('cascade'))
    .addColumn('seq', 'integer', (column) => column.notNull())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('sealed', bytes, (column) => column.notNull())
    .addPrimaryKeyConstraint('journal_primary', ['request_id', 'seq'])
    .execute();
  await db.schema
    .createTable('receipts')
    .addColumn('lease', 'text', (column) => column.primaryKey())
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('request_id', 'text', (column) => column.notNull())
    .addColumn('device_id', 'text', (column) => column.notNull())
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('statement', bytes, (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .execute();
  await db.schema.createIndex('receipts_by_request').on('receipts').columns(['territory_id', 'request_id']).execute();
}
