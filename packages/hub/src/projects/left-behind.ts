/**
 * Holds that nobody lets go any more: their time is over, or whoever had them is gone, or has lost sight of them.
 *
 * None is left behind while one of its answers is open, or a caller can come back to its run: what ends those charges
 * it. It finds them; who lets them go is the caller.
 */
import type { ExpressionBuilder, ExpressionWrapper, SqlBool } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction, Schema } from '../db/schema.ts';
import { HUB_LIMITS } from '../limits.ts';
import { PROJECT_LIMITS } from './limits.ts';

type Expressions = ExpressionBuilder<Schema, 'spend_holds'>;

function isIdle(
  { and, not, exists, selectFrom }: Expressions,
  territory: string,
): ExpressionWrapper<Schema, 'spend_holds', SqlBool> {
  const open = selectFrom('requests')
    .select('requests.id')
    .where('requests.territory_id', '=', territory)
    .where('requests.state', '=', 'open')
    .whereRef('requests.hold_id', '=', 'spend_holds.id');
  const run = selectFrom('runs')
    .select('runs.id')
    .where('runs.territory_id', '=', territory)
    .whereRef('runs.request_id', '=', 'spend_holds.id');
  return and([not(exists(open)), not(exists(run))]);
}

/** Those of processes that are gone, and those of anybody whose time is over. */
export async function leftByGone(
  tx: DatabaseTransaction,
  territory: string,
  owner: string,
  nowMs: OpenDatabase['nowMs'],
): Promise<string[]> {
  const rows = await tx
    .selectFrom('spend_holds')
    .select('spend_holds.id')
    .where('spend_holds.territory_id', '=', territory)
    .where((expressions) => {
      const { eb, or, and, not, exists, selectFrom } = expressions;
      const live = selectFrom('replicas')
        .select('replicas.id')
        .whereRef('replicas.id', '=', 'spend_holds.owner')
        .where('replicas.seen_at_ms', '>', eb(nowMs(), '-', HUB_LIMITS.replicaLiveMs));
      return or([
        eb('spend_holds.expires_at_ms', '<', nowMs()),
        and([eb('spend_holds.owner', '!=', owner), not(exists(live)), isIdle(expressions, territory)]),
      ]);
    })
    .orderBy('spend_holds.id')
    .limit(PROJECT_LIMITS.holdsExpiredMax)
    .execute();
  return rows.map(({ id }) => id);
}

/**
 * Those of this process that it does not know: taken by a transaction of which it never heard that it was committed,
 * or not let go when they should have been, because the database was away.
 */
export async function lostByOwner(
  tx: DatabaseTransaction,
  territory: string,
  owner: string,
  isKnown: (id: string) => boolean,
): Promise<string[]> {
  const own = tx
    .selectFrom('spend_holds')
    .select('spend_holds.id')
    .where('spend_holds.territory_id', '=', territory)
    .where('spend_holds.owner', '=', owner);
  // Mostly all of them are known, and nothing else has to be read.
  const unknown = (await own.execute()).flatMap(({ id }) => (isKnown(id) ? [] : [id]));
  if (unknown.length === 0) return [];
  const rows = await own
    .where('spend_holds.id', 'in', unknown.slice(0, PROJECT_LIMITS.holdsExpiredMax))
    .where((expressions) => isIdle(expressions, territory))
    .orderBy('spend_holds.id')
    .execute();
  return rows.map(({ id }) => id);
}
