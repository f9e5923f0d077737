/**
 * What equal replicas of one hub share: secrets, who is alive, who has which duty, runs that callers may come back to,
 * buckets of limits, and blobs. `../schema.ts` says what each column means.
 *
 * Only added to: a hub of the version before works on these tables as it did (see `../old-and-new.test.ts`). Like every
 * migration, this file is never changed once released.
 */
import { sql, type Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

export async function replicas(db: Kysely<unknown>, columns: ColumnTypes): Promise<void> {
  await hub(db, columns);
  await work(db, columns);
  await blobs(db, columns);
}

async function hub(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await db.schema
    .createIndex('devices_by_revocation')
    .on('devices')
    .columns(['territory_id', 'revoked_at_ms'])
    .execute();
  await db.schema
    .createTable('secrets')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('value', bytes, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('replicas')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('address', 'text', (column) => column.notNull())
    .addColumn('version', 'text', (column) => column.notNull())
    .addColumn('bus', 'integer', (column) => column.notNull())
    .addColumn('state', 'text', (column) => column.notNull())
    .addColumn('devices', 'integer', (column) => column.notNull())
    .addColumn('answers', 'integer', (column) => column.notNull())
    .addColumn('started_at_ms', instant, (column) => column.notNull())
    .addColumn('seen_at_ms', instant, (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('duties')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('holder', 'text', (column) => column.notNull())
    .addColumn('epoch', 'bigint', (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .execute();
}

async function work(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  await db.schema.alterTable('requests').addColumn('owner', 'text').execute();
  await db.schema
    .alterTable('requests')
    .addColumn('owner_epoch', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema.alterTable('requests').addColumn('run_id', 'text').execute();
  await db.schema
    .alterTable('requests')
    .addColumn('choice', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await db.schema.createIndex('requests_by_run').on('requests').columns(['territory_id', 'run_id']).execute();
  await db.schema
    .createTable('runs')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('fingerprint', bytes, (column) => column.notNull())
    .addColumn('request_id', 'text', (column) => column.notNull())
    .addColumn('owner', 'text', (column) => column.notNull())
    .addColumn('epoch', 'integer', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('runs_primary', ['territory_id', 'id'])
    .execute();
  await db.schema
    .createTable('buckets')
    .addColumn('key_id', 'text', (column) => column.primaryKey())
    .addColumn('buckets_json', 'text', (column) => column.notNull())
    .addColumn('used_at_ms', instant, (column) => column.notNull())
    .execute();
  // Full buckets after a crash of the database harm nobody, and a flush to disk for each request would.
  if (bytes === 'bytea') await sql`alter table buckets set unlogged`.execute(db);
}

async function blobs(db: Kysely<unknown>, { bytes }: ColumnTypes): Promise<void> {
  await db.schema
    .createTable('blobs')
    .addColumn('cid', 'text', (column) => column.primaryKey())
    .addColumn('bytes', bytes, (column) => column.notNull())
    .addColumn('size', 'integer', (column) => column.notNull())
    .addColumn('loose', 'integer', (column) => column.notNull())
    .execute();
  // Weights do not compress; trying to is what a write would cost most.
  if (bytes === 'bytea') await sql`alter table blobs alter column bytes set storage external`.execute(db);
  await db.schema
    .createTable('blob_files')
    .addColumn('root', 'text', (column) => column.primaryKey())
    .addColumn('size', 'bigint', (column) => column.notNull())
    .addColumn('finished', 'integer', (column) => column.notNull())
    .execute();
  await db.schema
    .createTable('blob_parts')
    .addColumn('root', 'text', (column) => column.notNull().references('blob_files.root').onDelete('cascade'))
    .addColumn('place', 'integer', (column) => column.notNull())
    .addColumn('cid', 'text', (column) => column.notNull())
    .addColumn('start', 'bigint', (column) => column.notNull())
    .addColumn('size', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('blob_parts_primary', ['root', 'place'])
    .execute();
  await db.schema.createIndex('blob_parts_by_cid').on('blob_parts').columns(['cid']).execute();
  await db.schema
    .createTable('blob_usage')
    .addColumn('id', 'integer', (column) => column.primaryKey())
    .addColumn('bytes', 'bigint', (column) => column.notNull())
    .execute();
}
