/**
 * Energy in millionths of a watt-hour: the answer of a small model draws less than a thousandth, and was written as
 * nothing. Of a request it is null where no device told; sums count how many those are. Of before, what was written as
 * nothing counts as not told, for nobody knows any more which it was.
 *
 * A hub of before would write what this one does not read, so it may not work beside. Like every migration, this file
 * is never changed once released.
 */
import { sql, type Kysely } from 'kysely';

export async function energy(db: Kysely<unknown>): Promise<void> {
  const { schema } = db;
  await schema.alterTable('requests').addColumn('energy_uwh', 'bigint').execute();
  await sql`update requests set energy_uwh = energy_mwh * 1000 where energy_mwh > 0`.execute(db);
  await schema.alterTable('requests').dropColumn('energy_mwh').execute();

  await schema.alterTable('usage').renameColumn('energy_mwh', 'energy_uwh').execute();
  await schema
    .alterTable('usage')
    .addColumn('energy_untold', 'integer', (column) => column.notNull().defaultTo(0))
    .execute();
  await sql`update usage set energy_uwh = energy_uwh * 1000 where energy_uwh > 0`.execute(db);
  await sql`
    update usage set energy_untold = untold.answers
    from (
      select territory_id, key_id, model_cid, finished_at_ms / 86400000 as day, count(*) as answers
      from requests where (state = 'done' or device_id is not null) and energy_uwh is null
      group by territory_id, key_id, model_cid, finished_at_ms / 86400000
    ) as untold
    where untold.territory_id = usage.territory_id and untold.key_id = usage.key_id
      and untold.model_cid = usage.model_cid and untold.day = usage.day
  `.execute(db);
}
