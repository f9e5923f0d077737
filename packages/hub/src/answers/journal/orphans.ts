/**
 * Answers that nobody will finish: their owner is gone, and no caller can come back to them. They are ended as failed,
 * counted and charged for what is journalled of them, with the prompt if a device had read it, and erased.
 */
import type { Kysely } from 'kysely';
import { countUsage } from '../../callers/usage.ts';
import type { OpenDatabase } from '../../db/open.ts';
import { locking } from '../../db/row-lock.ts';
import type { Schema } from '../../db/schema.ts';
import { ROWS_MAX } from '../../db/slices.ts';
import { transact } from '../../db/transact.ts';
import { HUB_LIMITS } from '../../limits.ts';
import { chargeEnded } from '../../projects/charging.ts';
import type { Keeper } from './ownership.ts';
import type { JournalItem, Sealer } from './records.ts';

/** An answer that nobody will finish; how many tokens it had. */
export interface Orphan {
  readonly request: string;
  readonly answerTokens: number;
}

/**
 * Ends answers whose owner is gone and to which no caller can come back any more, as failed with `hub_restarted`. An
 * owner is gone when the register has not seen it for `replicaLiveMs` by the database's time, or never had it; `owner`,
 * who asks, is not. `judge` is told of all that are gone, and says whose answers are to be ended by now.
 */
export async function closeOrphans(
  database: OpenDatabase,
  keeper: Keeper,
  sealer: Sealer,
  judge: (owners: readonly string[]) => (owner: string) => boolean,
): Promise<readonly Orphan[]> {
  const { territory } = keeper;
  const orphans: Orphan[] = [];
  const found = await orphansIn(database, database.db, keeper);
  const isDue = judge([...new Set(found.map((orphan) => orphan.owner ?? NOBODY))]);
  for (const { id } of found.filter((orphan) => isDue(orphan.owner ?? NOBODY))) {
    const rows = await database.db
      .selectFrom('journal')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('request_id', '=', id)
      .where('seq', '>', 0)
      .orderBy('seq')
      .execute();
    const items: JournalItem[] = [];
    for (const row of rows) items.push(...(await sealer.unseal(row)));
    const answerTokens = items.filter(isToken).length;
    const started = items.find(isStarted);
    const isEnded = await transact(database.db, async (tx) => {
      const [still] = await orphansIn(database, tx, keeper, id);
      if (still === undefined) return false;
      await tx
        .updateTable('requests')
        .set({
          state: 'failed',
          reason: 'hub_restarted',
          finished_at_ms: database.clock.now(),
          prompt_tokens: started?.promptTokens ?? 0,
          cached_tokens: started?.cachedTokens ?? 0,
          answer_tokens: answerTokens,
          owner_epoch: still.owner_epoch + 1,
        })
        .where('territory_id', '=', territory)
        .where('id', '=', id)
        .execute();
      await tx.deleteFrom('journal').where('territory_id', '=', territory).where('request_id', '=', id).execute();
      await countUsage(tx, territory, [id]);
      await chargeEnded(tx, territory, [id]);
      return true;
    });
    if (isEnded) orphans.push({ request: id, answerTokens });
  }
  return orphans;
}

/** Of requests of a hub that wrote down no owners. */
const NOBODY = '';

const isToken = (item: JournalItem): boolean => typeof item === 'number' || !('t' in item);
const isStarted = (item: JournalItem): item is Extract<JournalItem, { t: 'started' }> =>
  typeof item === 'object' && 't' in item && item.t === 'started';

/** With `id`, that one alone, locked. */
function orphansIn(
  { nowMs }: OpenDatabase,
  db: Kysely<Schema>,
  { territory, owner }: Keeper,
  id?: string,
): Promise<{ id: string; owner: string | null; owner_epoch: number }[]> {
  const query = db
    .selectFrom('requests')
    .select(['requests.id', 'requests.owner', 'requests.owner_epoch'])
    .where('requests.state', '=', 'open')
    .where('requests.territory_id', '=', territory)
    .where(({ or, eb }) => or([eb('requests.owner', 'is', null), eb('requests.owner', '!=', owner)]))
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('replicas')
            .select('replicas.id')
            .whereRef('replicas.id', '=', 'requests.owner')
            .where(({ eb }) => eb('replicas.seen_at_ms', '>', eb(nowMs(), '-', HUB_LIMITS.replicaLiveMs))),
        ),
      ),
    )
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('runs')
            .select('runs.id')
            .whereRef('runs.territory_id', '=', 'requests.territory_id')
            .whereRef('runs.id', '=', 'requests.run_id'),
        ),
      ),
    );
  if (id === undefined) return query.limit(ROWS_MAX).execute();
  const one = query.where('requests.id', '=', id);
  return (db.isTransaction ? locking(db, one) : one).execute();
}
