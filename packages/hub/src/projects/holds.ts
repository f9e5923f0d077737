/**
 * What requests hold of accounts and allocations, and what they used of it: in the database, for all replicas.
 *
 *   taken ──► charged, as each of its answers ends, in the transaction that ends it ──► let go: what is left returns
 *      └────► left behind by a process that is gone: let go when its answers are over, at the latest when it expires
 *
 * Amounts are locked, looked at and changed in one transaction, so no two requests are given the same token, wherever
 * they are asked. Rows are locked in one order: holds, accounts by kind and subject, allocations by id. A hold's
 * amounts stay with the day on which it was taken. It knows no requests but their ids and what they used.
 */
import { sql } from 'kysely';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { locking } from '../db/row-lock.ts';
import { accountOf, countedAmong, inOrder, isOfFloor, lockAccounts, nameOf, type Account } from './accounts.ts';
import { createChanges, type Charged } from './changes.ts';

export interface HoldOrder {
  readonly id: string;
  readonly key: string;
  readonly day: number;
  readonly accounts: readonly Account[];
  /** An allocation, `floor`, or nobody. */
  readonly payer: string | null;
  readonly tokens: number;
  readonly owner: string;
  readonly expiresAtMs: number;
}

/** Takes the tokens and one request of each account; whoever calls has locked them and looked. */
export async function takeHolds(
  tx: DatabaseTransaction,
  territory: string,
  orders: readonly HoldOrder[],
): Promise<void> {
  if (orders.length === 0) return;
  const changes = createChanges();
  const rows = orders.map(({ id, key, day, payer, tokens, owner, expiresAtMs, accounts }) => {
    const names = inOrder(accounts).map(nameOf);
    changes.add({ day, payer, names }, { tokens: 0, held: tokens, requests: 1 }, 0);
    return {
      id,
      territory_id: territory,
      key_id: key,
      day,
      accounts_json: JSON.stringify(names),
      payer,
      tokens,
      left_tokens: tokens,
      owner,
      expires_at_ms: expiresAtMs,
    };
  });
  await changes.write(tx, territory);
  await tx.insertInto('spend_holds').values(rows).execute();
}

interface HoldRow {
  readonly id: string;
  readonly day: number;
  readonly accounts_json: string;
  readonly payer: string | null;
  left_tokens: number;
  ended: number;
}
const namesIn = (hold: HoldRow): string[] => JSON.parse(hold.accounts_json) as string[];
const chargedBy = (hold: HoldRow): Charged => ({ day: hold.day, names: namesIn(hold), payer: hold.payer });

const lockHolds = (tx: DatabaseTransaction, territory: string, ids: readonly string[]): Promise<HoldRow[]> =>
  locking(
    tx,
    tx
      .selectFrom('spend_holds')
      .select(['id', 'day', 'accounts_json', 'payer', 'left_tokens', 'ended'])
      .where('territory_id', '=', territory)
      .where('id', 'in', ids)
      .orderBy('id'),
  ).execute();

/** Of one answer that has just been ended by this transaction. */
export interface Used {
  /** Absent: nothing is held for it. */
  readonly hold: string | undefined;
  /** Of which it ended. */
  readonly day: number;
  readonly tokens: number;
  readonly deviceMs: number;
  /** Those of its spender that there may be. */
  readonly accounts: readonly Account[];
  /** Of several answers to one request the first. */
  readonly isFirst: boolean;
}

/**
 * Charges what answers used to the accounts of their holds, and to those that began to be counted since. What goes
 * beyond a hold is a debt of its accounts. What nothing is held for is charged to what is counted on the day it ended.
 */
export async function chargeHolds(tx: DatabaseTransaction, territory: string, used: readonly Used[]): Promise<void> {
  const ids = [...new Set(used.flatMap(({ hold }) => hold ?? []))];
  const holds = new Map((ids.length === 0 ? [] : await lockHolds(tx, territory, ids)).map((hold) => [hold.id, hold]));
  const counted = await countedAmong(
    tx,
    territory,
    used.map((one) => ({ day: holds.get(one.hold ?? '')?.day ?? one.day, accounts: one.accounts })),
  );
  const changes = createChanges();
  for (const one of used) {
    const hold = holds.get(one.hold ?? '');
    const day = hold?.day ?? one.day;
    const own = hold === undefined ? [] : namesIn(hold);
    const late = one.accounts.filter((account) => counted(day, account) && !own.includes(nameOf(account)));
    const { tokens } = one;
    const isBegun = (hold === undefined || hold.ended === 0) && one.isFirst;
    changes.add({ day, names: late.map(nameOf), payer: null }, { tokens, held: 0, requests: isBegun ? 1 : 0 }, 0);
    if (hold === undefined) continue;
    const held = Math.min(tokens, hold.left_tokens);
    hold.left_tokens -= held;
    hold.ended++;
    changes.add({ day, names: own, payer: hold.payer }, { tokens, held: -held, requests: 0 }, one.deviceMs);
  }
  for (const { id, left_tokens, ended } of holds.values())
    await tx
      .updateTable('spend_holds')
      .set({ left_tokens, ended })
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .execute();
  await changes.write(tx, territory);
  await openNextDay(tx, territory, used, holds);
}

/**
 * What ends after midnight is charged to the day on which it was held, and usage has it on the day it ended: accounts
 * of that day begin without it, or it would be paid twice.
 */
async function openNextDay(
  tx: DatabaseTransaction,
  territory: string,
  used: readonly Used[],
  holds: ReadonlyMap<string, HoldRow>,
): Promise<void> {
  const late = used.flatMap((one) => {
    const hold = holds.get(one.hold ?? '');
    return hold === undefined || hold.day >= one.day ? [] : [{ ...one, accounts: namesIn(hold).map(accountOf) }];
  });
  if (late.length === 0) return;
  const counted = await countedAmong(tx, territory, late);
  const changes = createChanges();
  for (const { day, accounts, tokens } of late) {
    const missing = accounts.filter((account) => !isOfFloor(account) && !counted(day, account));
    await lockAccounts(tx, territory, day, missing);
    const back = { tokens: -tokens, held: 0, requests: -1 };
    changes.add({ day, names: missing.map(nameOf), payer: null }, back, 0);
  }
  await changes.write(tx, territory);
}

/** Of a hold that is locked. */
export interface LockedHold {
  /** An allocation, `floor`, or nobody. */
  readonly payer: string | null;
  readonly accounts: readonly Account[];
}

/**
 * More of the same accounts for some holds, which are locked first. `grant` locks the accounts of a day and says how
 * much; it is asked for one day after the other, and sees in the database what was given for those before.
 */
export async function extendHolds(
  tx: DatabaseTransaction,
  territory: string,
  ids: readonly string[],
  grant: (day: number, holds: ReadonlyMap<string, LockedHold>) => Promise<ReadonlyMap<string, number>>,
): Promise<void> {
  const byDay = Map.groupBy(await lockHolds(tx, territory, ids), ({ day }) => day);
  for (const [day, rows] of [...byDay].sort(([a], [b]) => a - b)) {
    const locked = rows.map((row): [string, LockedHold] => {
      const accounts = namesIn(row).map(accountOf);
      return [row.id, { payer: row.payer, accounts }];
    });
    await giveMore(tx, territory, rows, await grant(day, new Map(locked)));
  }
}

async function giveMore(
  tx: DatabaseTransaction,
  territory: string,
  rows: readonly HoldRow[],
  granted: ReadonlyMap<string, number>,
): Promise<void> {
  const changes = createChanges();
  for (const row of rows) {
    const more = granted.get(row.id) ?? 0;
    if (more <= 0) continue;
    await tx
      .updateTable('spend_holds')
      .set(({ ref }) => ({ tokens: sql<number>`${ref('tokens')} + ${more}`, left_tokens: row.left_tokens + more }))
      .where('territory_id', '=', territory)
      .where('id', '=', row.id)
      .execute();
    changes.add(chargedBy(row), { tokens: 0, held: more, requests: 0 }, 0);
  }
  await changes.write(tx, territory);
}

/** What is left of them returns; a request that no answer came of is given back, too. Twice is once. */
export async function letHoldsGo(tx: DatabaseTransaction, territory: string, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const holds = await lockHolds(tx, territory, ids);
  if (holds.length === 0) return;
  const changes = createChanges();
  for (const hold of holds)
    changes.add(chargedBy(hold), { tokens: 0, held: -hold.left_tokens, requests: hold.ended === 0 ? -1 : 0 }, 0);
  await tx
    .deleteFrom('spend_holds')
    .where('territory_id', '=', territory)
    .where(
      'id',
      'in',
      holds.map(({ id }) => id),
    )
    .execute();
  await changes.write(tx, territory);
}

/** Takes over what another process held; how much that is, or `undefined` where there is none. */
export async function adoptHold(
  db: Database,
  territory: string,
  id: string,
  owner: string,
): Promise<{ readonly tokens: number } | undefined> {
  return db
    .updateTable('spend_holds')
    .set({ owner })
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .returning('tokens')
    .executeTakeFirst();
}

/**
 * From now on an account is counted: with what the day has of it already, and with what is held by requests that run.
 * Of an account that is counted since before nothing changes.
 */
export async function beginCounting(
  tx: DatabaseTransaction,
  territory: string,
  day: number,
  { account, keys }: { readonly account: Account; readonly keys: readonly string[] | undefined },
): Promise<void> {
  let running = tx
    .selectFrom('spend_holds')
    .select(['id', 'day', 'accounts_json', 'payer', 'left_tokens', 'ended'])
    .where('territory_id', '=', territory)
    .where('day', '=', day);
  if (keys !== undefined) running = running.where('key_id', 'in', [...keys]);
  const rows = keys?.length === 0 ? [] : await locking(tx, running.orderBy('id')).execute();
  await lockAccounts(tx, territory, day, [account]);
  const name = nameOf(account);
  const changes = createChanges();
  for (const hold of rows) {
    const names = namesIn(hold);
    if (names.includes(name)) continue;
    const accounts = inOrder([...names, name].map(accountOf)).map(nameOf);
    await tx
      .updateTable('spend_holds')
      .set({ accounts_json: JSON.stringify(accounts) })
      .where('territory_id', '=', territory)
      .where('id', '=', hold.id)
      .execute();
    const { left_tokens: held, ended } = hold;
    changes.add({ day, names: [name], payer: null }, { tokens: 0, held, requests: ended === 0 ? 1 : 0 }, 0);
  }
  await changes.write(tx, territory);
}
