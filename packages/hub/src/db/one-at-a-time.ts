/**
 * Turns between the transactions of all replicas, by name.
 *
 * PostgreSQL keeps the turn until the transaction ends, however it ends, also when its process stands still and the
 * server gives up on it. A name is hashed to 64 bits; two that fell together would only wait for each other.
 */
import { sql, type QueryExecutorProvider } from 'kysely';
import { isPostgres } from './transact.ts';

/** Waits until no other transaction has the turn `name`, and has it until this one ends. SQLite has one writer anyway. */
export async function oneAtATime(transaction: QueryExecutorProvider, name: string): Promise<void> {
  if (!isPostgres(transaction)) return;
  await sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`.execute(transaction);
}
