/**
 * What each key used: sums for every day and model.
 *
 * A request is counted in the transaction that ends it, so the sums are those of `requests` at any moment, also after a
 * crash. The prompt of several choices is counted once, as its caller is told; what a failed or cancelled answer had
 * made by then counts, too. It knows no prices: the ledger does.
 */
import { sql } from 'kysely';
import type { Database, DatabaseTransaction } from '../db/schema.ts';

const DAY_MS = 86_400_000;
/** Ids in one statement; SQLite takes 32,766 variables. */
const IDS_MAX = 4_096;

/** Adds what these requests used to the sums. They have just been ended by this transaction, each once. */
export async function countUsage(
  transaction: DatabaseTransaction,
  territory: string,
  requests: readonly string[],
): Promise<void> {
  for (let from = 0; from < requests.length; from += IDS_MAX) {
    const ids = requests.slice(from, from + IDS_MAX);
    const day = sql<number>`finished_at_ms / ${sql.lit(DAY_MS)}`;
    const first = (value: 'prompt_tokens' | 'cached_tokens') => sql<number>`sum(counts_prompt * ${sql.ref(value)})`;
    const ofState = (state: 'failed' | 'cancelled') =>
      sql<number>`sum(case when state = ${sql.lit(state)} then 1 else 0 end)`;
    const untold = sql<number>`
  sum(case when (state = 'done' or device_id is not null) and energy_uwh is null then 1 else 0 end)`;
    await transaction
      // Apart from the sums: to have rows in the order of these, SQLite would go through all that a territory ever had.
      .with(
        (name) => name('ended').materialized(),
        (db) => db.selectFrom('requests').selectAll().where('territory_id', '=', territory).where('id', 'in', ids),
      )
      .insertInto('usage')
      .columns([
        'territory_id',
        'key_id',
        'model_cid',
        'day',
        'requests',
        'failed',
        'cancelled',
        'prompt_tokens',
        'cached_tokens',
        'answer_tokens',
        'device_ms',
        'energy_uwh',
        'energy_untold',
      ])
      .expression((from) =>
        from
          .selectFrom('ended')
          .select([
            'territory_id',
            'key_id',
            'model_cid',
            day.as('day'),
            sql<number>`sum(counts_prompt)`.as('requests'),
            ofState('failed').as('failed'),
            ofState('cancelled').as('cancelled'),
            first('prompt_tokens').as('prompt_tokens'),
            first('cached_tokens').as('cached_tokens'),
            sql<number>`sum(answer_tokens)`.as('answer_tokens'),
            sql<number>`sum(device_ms)`.as('device_ms'),
            sql<number>`coalesce(sum(energy_uwh), 0)`.as('energy_uwh'),
            untold.as('energy_untold'),
          ])
          .groupBy(['territory_id', 'key_id', 'model_cid', day])
          // Replicas that add to the same sums go through them in the same order, so that none waits for another's end.
          .orderBy('territory_id')
          .orderBy('key_id')
          .orderBy('model_cid')
          .orderBy(day),
      )
      .onConflict((on) =>
        on
          .columns(['territory_id', 'key_id', 'model_cid', 'day'])
          .doUpdateSet((row) => ({
            requests: row('usage.requests', '+', row.ref('excluded.requests')),
            failed: row('usage.failed', '+', row.ref('excluded.failed')),
            cancelled: row('usage.cancelled', '+', row.ref('excluded.cancelled')),
            prompt_tokens: row('usage.prompt_tokens', '+', row.ref('excluded.prompt_tokens')),
            cached_tokens: row('usage.cached_tokens', '+', row.ref('excluded.cached_tokens')),
            answer_tokens: row('usage.answer_tokens', '+', row.ref('excluded.answer_tokens')),
            device_ms: row('usage.device_ms', '+', row.ref('excluded.device_ms')),
            energy_uwh: row('usage.energy_uwh', '+', row.ref('excluded.energy_uwh')),
            energy_untold: row('usage.energy_untold', '+', row.ref('excluded.energy_untold')),
          })),
      )
      .execute();
  }
}

export interface UsageQuery {
  readonly territory: string;
  /** Absent: all keys of the territory. */
  readonly key?: string | undefined;
  /** CID; absent: all models. */
  readonly model?: string | undefined;
  /** First and last day, both included, as `YYYY-MM-DD` in UTC. */
  readonly from: string;
  readonly to: string;
}

/** One key, one model, one day. */
export interface UsageFacts {
  readonly day: string;
  readonly key: string;
  /** Name of the key, or of the member who asked without one; empty where there is none. */
  readonly keyName: string;
  /** CID. */
  readonly model: string;
  /** Name of the model, as long as it is published. */
  readonly modelName: string | undefined;
  readonly requests: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly answerTokens: number;
  readonly deviceMs: number;
}

/** Days since 1970. */
export const dayNumber = (text: string): number => Math.floor(Date.parse(`${text}T00:00:00Z`) / DAY_MS);
export const dayText = (atMs: number): string => new Date(atMs).toISOString().slice(0, 10);

/** Newest day first; at most `limit` rows. */
export async function readUsage(db: Database, query: UsageQuery, limit: number): Promise<UsageFacts[]> {
  let rows = db
    .selectFrom('usage')
    .leftJoin('keys', (join) =>
      join.onRef('keys.id', '=', 'usage.key_id').onRef('keys.territory_id', '=', 'usage.territory_id'),
    )
    .leftJoin('members', (join) =>
      join.onRef('members.person_id', '=', 'usage.key_id').onRef('members.territory_id', '=', 'usage.territory_id'),
    )
    .leftJoin('models', (join) =>
      join.onRef('models.cid', '=', 'usage.model_cid').onRef('models.territory_id', '=', 'usage.territory_id'),
    )
    .selectAll('usage')
    .select(['keys.name as key_name', 'members.name as member_name', 'models.name as model_name'])
    .where('usage.territory_id', '=', query.territory)
    .where('day', '>=', dayNumber(query.from))
    .where('day', '<=', dayNumber(query.to));
  if (query.key !== undefined) rows = rows.where('usage.key_id', '=', query.key);
  if (query.model !== undefined) rows = rows.where('usage.model_cid', '=', query.model);
  const found = await rows.orderBy('day', 'desc').orderBy('usage.key_id').orderBy('model_cid').limit(limit).execute();
  return found.map((row) => ({
    day: dayText(row.day * DAY_MS),
    key: row.key_id,
    keyName: row.key_name ?? row.member_name ?? '',
    model: row.model_cid,
    modelName: row.model_name ?? undefined,
    requests: row.requests,
    failed: row.failed,
    cancelled: row.cancelled,
    promptTokens: row.prompt_tokens,
    cachedTokens: row.cached_tokens,
    answerTokens: row.answer_tokens,
    deviceMs: row.device_ms,
  }));
}
