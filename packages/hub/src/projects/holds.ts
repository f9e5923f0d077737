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
import type { AccountKind } from '../db/schema/projects.ts';
import { locking } from '../db/row-lock.ts';
import type { Standing } from './decide.ts';

export interface Account {
  readonly kind: AccountKind;
  readonly subject: string;
}

export const DAY_MS = 86_400_000;
export const dayOf = (atMs: number): number => Math.floor(atMs / DAY_MS);

const nameOf = ({ kind, subject }: Account): string => `${kind} ${subject}`;
const accountOf = (name: string): Account => {
  const [kind = '', subject = ''] = name.split(' ');
  return { kind: kind as AccountKind, subject };
};
const inOrder = (accounts: readonly Account[]): Account[] =>
  accounts.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));

/** Of which usage knows nothing. */
const isOfFloor = ({ kind }: Account): boolean => kind === 'floor' || kind === 'floors';

const NOTHING: Standing = { tokens: 0, held: 0, requests: 0 };

/**
 * Locks the accounts of a day, making those that are not there yet: a cap that is set at noon counts the morning, as
 * far as it is in `usage`.
 */
export async function lockAccounts(
  tx: DatabaseTransaction,
  territory: string,
  day: number,
  accounts: readonly Account[],
): Promise<(account: Account) => Standing> {
  const wanted = inOrder(accounts);
  if (wanted.length === 0) return () => NOTHING;
  let rows = await lock(tx, territory, day, wanted);
  const missing = wanted.filter((account) => !rows.has(nameOf(account)));
  if (missing.length > 0) {
    for (const account of missing) {
      const used = await usedBefore(tx, territory, day, account);
      await tx
        .insertInto('spend_days')
        .values({ territory_id: territory, kind: account.kind, subject_id: account.subject, day, held: 0, ...used })
        .onConflict((on) => on.columns(['territory_id', 'day', 'kind', 'subject_id']).doNothing())
        .execute();
    }
    rows = await lock(tx, territory, day, wanted);
  }
  return (account) => rows.get(nameOf(account)) ?? NOTHING;
}

async function lock(
  tx: DatabaseTransaction,
  territory: string,
  day: number,
  accounts: readonly Account[],
): Promise<Map<string, Standing>> {
  const query = tx
    .selectFrom('spend_days')
    .select(['kind', 'subject_id', 'tokens', 'held', 'requests'])
    .where('territory_id', '=', territory)
    .where('day', '=', day)
    .where(({ eb, or, and }) =>
      or(accounts.map(({ kind, subject }) => and([eb('kind', '=', kind), eb('subject_id', '=', subject)]))),
    )
    .orderBy('kind')
    .orderBy('subject_id');
  const rows = await locking(tx, query).execute();
  return new Map(rows.map(({ kind, subject_id: subject, ...standing }) => [nameOf({ kind, subject }), standing]));
}

/** What the day has of it already; who paid a floor is nowhere but here. */
async function usedBefore(
  tx: DatabaseTransaction,
  territory: string,
  day: number,
  { kind, subject }: Account,
): Promise<Pick<Standing, 'tokens' | 'requests'>> {
  if (isOfFloor({ kind, subject })) return { tokens: 0, requests: 0 };
  let query = tx
    .selectFrom('usage')
    .select([
      sql<number | null>`sum(usage.prompt_tokens + usage.answer_tokens)`.as('tokens'),
      sql<number | null>`sum(usage.requests)`.as('requests'),
    ])
    .where('usage.territory_id', '=', territory)
    .where('usage.day', '=', day);
  if (kind === 'key') query = query.where('usage.key_id', '=', subject);
  else if (kind !== 'territory')
    query = query.where(({ eb, or, selectFrom }) => {
      const keys = selectFrom('keys')
        .select('keys.id')
        .where('keys.territory_id', '=', territory)
        .where(kind === 'project' ? 'keys.project_id' : 'keys.person_id', '=', subject);
      // Who asks without a key is counted under her own id.
      return or([eb('usage.key_id', 'in', keys), eb('usage.key_id', '=', subject)]);
    });
  const row = await query.executeTakeFirst();
  return { tokens: row?.tokens ?? 0, requests: row?.requests ?? 0 };
}

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
interface Charged {
  readonly day: number;
  /** Of accounts. */
  readonly names: readonly string[];
  readonly payer: string | null;
}

/** Sums of what changes, so that each row is written once, in order. */
function createChanges() {
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

/** Which of some accounts are counted, on their days. */
async function countedAmong(
  tx: DatabaseTransaction,
  territory: string,
  asked: readonly Pick<Used, 'day' | 'accounts'>[],
): Promise<(day: number, account: Account) => boolean> {
  const subjects = new Set(asked.flatMap(({ accounts }) => accounts.map(({ subject }) => subject)));
  if (subjects.size === 0) return () => false;
  const rows = await tx
    .selectFrom('spend_days')
    .select(['kind', 'subject_id', 'day'])
    .where('territory_id', '=', territory)
    .where('day', 'in', [...new Set(asked.map(({ day }) => day))])
    .where('subject_id', 'in', [...subjects])
    .execute();
  const there = new Set(rows.map(({ kind, subject_id: subject, day }) => `${nameOf({ kind, subject })} ${day}`));
  return (day, account) => there.has(`${nameOf(account)} ${day}`);
}

/** Of a hold that is locked. */
export interface LockedHold {
  /** An allocation, `floor`, or nobody. */
  readonly payer: string | null;
  readonly accounts: readonly Account[];
}

/** More of the same accounts for some holds, which are locked first; `grant` locks the accounts and says how much. */
export async function extendHolds(
  tx: DatabaseTransaction,
  territory: string,
  ids: readonly string[],
  grant: (holds: ReadonlyMap<string, LockedHold>) => Promise<ReadonlyMap<string, number>>,
): Promise<void> {
  const rows = await lockHolds(tx, territory, ids);
  if (rows.length === 0) return;
  const locked = rows.map(({ id, payer, accounts_json: names }): [string, LockedHold] => {
    const accounts = (JSON.parse(names) as string[]).map(accountOf);
    return [id, { payer, accounts }];
  });
  const granted = await grant(new Map(locked));
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
