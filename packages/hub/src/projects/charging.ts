/**
 * Who pays for answers that have just ended, and for what runs when a cap is set: the accounts of keys, their people
 * and their projects, and the territory's. How amounts change is `holds.ts`'s.
 */
import type { DatabaseTransaction } from '../db/schema.ts';
import type { CapKind } from '../db/schema/projects.ts';
import { dayOf } from './accounts.ts';
import { beginCounting, chargeHolds } from './holds.ts';
import { spendersOf, subjectsOf } from './subjects.ts';

/** Charges what these requests used, which this transaction has just ended. */
export async function chargeEnded(tx: DatabaseTransaction, territory: string, ended: readonly string[]): Promise<void> {
  if (ended.length === 0) return;
  const rows = await tx
    .selectFrom('requests')
    .select(['key_id', 'hold_id', 'prompt_tokens', 'answer_tokens', 'counts_prompt', 'device_ms', 'finished_at_ms'])
    .where('territory_id', '=', territory)
    .where('id', 'in', ended)
    .execute();
  const days = [...new Set(rows.map((row) => dayOf(row.finished_at_ms ?? 0)))];
  // Where nothing bounds anybody nothing is counted.
  if (rows.every((row) => row.hold_id === null) && !(await isCounted(tx, territory, days))) return;
  const spenderOf = await spendersOf(tx, territory, [...new Set(rows.map((row) => row.key_id))]);
  const used = rows.map((row) => ({
    hold: row.hold_id ?? undefined,
    day: dayOf(row.finished_at_ms ?? 0),
    tokens: row.answer_tokens + row.counts_prompt * row.prompt_tokens,
    deviceMs: row.device_ms,
    accounts: subjectsOf(spenderOf(row.key_id)),
    isFirst: row.counts_prompt === 1,
  }));
  await chargeHolds(tx, territory, used);
}

async function isCounted(tx: DatabaseTransaction, territory: string, days: readonly number[]): Promise<boolean> {
  const row = await tx
    .selectFrom('spend_days')
    .select('day')
    .where('territory_id', '=', territory)
    .where('day', 'in', days)
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/**
 * Before a cap of the day is set: it counts what the day has so far, and what is held by requests that run. One that
 * was begun before midnight is counted on its day, which pays for it.
 */
export async function countFromNowOn(
  tx: DatabaseTransaction,
  territory: string,
  { kind, subject, nowMs }: { readonly kind: CapKind; readonly subject: string; readonly nowMs: number },
): Promise<void> {
  const today = dayOf(nowMs);
  const running = await tx
    .selectFrom('spend_holds')
    .select(['key_id', 'day'])
    .distinct()
    .where('territory_id', '=', territory)
    .orderBy('day')
    .execute();
  const days = [...new Set([...running.map(({ day }) => day), today])];
  if (kind === 'territory') {
    for (const day of days) await beginCounting(tx, territory, day, { account: { kind, subject }, keys: undefined });
    return;
  }
  const spenderOf = await spendersOf(tx, territory, [...new Set(running.map((row) => row.key_id))]);
  const isOf = (id: string, own: string): boolean =>
    subjectsOf(spenderOf(id)).some((one) => one.kind === kind && one.subject === own);
  const everybody = kind === 'person' && subject === '';
  const people = running.flatMap((row) => spenderOf(row.key_id).person ?? []);
  for (const own of everybody ? [...new Set(people)].sort() : [subject])
    for (const day of days) {
      const keys = running.filter((row) => row.day === day && isOf(row.key_id, own)).map((row) => row.key_id);
      // Today is counted in any case, another day as far as somebody is answered who began on it.
      if (day === today || keys.length > 0)
        await beginCounting(tx, territory, day, { account: { kind, subject: own }, keys });
    }
}
