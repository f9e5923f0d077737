/** Who waits for whom in a PostgreSQL database, for tests in which several do something at one moment. */
import { sql } from 'kysely';
import type { Database } from '../db/schema.ts';

/** How many transactions wait for a lock of another's. */
export async function lockWaits(db: Database): Promise<number> {
  // A lock on a row is of no database, but whoever waits for one has others of this one.
  const { rows } = await sql<{ waits: number }>`
    select count(*)::int as waits from pg_locks where not granted and pid in (
      select pid from pg_locks where database = (select oid from pg_database where datname = current_database())
    )`.execute(db);
  return rows[0]?.waits ?? 0;
}
