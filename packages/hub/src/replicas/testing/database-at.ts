/** A database whose time is that of a clock which a test moves, whatever machine it runs on. */
import type { Clock } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { OpenDatabase } from '../../db/open.ts';

export const databaseAt = (database: OpenDatabase, clock: Clock): OpenDatabase => ({
  ...database,
  clock,
  nowMs: () => sql<number>`cast(${clock.now()} as bigint)`,
});

/** What others do at the moment, and in a transaction between two statements. */
const BUSY = sql<{ count: number }>`select count(*) as count from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()
    and backend_type = 'client backend' and state is distinct from 'idle'`;

/** Resolves once everything that was begun on the database is done, and what follows from it without time passing. */
export async function quiet({ db, kind }: OpenDatabase): Promise<void> {
  // SQLite answers before anything else goes on; a chain of statements needs a turn for each.
  if (kind === 'sqlite') {
    for (let turn = 0; turn < 8; turn++) await sql`select 1`.execute(db);
    return;
  }
  // Whoever was seen idle once may just have been between two statements.
  for (let idle = 0; idle < 3;) idle = (await BUSY.execute(db)).rows[0]?.count === 0 ? idle + 1 : 0;
}
