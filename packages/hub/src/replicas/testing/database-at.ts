/** A database whose time is that of a clock which a test moves, whatever machine it runs on. */
import type { Clock } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { OpenDatabase } from '../../db/open.ts';

export const databaseAt = (database: OpenDatabase, clock: Clock): OpenDatabase => ({
  ...database,
  clock,
  nowMs: () => sql<number>`cast(${clock.now()} as bigint)`,
});
