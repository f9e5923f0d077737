/**
 * The transparency report: what a community was asked, what it refused and why, what its stewards changed, and the
 * energy that it took. Numbers only; nobody is named, and nothing of what was asked or answered is looked at.
 */
import { IdlewildError, decodeCbor, receiptSchema } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database, RequestState } from '../db/schema.ts';
import type { AppealState } from '../db/schema/use.ts';
import { lastSeq } from './chain.ts';
import { DENIED, USED } from './decisions.ts';
import type { AuditHeads } from './heads.ts';
import { AUDIT_LIMITS } from './limits.ts';
import { seqsBetween, type Span } from './search.ts';

export interface ReportRange {
  readonly fromMs: number;
  /** Not included. */
  readonly toMs: number;
}

type Counts = Readonly<Record<string, number>>;

export interface AuditReport {
  readonly community: { readonly id: string; readonly name: string };
  readonly requests: {
    readonly total: number;
    readonly byState: Readonly<Record<RequestState, number>>;
    /** Why they failed or were cancelled, by code. */
    readonly byReason: Counts;
  };
  /** Requests that were refused, by reason: whole days in UTC, those that the time begins and ends in included. */
  readonly refusals: Counts;
  /** Appeals against refusals that were filed in the time, by what became of them until now. */
  readonly appeals: Readonly<Record<AppealState, number>> & { readonly filed: number };
  /** What was denied at the doors, by code. */
  readonly denials: Counts;
  readonly members: { readonly admitted: number; readonly removed: number; readonly suspended: number };
  readonly devices: { readonly admitted: number; readonly revoked: number; readonly left: number };
  readonly keys: { readonly created: number; readonly revoked: number };
  /** Changes of policies, roles, rules and limits, by action. */
  readonly policyChanges: Counts;
  /** All acts, by action. */
  readonly acts: Counts;
  readonly energy: {
    readonly wattHours: { readonly measured: number; readonly modelled: number };
    /** How many receipts, of devices and of sealed answers, say so, and how many say nothing of energy. */
    readonly receipts: { readonly measured: number; readonly modelled: number; readonly without: number };
    /** Answers asked for in the time that devices worked on and said nothing about their energy. */
    readonly untold: number;
  };
  /** The audit log that this is made of; `null` while no head of it is signed. */
  readonly log: { readonly entries: number; readonly signedAtMs: number; readonly root: Uint8Array } | null;
}

interface ReportDeps {
  readonly db: Database;
  readonly heads: Pick<AuditHeads, 'newest'>;
  readonly territory: { readonly id: string; readonly name: string };
}

/** Acts that change who may do what, and which rules hold. */
const POLICY_CHANGE = /polic|role|rule|use$|grant|^cap|^limit|^tier|^pool|^stop|^start|exempt|signInProvider/i;

/** Throws `invalid_request` for a time that ends before it begins, or is longer than a year. */
export async function reportOf({ db, heads, territory }: ReportDeps, range: ReportRange): Promise<AuditReport> {
  const { fromMs, toMs } = range;
  if (!(fromMs < toMs) || toMs - fromMs > AUDIT_LIMITS.reportMsMax) {
    const days = AUDIT_LIMITS.reportMsMax / 86_400_000;
    throw new IdlewildError(
      'invalid_request',
      `a report is about a time that ends after it begins, of ${days} days at most`,
    );
  }
  const newest = await lastSeq(db, territory.id);
  const span = await seqsBetween(db, territory.id, { fromMs, untilMs: toMs }, newest);
  const acts = await countActs(db, territory.id, range, span);
  const of = (...actions: string[]): number => actions.reduce((sum, action) => sum + (acts[action] ?? 0), 0);
  const head = await heads.newest();
  const { untold, ...requests } = await countRequests(db, territory.id, range);
  return {
    community: territory,
    requests,
    refusals: await countRefusals(db, territory.id, range),
    appeals: await countAppeals(db, territory.id, range),
    denials: await countDenials(db, territory.id, range, span),
    members: { admitted: of('addMember'), removed: of('removeMember'), suspended: of('suspendMember') },
    devices: { admitted: of('enrolDevice'), revoked: of('revokeDevice'), left: of('leaveDevice') },
    keys: { created: of('createKey'), revoked: of('revokeKey') },
    policyChanges: Object.fromEntries(Object.entries(acts).filter(([action]) => POLICY_CHANGE.test(action))),
    acts,
    energy: { ...(await sumEnergy(db, territory.id, range)), untold },
    log: head === undefined ? null : { entries: head.size, signedAtMs: head.atMs, root: head.root },
  };
}

async function countActs(
  db: Database,
  territory: string,
  { fromMs, toMs }: ReportRange,
  { low, high }: Span,
): Promise<Counts> {
  const rows = await db
    .selectFrom('audit')
    .select(({ fn }) => ['action', fn.countAll<number>().as('count')])
    .where('territory_id', '=', territory)
    .where('action', 'not in', [USED, DENIED])
    .where('seq', '>=', low)
    .where('seq', '<=', high)
    .where('at_ms', '>=', fromMs)
    .where('at_ms', '<', toMs)
    .groupBy('action')
    .orderBy('action')
    .execute();
  return Object.fromEntries(rows.map(({ action, count }) => [action, count]));
}

/** An entry stands for as many denials as it counts. */
async function countDenials(
  db: Database,
  territory: string,
  { fromMs, toMs }: ReportRange,
  { low, high }: Span,
): Promise<Counts> {
  const counts = new Map<string, number>();
  for (let afterSeq = low - 1; ;) {
    const rows = await db
      .selectFrom('audit')
      .select(['seq', 'details_json'])
      .where('territory_id', '=', territory)
      .where('action', '=', DENIED)
      .where('at_ms', '>=', fromMs)
      .where('at_ms', '<', toMs)
      .where('seq', '>', afterSeq)
      .where('seq', '<=', high)
      .orderBy('seq')
      .limit(AUDIT_LIMITS.pageRows)
      .execute();
    for (const { seq, details_json } of rows) {
      const { code, count = 1 } = JSON.parse(details_json) as { code: string; count?: number };
      counts.set(code, (counts.get(code) ?? 0) + count);
      afterSeq = seq;
    }
    if (rows.length < AUDIT_LIMITS.pageRows) return sorted(counts);
  }
}

const DAY_MS = 86_400_000;

async function countRefusals(db: Database, territory: string, { fromMs, toMs }: ReportRange): Promise<Counts> {
  const rows = await db
    .selectFrom('refusals')
    .select(({ fn }) => ['reason', fn.sum<number>('count').as('count')])
    .where('territory_id', '=', territory)
    .where('day', '>=', Math.floor(fromMs / DAY_MS))
    .where('day', '<', Math.ceil(toMs / DAY_MS))
    .groupBy('reason')
    .orderBy('reason')
    .execute();
  return Object.fromEntries(rows.map(({ reason, count }) => [reason, count]));
}

async function countAppeals(
  db: Database,
  territory: string,
  { fromMs, toMs }: ReportRange,
): Promise<AuditReport['appeals']> {
  const rows = await db
    .selectFrom('appeals')
    .select(({ fn }) => ['state', fn.countAll<number>().as('count')])
    .where('territory_id', '=', territory)
    .where('created_at_ms', '>=', fromMs)
    .where('created_at_ms', '<', toMs)
    .groupBy('state')
    .execute();
  const counts = { filed: 0, open: 0, upheld: 0, reversed: 0, withdrawn: 0 };
  for (const { state, count } of rows) {
    counts[state] += count;
    counts.filed += count;
  }
  return counts;
}

const sorted = (counts: ReadonlyMap<string, number>): Counts =>
  Object.fromEntries([...counts].toSorted(([left], [right]) => (left < right ? -1 : 1)));

const UNTOLD = sql<number>`
  sum(case when (state = 'done' or device_id is not null) and energy_uwh is null then 1 else 0 end)`;

async function countRequests(
  db: Database,
  territory: string,
  { fromMs, toMs }: ReportRange,
): Promise<AuditReport['requests'] & { readonly untold: number }> {
  const rows = await db
    .selectFrom('requests')
    .select(({ fn }) => ['state', 'reason', fn.countAll<number>().as('count'), UNTOLD.as('untold')])
    .where('territory_id', '=', territory)
    .where('created_at_ms', '>=', fromMs)
    .where('created_at_ms', '<', toMs)
    .groupBy(['state', 'reason'])
    .execute();
  const byState = { open: 0, done: 0, failed: 0, cancelled: 0 };
  const byReason = new Map<string, number>();
  let [total, untold] = [0, 0];
  for (const { state, reason, count, untold: silent } of rows) {
    total += count;
    untold += silent;
    byState[state] += count;
    if (reason !== null) byReason.set(reason, (byReason.get(reason) ?? 0) + count);
  }
  return { total, byState, byReason: sorted(byReason), untold };
}

const energySchema = receiptSchema.pick({ energy: true });

async function sumEnergy(
  db: Database,
  territory: string,
  { fromMs, toMs }: ReportRange,
): Promise<Omit<AuditReport['energy'], 'untold'>> {
  const wattHours = { measured: 0, modelled: 0 };
  const receipts = { measured: 0, modelled: 0, without: 0 };
  for (let after = ''; ;) {
    const rows = await db
      .selectFrom('receipts')
      .select(['lease', 'statement'])
      .where('territory_id', '=', territory)
      .where('created_at_ms', '>=', fromMs)
      .where('created_at_ms', '<', toMs)
      .where('lease', '>', after)
      .orderBy('lease')
      .limit(AUDIT_LIMITS.reportReceipts)
      .execute();
    for (const { lease, statement } of rows) {
      after = lease;
      const energy = energyOf(statement);
      if (energy === undefined) {
        receipts.without++;
      } else {
        receipts[energy.how]++;
        wattHours[energy.how] += energy.wattHours;
      }
    }
    if (rows.length < AUDIT_LIMITS.reportReceipts) return { wattHours, receipts };
  }
}

/** What a device signed was verified when it came; of a sealed answer it is what this hub signed itself. */
function energyOf(statement: Uint8Array) {
  const { payload } = decodeCbor(statement, 'a receipt') as { payload: Uint8Array };
  return energySchema.parse(decodeCbor(payload, 'a receipt')).energy;
}
