/**
 * What a hub keeps for each caller: limits of its key, what it used day by day, and answers that it may ask for again.
 * `../schema.ts` says what each column means. Like every migration, this file is never changed once released.
 */
import { sql, type Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';

const COUNTS = ['requests', 'failed', 'cancelled', 'prompt_tokens', 'cached_tokens', 'answer_tokens', 'device_ms'];

export async function callers(db: Kysely<unknown>, { bytes, instant }: ColumnTypes): Promise<void> {
  for (const column of ['requests_per_minute', 'tokens_per_minute'])
    await db.schema.alterTable('keys').addColumn(column, 'bigint').execute();
  for (const [column, value] of [
    ['counts_prompt', 1],
    ['cached_tokens', 0],
    ['device_ms', 0],
  ] as const)
    await db.schema
      .alterTable('requests')
      .addColumn(column, 'integer', (column) => column.notNull().defaultTo(value))
      .execute();
  let usage = db.schema
    .createTable('usage')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('model_cid', 'text', (column) => column.notNull())
    .addColumn('day', 'integer', (column) => column.notNull());
  for (const count of COUNTS) usage = usage.addColumn(count, 'bigint', (column) => column.notNull());
  await usage.addPrimaryKeyConstraint('usage_primary', ['territory_id', 'key_id', 'model_cid', 'day']).execute();
  await db.schema.createIndex('usage_by_day').on('usage').columns(['territory_id', 'day']).execute();
  // What was answered before there was this table.
  await sql`
    insert into usage (territory_id, key_id, model_cid, day, requests, failed, cancelled, prompt_tokens, cached_tokens,
      answer_tokens, device_ms)
    select territory_id, key_id, model_cid, finished_at_ms / 86400000, count(*),
      sum(case when state = 'failed' then 1 else 0 end), sum(case when state = 'cancelled' then 1 else 0 end),
      sum(prompt_tokens), 0, sum(answer_tokens), 0
    from requests where finished_at_ms is not null
    group by territory_id, key_id, model_cid, finished_at_ms / 86400000`.execute(db);
  await db.schema
    .createTable('kept_answers')
    .addColumn('territory_id', 'text', (column) => column.notNull().references('territories.id'))
    .addColumn('id', 'text', (column) => column.notNull())
    .addColumn('key_id', 'text', (column) => column.notNull())
    .addColumn('sealed', bytes, (column) => column.notNull())
    .addColumn('bytes', 'integer', (column) => column.notNull())
    .addColumn('created_at_ms', instant, (column) => column.notNull())
    .addColumn('expires_at_ms', instant, (column) => column.notNull())
    .addPrimaryKeyConstraint('kept_answers_primary', ['territory_id', 'id'])
    .execute();
  await db.schema
    .createIndex('kept_answers_by_key')
    .on('kept_answers')
    .columns(['territory_id', 'key_id', 'created_at_ms'])
    .execute();
  await db.schema.createIndex('kept_answers_by_expiry').on('kept_answers').columns(['expires_at_ms']).execute();
}
