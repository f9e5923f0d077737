/**
 * Rows that are read to be written: nobody else writes them before this transaction ends.
 *
 * SQLite has one writer, and knows no such clause. On PostgreSQL it is `for no key update`, which does not hold up rows
 * that merely refer to the locked ones.
 */
import type { SelectQueryBuilder } from 'kysely';
import type { Database, Schema } from './schema.ts';
import { isPostgres } from './transact.ts';

/** The same query, locking what it finds until `transaction` ends. */
export function locking<Tables extends keyof Schema, Row>(
  transaction: Database,
  query: SelectQueryBuilder<Schema, Tables, Row>,
): SelectQueryBuilder<Schema, Tables, Row> {
  return isPostgres(transaction) ? query.forNoKeyUpdate() : query;
}
