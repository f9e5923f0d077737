/** What changes of accounts and allocations in a transaction: summed up, so that each row is written once, in order. */
import type { DatabaseTransaction } from '../db/schema.ts';
import { NOTHING, accountOf, type Account } from './accounts.ts';
import type { Standing } from './decide.ts';

const isAllocation = (payer: string | null): payer is string => payer !== null && payer !== 'floor';

async function addTo(
  tx: DatabaseTransaction,
  territory: string,
  day: number,
  { kind, subject }: Account,
  more: Standing,
): Promise<void> {
  await tx
    .updateTable('spend_days')
    .set((eb) => ({
      tokens: eb('tokens', '+', more.tokens),
      held: eb('held', '+', more.held),
      requests: eb('requests', '+', more.requests),
    }))
    .where('territory_id', '=', territory)
    .where('day', '=', day)
    .where('kind', '=', kind)
    .where('subject_id', '=', subject)
    .execute();
}

async function addToAllocation(
  tx: DatabaseTransaction,
  territory: string,
  id: string,
  more: { readonly tokens: number; readonly held: number; readonly deviceMs: number },
): Promise<void> {
  await tx
    .updateTable('allocations')
    .set((eb) => ({
      spent_tokens: eb('spent_tokens', '+', more.tokens),
      held_tokens: eb('held_tokens', '+', more.held),
      spent_device_ms: eb('spent_device_ms', '+', more.deviceMs),
    }))
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .execute();
}

/** Whose amounts change. */
export interface Charged {
  readonly day: number;
  /** Of accounts. */
  readonly names: readonly string[];
  readonly payer: string | null;
}

/** Sums of what changes, so that each row is written once, in order. */
export function createChanges() {
  const accounts = new Map<string, { day: number; account: Account; more: Standing }>();
  const allocations = new Map<string, { tokens: number; held: number; deviceMs: number }>();
  return {
    add(hold: Charged, more: Standing, deviceMs: number): void {
      for (const name of hold.names) {
        const key = `${name} ${hold.day}`;
        const before = accounts.get(key)?.more ?? NOTHING;
        const sum = {
          tokens: before.tokens + more.tokens,
          held: before.held + more.held,
          requests: before.requests + more.requests,
        };
        accounts.set(key, { day: hold.day, account: accountOf(name), more: sum });
      }
      if (!isAllocation(hold.payer)) return;
      const { tokens, held, deviceMs: ms } = allocations.get(hold.payer) ?? { tokens: 0, held: 0, deviceMs: 0 };
      allocations.set(hold.payer, { tokens: tokens + more.tokens, held: held + more.held, deviceMs: ms + deviceMs });
    },
    async write(tx: DatabaseTransaction, territory: string): Promise<void> {
      for (const [, { day, account, more }] of [...accounts].sort(byName))
        await addTo(tx, territory, day, account, more);
      for (const [id, more] of [...allocations].sort(byName)) await addToAllocation(tx, territory, id, more);
    },
  };
}
const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number => (a < b ? -1 : 1);
