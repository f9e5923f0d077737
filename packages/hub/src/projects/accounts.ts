/**
 * Accounts of a day: what a territory, a project, a key or a person has used and holds of it, with the rows locked for
 * whoever changes them.
 *
 * Rows are there for accounts that something bounds; the first to lock one makes it, with what usage has of the day.
 */
import { sql } from 'kysely';
import { locking } from '../db/row-lock.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import type { AccountKind } from '../db/schema/projects.ts';
import type { Standing } from './decide.ts';

export interface Account {
  readonly kind: AccountKind;
  readonly subject: string;
}

export const DAY_MS = 86_400_000;
export const dayOf = (atMs: number): number => Math.floor(atMs / DAY_MS);

export const nameOf = ({ kind, subject }: Account): string => `${kind} ${subject}`;
export const accountOf = (name: string): Account => {
  const [kind = '', subject = ''] = name.split(' ');
  return { kind: kind as AccountKind, subject };
};
export const inOrder = (accounts: readonly Account[]): Account[] =>
  accounts.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));

/** Of which usage knows nothing. */
export const isOfFloor = ({ kind }: Account): boolean => kind === 'floor' || kind === 'floors';

export const NOTHING: Standing = { tokens: 0, held: 0, requests: 0 };

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

/** Which of some accounts are counted, on their days. */
export async function countedAmong(
  tx: DatabaseTransaction,
  territory: string,
  asked: readonly { readonly day: number; readonly accounts: readonly Account[] }[],
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
