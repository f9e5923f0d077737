/**
 * Turns between all replicas, by name.
 *
 * PostgreSQL keeps a turn until the transaction ends, however it ends: also when its process dies, or stands still for
 * so long that the server gives up on it. A name is hashed to 64 bits; two that fell together would only wait for each
 * other. With SQLite there is one process, which has its own ways to take turns.
 */
import { sql, type QueryExecutorProvider } from 'kysely';
import { HUB_LIMITS } from '../limits.ts';
import type { Database } from './schema.ts';
import { isPostgres } from './transact.ts';

/** Waits until no other transaction has the turn `name`, and has it until this one ends. */
export async function oneAtATime(transaction: QueryExecutorProvider, name: string): Promise<void> {
  if (isPostgres(transaction)) await take(transaction, name);
}

/** Throws `database_unavailable` when the turn was lost, and is another's by now. */
export type StillMine = () => Promise<void>;

/**
 * A turn around what is more than one transaction: `act` uses other connections of the pool meanwhile, so a process
 * takes one such turn at a time. Whoever does something in it that cannot be undone asks `stillMine` just before.
 */
export async function inTurn<Result>(
  db: Database,
  name: string,
  act: (stillMine: StillMine) => Promise<Result>,
): Promise<Result> {
  if (!isPostgres(db)) return act(async () => {});
  return db.transaction().execute(async (transaction) => {
    const idleMs = sql.lit(HUB_LIMITS.turnIdleMsMax);
    await sql`set local idle_in_transaction_session_timeout = ${idleMs}`.execute(transaction);
    await take(transaction, name);
    return act(async () => {
      await sql`select 1`.execute(transaction);
    });
  });
}

async function take(transaction: QueryExecutorProvider, name: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(transaction);
}
