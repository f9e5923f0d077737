/**
 * Transactions where there are many writers.
 *
 * PostgreSQL runs them at READ COMMITTED: what a transaction read may be another's by the time it writes. Rooms
 * therefore put the condition into the write itself, or take turns by `oneAtATime`, or lock the row that they decide
 * on (`row-lock.ts`). What is left is a deadlock, of which PostgreSQL ends one side; `transact` runs that side again.
 * With SQLite there is one writer, and all of this is nothing.
 */
import { PostgresAdapter, type QueryExecutorProvider } from 'kysely';
import { HUB_LIMITS } from '../limits.ts';
import { isRetryable } from './postgres-errors.ts';
import type { Database, DatabaseTransaction } from './schema.ts';

export const isPostgres = (db: QueryExecutorProvider): boolean => db.getExecutor().adapter instanceof PostgresAdapter;

/**
 * Runs `act` in a transaction, again from its beginning when PostgreSQL ended it for another's sake. `act` must be
 * able to run twice: it changes nothing outside of the transaction, or says the same again.
 */
export function transact<Result>(
  db: Database,
  act: (transaction: DatabaseTransaction) => Promise<Result>,
): Promise<Result> {
  return isPostgres(db) ? again(db, act) : db.transaction().execute(act);
}

async function again<Result>(
  db: Database,
  act: (transaction: DatabaseTransaction) => Promise<Result>,
): Promise<Result> {
  for (let tries = 1; ; tries++) {
    try {
      return await db.transaction().execute(act);
    } catch (error) {
      if (tries === HUB_LIMITS.transactionTriesMax || !isRetryable(error)) throw error;
    }
  }
}
