/**
 * What bounds some who ask at the same moment: read once for all of them, locked until the transaction ends, and
 * counted on as they are given something, so that the second is told what the first left.
 *
 * Rows are locked in one order (`holds.ts`). What is decided by it is `decide.ts`'s.
 */
import { sql } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import type { Allocations } from '../db/schema/projects.ts';
import { locking } from '../db/row-lock.ts';
import { floorOf, regularBound, type Asker, type Bound, type Decision, type Standing, type Way } from './decide.ts';
import { DAY_MS, dayOf, lockAccounts, type Account } from './accounts.ts';
import { capsOf, holdingCaps, settingsOf, type Caps, type Settings } from './rules.ts';
import { subjectsOf, type Spender } from './subjects.ts';

/** Of one who asks. */
export interface Facts {
  readonly ways: readonly Way[];
  readonly asker: Asker;
  /** Accounts that count whoever pays, and those of the floor. */
  readonly counted: readonly Account[];
  readonly ofFloor: readonly Account[];
}

export interface Books {
  readonly day: number;
  readonly nowMs: number;
  /** With all that was given since they were read. */
  factsOf(spender: Spender): Facts;
  /** So much was given to a request that begins, or (`isMore`) to one that goes on. */
  given(decision: Decision, accounts: readonly Account[], isMore?: boolean): void;
}

export const isDaily = (caps: Caps | undefined): boolean =>
  caps?.tokensPerDay !== undefined || caps?.requestsPerDay !== undefined;

export const accountsOf = ({ payer }: Decision, { counted, ofFloor }: Facts): readonly Account[] =>
  payer === 'floor' ? [...counted, ...ofFloor] : counted;

const nameOf = ({ kind, subject }: { readonly kind: string; readonly subject: string }): string => `${kind} ${subject}`;
const WHOLE = { kind: 'territory', subject: '' } as const;
const FLOORS = { kind: 'floors', subject: '' } as const;

/** Locks and reads all that bounds these: the accounts of today, or of the day on which they were begun. */
export async function openBooks(
  tx: DatabaseTransaction,
  territory: string,
  spenders: readonly Spender[],
  databaseNowMs: OpenDatabase['nowMs'],
  ofDay?: number,
): Promise<Books> {
  const held = await readCaps(tx, territory, spenders, databaseNowMs);
  const { nowMs, settings, caps, members } = held;
  const day = ofDay ?? dayOf(nowMs);
  const isCapped = isDaily(caps(WHOLE));
  const most = { tokens: caps(WHOLE)?.tokensPerDay, requests: caps(WHOLE)?.requestsPerDay };
  const everybody = isCapped ? await countMembers(tx, territory) : 0;
  const hasFloors = settings.floorTokens > 0 || settings.floorRequests > 0;
  const floors: readonly Account[] = isCapped ? [FLOORS] : [];
  const countedOf = (spender: Spender): Account[] => subjectsOf(spender).filter((subject) => isDaily(caps(subject)));
  const floorsOf = ({ person }: Spender): Account[] =>
    person !== undefined && hasFloors && members.has(person) ? [{ kind: 'floor', subject: person }, FLOORS] : [];
  const accounts = spenders.flatMap((spender) => [...countedOf(spender), ...floorsOf(spender), ...floors]);
  const all = new Map(accounts.map((account) => [nameOf(account), account]));
  const locked = await lockAccounts(tx, territory, day, [...all.values()]);
  const standings = new Map([...all].map(([name, account]) => [name, locked(account)]));
  const payers = await lockPayers(tx, territory, spenders, nowMs);
  const standing = (account: Account): Standing => standings.get(nameOf(account)) ?? locked(account);
  const boundOf = (account: Account, cap: Caps): Bound => plainBound(account, cap, standing(account));

  function factsOf(spender: Spender): Facts {
    const counted = countedOf(spender);
    const ofFloor = floorsOf(spender);
    const own = counted
      .filter(({ kind }) => kind !== 'territory')
      .map((account) => ({ account, cap: caps(account) ?? {} }));
    const aside = { tokens: settings.floorTokens * everybody, requests: settings.floorRequests * everybody };
    // Floors may have spent more than is set aside for them by now: there are fewer members, or theirs is smaller.
    const whole = isCapped ? [boundOf(WHOLE, caps(WHOLE) ?? {})] : [];
    const regular = isCapped ? [regularBound(most, standing(WHOLE), standing(FLOORS), aside), ...whole] : [];
    const bounds = [...own.map(({ account, cap }) => boundOf(account, cap)), ...regular];
    const ways: Way[] = payers
      .of(spender, settings)
      .map(({ payer, bound }) => ({ payer, bounds: [...(bound === undefined ? [] : [bound]), ...bounds] }));
    const [floor] = ofFloor;
    if (floor !== undefined) {
      const each = {
        tokensPerDay: floorOf(settings.floorTokens, most.tokens, everybody),
        requestsPerDay: floorOf(settings.floorRequests, most.requests, everybody),
      };
      const against = own.filter(({ account }) => account.kind !== 'project');
      const others = against.map(({ account, cap }) => boundOf(account, cap));
      ways.push({ payer: 'floor', bounds: [boundOf(floor, each), ...others, ...whole] });
    }
    const needsProject = spender.project === undefined && settings.allocations === 'required';
    return { ways, counted, ofFloor, asker: { needsProject, renewsAtMs: (day + 1) * DAY_MS, nowMs } };
  }
  return {
    day,
    nowMs,
    factsOf,
    given({ payer, tokens }, from, isMore = false) {
      for (const account of from) {
        const before = standing(account);
        const more = { held: before.held + tokens, requests: before.requests + (isMore ? 0 : 1) };
        standings.set(nameOf(account), { ...before, ...more });
      }
      payers.given(payer, tokens);
    },
  };
}

const plainBound = ({ kind, subject }: Account, caps: Caps, { tokens, held, requests }: Standing): Bound => ({
  kind,
  subject,
  tokens: caps.tokensPerDay === undefined ? undefined : { most: caps.tokensPerDay, spent: tokens, held },
  requests: caps.requestsPerDay === undefined ? undefined : { most: caps.requestsPerDay, spent: requests },
});

interface HeldCaps {
  readonly nowMs: number;
  readonly settings: Settings;
  /** Of those who ask, the active ones. */
  readonly members: ReadonlySet<string>;
  caps(of: { readonly kind: string; readonly subject: string }): Caps | undefined;
}

/** As they are now, whatever is known in memory. */
async function readCaps(
  tx: DatabaseTransaction,
  territory: string,
  spenders: readonly Spender[],
  nowMs: OpenDatabase['nowMs'],
): Promise<HeldCaps> {
  const subjects = new Set(spenders.flatMap(subjectsOf).map(({ subject }) => subject));
  const rows = await tx
    .selectFrom('spend_caps')
    .selectAll()
    .where('territory_id', '=', territory)
    .where('subject_id', 'in', [...subjects])
    .execute();
  const people = new Set(spenders.flatMap(({ person }) => (person === undefined ? [] : [person])));
  const row = await tx
    .selectFrom('territories')
    .leftJoin('spend_settings', (join) => join.on('spend_settings.territory_id', '=', territory))
    .select(['allocations', 'floor_tokens', 'floor_requests', sql<number>`${nowMs()}`.as('now_ms')])
    .where('territories.id', '=', territory)
    .executeTakeFirst();
  const active =
    people.size === 0
      ? []
      : await tx
          .selectFrom('members')
          .select('person_id')
          .where('territory_id', '=', territory)
          .where('state', '=', 'active')
          .where('person_id', 'in', [...people])
          .execute();
  const caps = new Map(rows.map((cap) => [nameOf({ kind: cap.kind, subject: cap.subject_id }), capsOf(cap)]));
  return {
    nowMs: row?.now_ms ?? 0,
    settings: settingsOf(row),
    members: new Set(active.map((member) => member.person_id)),
    caps: (of) => holdingCaps((kind, subject) => caps.get(nameOf({ kind, subject })), of.kind, of.subject),
  };
}

async function countMembers(tx: DatabaseTransaction, territory: string): Promise<number> {
  const row = await tx
    .selectFrom('members')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('territory_id', '=', territory)
    .where('state', '=', 'active')
    .executeTakeFirst();
  return row?.count ?? 0;
}

interface Paid {
  readonly payer: string | null;
  readonly bound?: Bound | undefined;
}

interface Payers {
  of(spender: Spender, settings: Settings): readonly Paid[];
  given(payer: string | null, tokens: number): void;
}

type PayingAllocation = Pick<
  Allocations,
  'id' | 'project_id' | 'granted_tokens' | 'spent_tokens' | 'granted_device_ms' | 'spent_device_ms' | 'to_ms'
> & { held_tokens: number };

/** A project pays with its allocations, the one that ends first before the others; without one nobody has to. */
async function lockPayers(
  tx: DatabaseTransaction,
  territory: string,
  spenders: readonly Spender[],
  nowMs: number,
): Promise<Payers> {
  const projects = [...new Set(spenders.flatMap(({ project }) => (project === undefined ? [] : [project])))];
  const rows: PayingAllocation[] =
    projects.length === 0
      ? []
      : await locking(
          tx,
          tx
            .selectFrom('allocations')
            .innerJoin('projects', 'projects.id', 'allocations.project_id')
            .select(['allocations.id', 'project_id', 'granted_tokens', 'spent_tokens', 'held_tokens'])
            .select(['granted_device_ms', 'spent_device_ms', 'to_ms'])
            .where('allocations.territory_id', '=', territory)
            .where('projects.territory_id', '=', territory)
            .where('projects.state', '=', 'active')
            .where('project_id', 'in', projects)
            .where('allocations.state', '=', 'granted')
            .where('from_ms', '<=', nowMs)
            .where('to_ms', '>', nowMs)
            .orderBy('allocations.id'),
        ).execute();
  const byProject = Map.groupBy(
    rows.toSorted((a, b) => a.to_ms - b.to_ms),
    (row) => row.project_id,
  );
  return {
    of({ project }, { allocations }) {
      if (project === undefined) return allocations === 'required' ? [] : [{ payer: null }];
      return (byProject.get(project) ?? []).map((row) => ({ payer: row.id, bound: boundOfAllocation(row) }));
    },
    given(payer, tokens) {
      const row = rows.find(({ id }) => id === payer);
      if (row !== undefined) row.held_tokens += tokens;
    },
  };
}

const boundOfAllocation = (row: PayingAllocation): Bound => ({
  kind: 'allocation',
  subject: row.id,
  deviceMs: row.granted_device_ms === null ? undefined : { most: row.granted_device_ms, spent: row.spent_device_ms },
  tokens: { most: row.granted_tokens, spent: row.spent_tokens, held: row.held_tokens },
});
