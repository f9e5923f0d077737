/**
 * What a request may spend, before it is begun: the most that it can use is held, then charged by what it used, and
 * what is left returns. Nobody goes beyond a cap but by having it changed.
 *
 * Where nothing bounds a request nothing is asked of the database. Where something does, one transaction locks what
 * bounds it, decides (`decide.ts`) and holds (`holds.ts`), so that replicas that are asked at the same moment give
 * away nothing twice. A hold is let go when its response is over and the ends of all its answers are written,
 * whichever is later; one that its process left behind is let go by `expire`.
 */
import { messageOf, type MaybePromise } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { OpenDatabase } from '../db/open.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { CapKind } from '../db/schema/projects.ts';
import { locking } from '../db/row-lock.ts';
import { transact } from '../db/transact.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import {
  decide,
  floorOf,
  moreOf,
  refusal,
  regularBound,
  type Asker,
  type Bound,
  type Decision,
  type Standing,
  type Wanted,
  type Way,
} from './decide.ts';
import { adoptHold, DAY_MS, dayOf, extendHold, letHoldsGo, lockAccounts, takeHold, type Account } from './holds.ts';
import { PROJECT_LIMITS } from './limits.ts';
import { capsOf, settingsOf, type Caps, type Settings, type SpendRules } from './rules.ts';

/** Who asks. */
export interface Spender {
  readonly keyId: string;
  readonly person?: string | undefined;
  readonly project?: string | undefined;
}

export interface SpendOrder extends Spender {
  /** Of the request as its caller sees it: a run has the same on every replica. */
  readonly id: string;
  readonly wanted: Wanted;
}

/** What a request may use, from before it begins until all of it is written down. */
export interface Hold {
  readonly id: string;
  /** Of prompts and answers together. */
  readonly tokens: number;
  /** Holds as much more as there is, at most this; how much that was. */
  extend(tokens: number): Promise<number>;
  /** The response is over. */
  over(): void;
  /** Another replica goes on with the request, and with this. */
  leave(): void;
}

/** How an account of an asker stands. */
export interface SpendLevel {
  readonly kind: Bound['kind'];
  readonly subject: string;
  readonly tokens?: Bound['tokens'];
  readonly requests?: Bound['requests'];
}

export interface Spending {
  /**
   * Holds what it may use; `undefined` where nothing bounds it. Throws `allocation_spent` and `spend_cap`, and
   * `rate_limit_exceeded` where all that is left is held by others.
   */
  begin(order: SpendOrder): MaybePromise<Hold | undefined>;
  /** Goes on with what another replica held for the request, or holds it anew. */
  resume(order: SpendOrder): Promise<Hold | undefined>;
  /** What bounds the asker now, each way to pay on its own. */
  standing(spender: Spender): Promise<{ readonly levels: readonly SpendLevel[]; readonly renewsAtMs: number }>;
  /** An answer that spends a hold is begun, and its end is written. */
  opened(hold: string): void;
  ended(hold: string): void;
  /** Lets go what processes left behind that are gone; to be called from time to time by one replica. */
  expire(): Promise<number>;
}

export interface SpendingDeps {
  readonly database: Pick<OpenDatabase, 'db' | 'nowMs'>;
  readonly rules: Pick<SpendRules, 'known'>;
  /** Id of this replica. */
  readonly owner: string;
  readonly log: Log;
}

/** Of a hold that this process has. */
interface Held {
  answers: number;
  isOver: boolean;
}

export function createSpending({ database, rules, owner, log }: SpendingDeps, territory: string): Spending {
  const { db, nowMs } = database;
  const held = new Map<string, Held>();

  function letGoIfDone(id: string): void {
    const own = held.get(id);
    if (own === undefined || !own.isOver || own.answers > 0) return;
    held.delete(id);
    // Nobody waits for it; what fails here is let go when it expires.
    transact(db, (tx) => letHoldsGo(tx, territory, [id])).catch((error: unknown) =>
      log.error({ request: id, why: messageOf(error) }, 'what a request held could not be let go; it will expire'),
    );
  }
  function holdOf(spender: SpendOrder, tokens: number): Hold {
    const { id } = spender;
    const own: Held = { answers: 0, isOver: false };
    held.set(id, own);
    return {
      id,
      tokens,
      over() {
        own.isOver = true;
        letGoIfDone(id);
      },
      leave: () => void held.delete(id),
      extend: (wanted) =>
        transact(db, async (tx) => {
          // Holds come before accounts.
          const payer = await lockPayer(tx, territory, id);
          if (payer === undefined) return 0;
          const { ways } = await readFacts(tx, territory, spender, nowMs);
          const more = moreOf(ways, payer.id, wanted);
          if (more > 0) await extendHold(tx, territory, id, more);
          return more;
        }).catch((error: unknown) => {
          log.error({ request: id, why: messageOf(error) }, 'more could not be held for a request');
          return 0;
        }),
    };
  }
  const isBound = (known: Awaited<ReturnType<SpendRules['known']>>, spender: Spender): boolean =>
    spender.project !== undefined ||
    known.settings.allocations === 'required' ||
    subjectsOf(spender).some(({ kind, subject }) => isDaily(known.capsOf(kind, subject)));

  async function take(order: SpendOrder): Promise<Hold> {
    const tokens = await transact(db, async (tx) => {
      const facts = await readFacts(tx, territory, order, nowMs);
      const chosen = decide(facts.ways, order.wanted);
      if (chosen === undefined) {
        const project = await nameOfProject(tx, territory, order.project);
        throw refusal(facts.ways, order.wanted, { ...facts.asker, project });
      }
      await takeHold(tx, territory, {
        id: order.id,
        key: order.keyId,
        day: facts.day,
        accounts: accountsOf(chosen, facts),
        payer: chosen.payer,
        tokens: chosen.tokens,
        owner,
        expiresAtMs: facts.asker.nowMs + PROJECT_LIMITS.holdMsMax,
      });
      return chosen.tokens;
    });
    return holdOf(order, tokens);
  }

  function begin(order: SpendOrder): MaybePromise<Hold | undefined> {
    const known = rules.known();
    if (!(known instanceof Promise)) return isBound(known, order) ? take(order) : undefined;
    return known.then((read) => (isBound(read, order) ? take(order) : undefined));
  }

  return {
    begin,
    async resume(order) {
      const left = await adoptHold(db, territory, order.id, owner);
      return left === undefined ? begin(order) : holdOf(order, left.tokens);
    },
    async standing(spender) {
      return transact(db, async (tx) => {
        const { ways, asker } = await readFacts(tx, territory, spender, nowMs);
        const levels = new Map(ways.flatMap(({ bounds }) => bounds).map((bound) => [levelKey(bound), bound]));
        return { levels: [...levels.values()], renewsAtMs: asker.renewsAtMs };
      });
    },
    opened(hold) {
      const own = held.get(hold);
      if (own !== undefined) own.answers++;
    },
    ended(hold) {
      const own = held.get(hold);
      if (own === undefined) return;
      own.answers--;
      letGoIfDone(hold);
    },
    expire: () =>
      transact(db, async (tx) => {
        const ids = await leftBehind(tx, territory, owner, nowMs);
        await letHoldsGo(tx, territory, ids);
        return ids.length;
      }),
  };
}

/** Who pays a hold, which is locked from here on. */
async function lockPayer(
  tx: DatabaseTransaction,
  territory: string,
  id: string,
): Promise<{ readonly id: string | null } | undefined> {
  const query = tx.selectFrom('spend_holds').select('payer').where('territory_id', '=', territory).where('id', '=', id);
  const row = await locking(tx, query).executeTakeFirst();
  return row === undefined ? undefined : { id: row.payer };
}

const levelKey = ({ kind, subject, tokens }: Bound): string => `${kind} ${subject} ${tokens?.most}`;

/** Whose caps hold for somebody. */
function subjectsOf({ keyId, person, project }: Spender): { readonly kind: CapKind; readonly subject: string }[] {
  return [
    { kind: 'territory', subject: '' },
    { kind: 'key', subject: keyId },
    ...(person === undefined ? [] : [{ kind: 'person' as const, subject: person }]),
    ...(project === undefined ? [] : [{ kind: 'project' as const, subject: project }]),
  ];
}

const isDaily = (caps: Caps | undefined): boolean =>
  caps?.tokensPerDay !== undefined || caps?.requestsPerDay !== undefined;

interface Facts {
  readonly day: number;
  readonly ways: readonly Way[];
  readonly asker: Asker;
  /** Accounts that count whoever pays, and those of the floor. */
  readonly counted: readonly Account[];
  readonly ofFloor: readonly Account[];
}

const accountsOf = ({ payer }: Decision, { counted, ofFloor }: Facts): readonly Account[] =>
  payer === 'floor' ? [...counted, ...ofFloor] : counted;

/** Locks and reads all that bounds a spender. */
async function readFacts(
  tx: DatabaseTransaction,
  territory: string,
  spender: Spender,
  databaseNowMs: OpenDatabase['nowMs'],
): Promise<Facts> {
  const { nowMs, settings, isMember, caps } = await readCaps(tx, territory, spender, databaseNowMs);
  const day = dayOf(nowMs);
  const whole = caps('territory');
  const person = isMember ? spender.person : undefined;
  const hasFloor = person !== undefined && (settings.floorTokens > 0 || settings.floorRequests > 0);
  const members = isDaily(whole) ? await countMembers(tx, territory) : 0;
  const counted = subjectsOf(spender).filter(({ kind }) => isDaily(caps(kind)));
  const floors: Account[] = isDaily(whole) ? [{ kind: 'floors', subject: '' }] : [];
  const ofFloor: Account[] = hasFloor ? [{ kind: 'floor', subject: person }, ...floors] : [];
  const standing = await lockAccounts(tx, territory, day, [...counted, ...(hasFloor ? ofFloor : floors)]);
  const boundOf = (account: Account, most: Caps): Bound => plainBound(account, most, standing(account));
  const own = counted
    .filter(({ kind }) => kind !== 'territory')
    .map((account) => ({ account, caps: caps(account.kind) ?? {} }));
  const all = { kind: 'territory', subject: '' } as const;
  const aside = { tokens: settings.floorTokens * members, requests: settings.floorRequests * members };
  const most = { tokens: whole?.tokensPerDay, requests: whole?.requestsPerDay };
  const regular = isDaily(whole)
    ? [regularBound(most, standing(all), standing({ kind: 'floors', subject: '' }), aside)]
    : [];
  const paid = await payersOf(tx, territory, spender, settings, nowMs);
  const bounds = [...own.map(({ account, caps: cap }) => boundOf(account, cap)), ...regular];
  const ways: Way[] = paid.map(({ payer, bound }) => ({
    payer,
    bounds: [...(bound === undefined ? [] : [bound]), ...bounds],
  }));
  if (hasFloor) {
    const floor = {
      tokensPerDay: floorOf(settings.floorTokens, most.tokens, members),
      requestsPerDay: floorOf(settings.floorRequests, most.requests, members),
    };
    const against = own.filter(({ account }) => account.kind !== 'project');
    ways.push({
      payer: 'floor',
      bounds: [
        boundOf({ kind: 'floor', subject: person }, floor),
        ...against.map(({ account, caps: cap }) => boundOf(account, cap)),
        ...(isDaily(whole) ? [boundOf(all, whole ?? {})] : []),
      ],
    });
  }
  const needsProject = spender.project === undefined && settings.allocations === 'required';
  return { day, ways, counted, ofFloor, asker: { needsProject, renewsAtMs: (day + 1) * DAY_MS, nowMs } };
}

const plainBound = ({ kind, subject }: Account, caps: Caps, { tokens, held, requests }: Standing): Bound => ({
  kind,
  subject,
  tokens: caps.tokensPerDay === undefined ? undefined : { most: caps.tokensPerDay, spent: tokens, held },
  requests: caps.requestsPerDay === undefined ? undefined : { most: caps.requestsPerDay, spent: requests },
});

/** As they are now, whatever is known in memory. */
async function readCaps(
  tx: DatabaseTransaction,
  territory: string,
  spender: Spender,
  nowMs: OpenDatabase['nowMs'],
): Promise<{ nowMs: number; settings: Settings; isMember: boolean; caps: (kind: CapKind) => Caps | undefined }> {
  const rows = await tx
    .selectFrom('spend_caps')
    .selectAll()
    .where('territory_id', '=', territory)
    .where(({ eb, or, and }) =>
      or(subjectsOf(spender).map(({ kind, subject }) => and([eb('kind', '=', kind), eb('subject_id', '=', subject)]))),
    )
    .execute();
  const { person = '' } = spender;
  const row = await tx
    .selectFrom('territories')
    .leftJoin('spend_settings', (join) => join.on('spend_settings.territory_id', '=', territory))
    .leftJoin('members', (join) => join.on('members.territory_id', '=', territory).on('members.person_id', '=', person))
    .select(['allocations', 'floor_tokens', 'floor_requests', 'members.state', sql<number>`${nowMs()}`.as('now_ms')])
    .where('territories.id', '=', territory)
    .executeTakeFirst();
  const caps = new Map(rows.map((cap) => [cap.kind, capsOf(cap)]));
  return {
    nowMs: row?.now_ms ?? 0,
    settings: settingsOf(row),
    isMember: row?.state === 'active',
    caps: (kind) => caps.get(kind),
  };
}

async function countMembers(db: Database, territory: string): Promise<number> {
  const row = await db
    .selectFrom('members')
    .select(({ fn }) => fn.countAll<number>().as('count'))
    .where('territory_id', '=', territory)
    .where('state', '=', 'active')
    .executeTakeFirst();
  return row?.count ?? 0;
}

async function nameOfProject(db: Database, territory: string, id: string | undefined): Promise<string | undefined> {
  if (id === undefined) return undefined;
  const row = await db
    .selectFrom('projects')
    .select('name')
    .where('territory_id', '=', territory)
    .where('id', '=', id)
    .executeTakeFirst();
  return row?.name ?? id;
}

interface Paid {
  readonly payer: string | null;
  readonly bound?: Bound | undefined;
}

/** A project pays with its allocations, the one that ends first before the others; without one nobody has to. */
async function payersOf(
  tx: DatabaseTransaction,
  territory: string,
  { project }: Spender,
  { allocations }: Settings,
  nowMs: number,
): Promise<readonly Paid[]> {
  if (project === undefined) return allocations === 'required' ? [] : [{ payer: null }];
  const rows = await locking(
    tx,
    tx
      .selectFrom('allocations')
      .innerJoin('projects', 'projects.id', 'allocations.project_id')
      .select([
        'allocations.id',
        'granted_tokens',
        'spent_tokens',
        'held_tokens',
        'granted_device_ms',
        'spent_device_ms',
      ])
      .select('to_ms')
      .where('allocations.territory_id', '=', territory)
      .where('projects.territory_id', '=', territory)
      .where('projects.state', '=', 'active')
      .where('project_id', '=', project)
      .where('allocations.state', '=', 'granted')
      .where('from_ms', '<=', nowMs)
      .where('to_ms', '>', nowMs)
      .orderBy('allocations.id'),
  ).execute();
  return rows
    .toSorted((a, b) => a.to_ms - b.to_ms)
    .map((row) => ({
      payer: row.id,
      bound: {
        kind: 'allocation',
        subject: row.id,
        deviceMs:
          row.granted_device_ms === null ? undefined : { most: row.granted_device_ms, spent: row.spent_device_ms },
        tokens: { most: row.granted_tokens, spent: row.spent_tokens, held: row.held_tokens },
      },
    }));
}

/**
 * Holds whose time is over, or whose process is gone while none of their answers is open and nobody can come back to
 * them.
 */
async function leftBehind(
  tx: DatabaseTransaction,
  territory: string,
  owner: string,
  nowMs: OpenDatabase['nowMs'],
): Promise<string[]> {
  const rows = await tx
    .selectFrom('spend_holds')
    .select('spend_holds.id')
    .where('spend_holds.territory_id', '=', territory)
    .where(({ eb, or, and, not, exists, selectFrom }) => {
      const isLive = selectFrom('replicas')
        .select('replicas.id')
        .whereRef('replicas.id', '=', 'spend_holds.owner')
        .where('replicas.seen_at_ms', '>', eb(nowMs(), '-', HUB_LIMITS.replicaLiveMs));
      const isOpen = selectFrom('requests')
        .select('requests.id')
        .where('requests.territory_id', '=', territory)
        .where('requests.state', '=', 'open')
        .whereRef('requests.hold_id', '=', 'spend_holds.id');
      const isRun = selectFrom('runs')
        .select('runs.id')
        .where('runs.territory_id', '=', territory)
        .whereRef('runs.request_id', '=', 'spend_holds.id');
      return or([
        eb('spend_holds.expires_at_ms', '<', nowMs()),
        and([eb('spend_holds.owner', '!=', owner), not(exists(isLive)), not(exists(isOpen)), not(exists(isRun))]),
      ]);
    })
    .orderBy('spend_holds.id')
    .limit(PROJECT_LIMITS.holdsExpiredMax)
    .execute();
  return rows.map(({ id }) => id);
}

/** How many tokens each answer gets of what is held: prompts are read first. */
export function answerShare(tokens: number, { promptTokens, answers }: Wanted): number {
  if (answers === 0) return 0;
  return Math.max(1, Math.floor((tokens - promptTokens) / answers));
}
