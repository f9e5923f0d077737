/**
 * The audit log by who acted, what was done and on what, each in the order of the log: so it is searched. What counted
 * acts of one kind by their time does that by their numbers now. Hubs of before may work beside. Like every migration,
 * this file is never changed once released.
 */
import { sql, type Kysely } from 'kysely';

export async function auditByWhoAndWhat({ schema }: Kysely<unknown>): Promise<void> {
  // Not by `seq` itself: SQLite would rather take a stretch of the primary key, and read all of it.
  const number = sql`(seq + 0)`;
  for (const column of ['actor', 'action', 'subject']) {
    const index = schema.createIndex(`audit_of_${column}`).on('audit');
    await index.columns(['territory_id', column]).expression(number).execute();
  }
  await schema.dropIndex('audit_by_action').execute();
}
