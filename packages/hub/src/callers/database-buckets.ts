/**
 * Buckets of keys in the database, for replicas that share one: a key that asks everywhere at once gets what one
 * replica would give it.
 *
 * One short transaction for each step: the first statement makes the row or finds it, locks it and reads the database's
 * time; the second writes what the step made of it. Who comes meanwhile waits, here or on another replica. A hub that
 * has its database to itself keeps buckets in memory, where they cost nothing: `buckets.ts`.
 */
import { sql } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Buckets, KeyBuckets } from './buckets.ts';

export interface DatabaseBuckets extends Buckets {
  /** Forgets keys that were quiet for so long that their buckets are full, whatever they owed. */
  clean(): Promise<void>;
}

export function createDatabaseBuckets({ db, nowMs }: Pick<OpenDatabase, 'db' | 'nowMs'>): DatabaseBuckets {
  return {
    update(key, step) {
      return db.transaction().execute(async (transaction) => {
        const now = nowMs();
        const later = sql<number>`case when buckets.used_at_ms > ${now} then buckets.used_at_ms else ${now} end`;
        const row = await transaction
          .insertInto('buckets')
          .values({ key_id: key, buckets_json: '{}', used_at_ms: nowMs() })
          .onConflict((on) => on.column('key_id').doUpdateSet({ used_at_ms: later }))
          .returning(['buckets_json', 'used_at_ms'])
          .executeTakeFirstOrThrow();
        const { buckets, result } = step(JSON.parse(row.buckets_json) as KeyBuckets, row.used_at_ms);
        const isEmpty = buckets.requests === undefined && buckets.tokens === undefined;
        await (
          isEmpty
            ? transaction.deleteFrom('buckets').where('key_id', '=', key)
            : transaction
                .updateTable('buckets')
                .set({ buckets_json: JSON.stringify(buckets) })
                .where('key_id', '=', key)
        ).execute();
        return result;
      });
    },
    async read(key, look) {
      const row = await db
        .selectFrom('buckets')
        .select(['buckets_json', sql<number>`${nowMs()}`.as('now_ms')])
        .where('key_id', '=', key)
        .executeTakeFirst();
      return look(row === undefined ? {} : (JSON.parse(row.buckets_json) as KeyBuckets), row?.now_ms ?? 0);
    },
    async clean() {
      await db
        .deleteFrom('buckets')
        .where('used_at_ms', '<', sql<number>`${nowMs()} - ${HUB_LIMITS.bucketForgottenMs}`)
        .execute();
    },
  };
}
