/**
 * Looking something up in an audit log: by who acted, what was done, on what and when, in the order of the log.
 *
 * A search reads the log in stretches of a bounded length and stops after so many, so that none holds up a hub,
 * however long the log is and whatever is asked for; it then says from where to go on. Within a stretch the database
 * looks by actor, action or subject, whichever is told most narrowly. Times follow the numbers of entries, so a time is
 * found by halving. The hub's clock never goes back by itself; where the machine's was set back by more than a minute,
 * what it wrote around then may be passed over. What an entry means this does not know.
 */
import type { AuditRecord } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database } from '../db/schema.ts';
import { lastSeq, recordOf } from './chain.ts';
import { AUDIT_LIMITS } from './limits.ts';

export interface AuditSearch {
  readonly territory: string;
  /** One of them. */
  readonly actors?: readonly string[] | undefined;
  /** One of them; in each a `*` stands for any characters, and case does not count. */
  readonly actions?: readonly string[] | undefined;
  /** One of them. */
  readonly subjects?: readonly string[] | undefined;
  readonly fromMs?: number | undefined;
  /** Not included. */
  readonly untilMs?: number | undefined;
  readonly beforeSeq?: number | undefined;
  readonly afterSeq?: number | undefined;
  readonly oldestFirst?: boolean | undefined;
  readonly limit: number;
}

export interface AuditFound {
  readonly entries: readonly AuditRecord[];
  /** Entries beyond this one were not looked at yet: the next `beforeSeq`, or `afterSeq`. Absent: that was all. */
  readonly next?: number;
  /** The newest entry that there was. */
  readonly lastSeq: number;
  /** Where no entry of the log has such an action: those that there are. */
  readonly actions?: readonly string[];
}

export interface Span {
  readonly low: number;
  readonly high: number;
}

const {
  searchStretch: STRETCH,
  searchStretchesMax: STRETCHES_MAX,
  searchNamesMax: NAMES_MAX,
  clockBackMs: BACK_MS,
} = AUDIT_LIMITS;

export async function searchAudit(db: Database, search: AuditSearch, stretch: number = STRETCH): Promise<AuditFound> {
  const { territory, actors, subjects, actions: wanted } = search;
  const newest = await lastSeq(db, territory);
  let actions: readonly string[] | undefined;
  if (wanted !== undefined) {
    const all = await actionsIn(db, territory);
    actions = all.filter((action) => wanted.some((pattern) => fits(pattern.toLowerCase(), action.toLowerCase())));
    if (actions.length === 0) return { entries: [], lastSeq: newest, actions: all };
  }
  const span = await spanOf(db, search, newest);
  const conditions = (
    [
      ['subject', subjects],
      ['actor', actors],
      ['action', actions],
    ] as const
  ).flatMap(([column, names]) => (names === undefined ? [] : [{ column, names }]));
  return { ...(await walk(db, search, span, { conditions, stretch })), lastSeq: newest };
}

/** One of these names has to stand in the column. */
interface Condition {
  readonly column: 'actor' | 'action' | 'subject';
  readonly names: readonly string[];
}

/**
 * Of one condition an index has all that fits, in order; of several it has what is still to be looked at. Of none a
 * stretch is enough, and keeps PostgreSQL, where it knows little of the table yet, from sorting all of it.
 */
async function walk(
  db: Database,
  search: AuditSearch,
  span: Span,
  { conditions, stretch: narrowed }: { readonly conditions: readonly Condition[]; readonly stretch: number },
): Promise<Pick<AuditFound, 'entries' | 'next'>> {
  const { oldestFirst = false, limit } = search;
  // Much is done to a territory as a whole.
  const weight = ({ names }: Condition): number => names.length + (names.includes(search.territory) ? NAMES_MAX : 0);
  const [lead, ...others] = conditions.toSorted((left, right) => weight(left) - weight(right));
  const stretch = lead !== undefined && others.length === 0 ? Number.POSITIVE_INFINITY : narrowed;
  const stretchesMax = Math.ceil(STRETCHES_MAX / (lead?.names.length ?? 1));
  const entries: AuditRecord[] = [];
  let left = span;
  for (let count = 0; left.low <= left.high; count++) {
    if (count === stretchesMax) return { entries, next: oldestFirst ? left.low - 1 : left.high + 1 };
    const here = oldestFirst
      ? { low: left.low, high: Math.min(left.high, left.low + stretch - 1) }
      : { low: Math.max(left.low, left.high - stretch + 1), high: left.high };
    entries.push(...(await readStretch(db, { ...search, limit: limit - entries.length }, here, { lead, others })));
    const last = entries.at(-1);
    if (last !== undefined && entries.length === limit) {
      const isEnd = last.seq === (oldestFirst ? span.high : span.low);
      return isEnd ? { entries } : { entries, next: last.seq };
    }
    left = oldestFirst ? { low: here.high + 1, high: left.high } : { low: left.low, high: here.low - 1 };
  }
  return { entries };
}

interface Conditions {
  readonly lead: Condition | undefined;
  readonly others: readonly Condition[];
}

async function readStretch(
  db: Database,
  { territory, fromMs, untilMs, oldestFirst = false, limit }: AuditSearch,
  { low, high }: Span,
  { lead, others }: Conditions,
): Promise<AuditRecord[]> {
  const direction = oldestFirst ? 'asc' : 'desc';
  const number = lead === undefined ? sql.ref<number>('seq') : INDEXED_NUMBER;
  let query = db
    .selectFrom('audit')
    .selectAll()
    .where('territory_id', '=', territory)
    .where(number, '>=', low)
    .where(number, '<=', high)
    .orderBy(number, direction)
    .limit(limit);
  // Of these no index is to be taken: it might be of what nearly every entry has.
  for (const { column, names } of others) query = query.where(sql<string>`${sql.ref(column)} || ''`, 'in', names);
  if (fromMs !== undefined) query = query.where('at_ms', '>=', fromMs);
  if (untilMs !== undefined) query = query.where('at_ms', '<', untilMs);
  if (lead === undefined) return (await query.execute()).map(recordOf);
  // One after the other: an index has what is of one name in order.
  const found: AuditRecord[] = [];
  for (const name of lead.names) found.push(...(await query.where(lead.column, '=', name).execute()).map(recordOf));
  const sign = oldestFirst ? 1 : -1;
  return found.toSorted((left, right) => sign * (left.seq - right.seq)).slice(0, limit);
}

/** As the indexes of actors, actions and subjects have it. */
const INDEXED_NUMBER = sql<number>`(seq + 0)`;

/** Which entries can be meant at all; what is written of them is still held against the times themselves. */
async function spanOf(db: Database, search: AuditSearch, newest: number): Promise<Span> {
  const { territory, beforeSeq = newest + 1, afterSeq = 0 } = search;
  const { low, high } = await seqsBetween(db, territory, search, newest);
  return { low: Math.max(low, afterSeq + 1), high: Math.min(high, beforeSeq - 1) };
}

/** Between which numbers everything is that was written in a time. */
export async function seqsBetween(
  db: Database,
  territory: string,
  { fromMs, untilMs }: Pick<AuditSearch, 'fromMs' | 'untilMs'>,
  newest: number,
): Promise<Span> {
  const low = fromMs === undefined ? 1 : await firstSince(db, territory, fromMs - BACK_MS, newest);
  const high = untilMs === undefined ? newest : (await firstSince(db, territory, untilMs + BACK_MS, newest)) - 1;
  return { low, high };
}

/** Number of the first entry of that time or later; of none the one after the newest. */
async function firstSince(db: Database, territory: string, atMs: number, newest: number): Promise<number> {
  let [low, high] = [1, newest + 1];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const row = await db
      .selectFrom('audit')
      .select(['seq', 'at_ms'])
      .where('territory_id', '=', territory)
      .where('seq', '>=', middle)
      .orderBy('seq')
      .limit(1)
      .executeTakeFirst();
    if (row === undefined || row.at_ms >= atMs) high = middle;
    else low = row.seq + 1;
  }
  return low;
}

/** Each step finds the next name in the index: there are about a hundred, however many entries there are. */
async function actionsIn(db: Database, territory: string): Promise<string[]> {
  const actions: string[] = [];
  while (actions.length < AUDIT_LIMITS.actionsMax) {
    const row = await db
      .selectFrom('audit')
      .select('action')
      .where('territory_id', '=', territory)
      .where('action', '>', actions.at(-1) ?? '')
      .orderBy('action')
      .limit(1)
      .executeTakeFirst();
    if (row === undefined) break;
    actions.push(row.action);
  }
  return actions;
}

/** Whether `*` of the pattern can be filled so that it is the name. Takes what is between them at its first place. */
function fits(pattern: string, name: string): boolean {
  const [begin = '', ...others] = pattern.split('*');
  const end = others.pop();
  if (end === undefined) return pattern === name;
  if (!name.startsWith(begin) || name.length < begin.length + end.length || !name.endsWith(end)) return false;
  let rest = name.slice(begin.length, name.length - end.length);
  for (const part of others) {
    const at = rest.indexOf(part);
    if (at === -1) return false;
    rest = rest.slice(at + part.length);
  }
  return true;
}
