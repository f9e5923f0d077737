/**
 * One number a territory that grows with everything that decisions depend on: keys, people, groups, roles, bindings,
 * what is known of devices, policies, switches. Whoever changes one of these says so here, in the same transaction;
 * whoever keeps such things in memory keeps them no longer than the number stands still.
 *
 * The number is read again when the last reading is older than `FRESH_MS`, which is half of the second within which a
 * revoked right must be gone everywhere; a word over the bus makes it sooner and is not needed for it. A database that
 * does not answer makes nothing fresh: who asks then gets the error, and no old right.
 */
import type { Clock, MaybePromise } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database, DatabaseTransaction } from '../db/schema.ts';

/** Half of the second within which a right that was taken must be gone. */
export const FRESH_MS = 500;

/** Says that something changed which decisions in `territory` depend on. */
export async function touchPeople(transaction: DatabaseTransaction, territory: string): Promise<void> {
  await transaction
    .insertInto('versions')
    .values({ territory_id: territory, version: 1 })
    .onConflict((conflict) =>
      conflict.column('territory_id').doUpdateSet({ version: sql<number>`versions.version + 1` }),
    )
    .execute();
}

export interface PeopleVersions {
  /** As it is now or was at most `FRESH_MS` ago; at once where it is known. */
  fresh(): MaybePromise<number>;
  /** Somebody says that it grew: it is read again before anything more is decided. */
  stale(): void;
}

export interface PeopleVersionsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'monotonic'>;
}

export function createPeopleVersions({ db, clock }: PeopleVersionsDeps, territory: string): PeopleVersions {
  let known: { readonly version: number; readonly readAtMs: number } | undefined;
  let reading: Promise<number> | undefined;
  /** Counts words of a change: what was asked before one is not kept. */
  let said = 0;

  async function read(): Promise<number> {
    const before = said;
    // Time counts from before the question: what was written after it may not be in the answer.
    const readAtMs = clock.monotonic();
    const row = await db
      .selectFrom('versions')
      .select('version')
      .where('territory_id', '=', territory)
      .executeTakeFirst();
    const version = row?.version ?? 0;
    if (said === before) known = { version, readAtMs };
    return version;
  }

  return {
    fresh() {
      if (known !== undefined && clock.monotonic() - known.readAtMs < FRESH_MS) return known.version;
      if (reading !== undefined) return reading;
      const mine = read().finally(() => {
        if (reading === mine) reading = undefined;
      });
      return (reading = mine);
    },
    stale() {
      said++;
      known = undefined;
      reading = undefined;
    },
  };
}
