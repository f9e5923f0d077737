/**
 * What a request may spend, before it is begun: the most that it can use is held, then charged by what it used, and
 * what is left returns. Nobody goes beyond a cap but by having it changed.
 *
 * Where nothing bounds a request nothing is asked of the database. Where something does, one transaction locks what
 * bounds it, decides (`decide.ts`) and holds (`holds.ts`), so that replicas that are asked at the same moment give
 * away nothing twice. Who comes while one runs goes with the next, so that a row which all of them need is waited for
 * once. A hold is let go when its response is over and the ends of all its answers are written,
 * whichever is later; one that its process left behind, or lost sight of, is let go by `expire` (`left-behind.ts`).
 * Who comes back to a run of which an answer was begun is asked for nothing: what it holds goes on, if it holds any.
 */
import { messageOf, type MaybePromise } from '@idlewild/protocol';
import type { OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { Log } from '../log.ts';
import { decide, moreOf, refusal, type Bound, type Wanted } from './decide.ts';
import { accountsOf, isDaily, openBooks } from './facts.ts';
import { adoptHold, extendHolds, letHoldsGo, takeHolds, type HoldOrder } from './holds.ts';
import { leftByGone, lostByOwner } from './left-behind.ts';
import { PROJECT_LIMITS } from './limits.ts';
import type { SpendRules } from './rules.ts';
import { subjectsOf, type Spender } from './subjects.ts';
import { createTogether, type Outcome } from './together.ts';

export interface SpendOrder extends Spender {
  /** Of the request as its caller sees it: a run has the same on every replica. */
  readonly id: string;
  readonly wanted: Wanted;
}

export interface ResumeOrder extends SpendOrder {
  /** Id of the run that goes on. */
  readonly run: string;
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
  /**
   * Goes on with what another replica held for the request. Where that is let go already, or nothing bound it, what was
   * begun goes on as it is, and is charged when it ends; of what was not, `begin`.
   */
  resume(order: ResumeOrder): Promise<Hold | undefined>;
  /** What bounds the asker now, each way to pay on its own. */
  standing(spender: Spender): Promise<{ readonly levels: readonly SpendLevel[]; readonly renewsAtMs: number }>;
  /** An answer that spends a hold is begun, and its end is written. */
  opened(hold: string): void;
  ended(hold: string): void;
  /**
   * Lets go what this process holds and does not know of; of `all` also what processes left behind that are gone, which
   * is for one replica to do. To be called from time to time.
   */
  expire(of: 'own' | 'all'): Promise<number>;
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

/** What a request wants beyond what it holds. */
interface More {
  readonly id: string;
  readonly spender: Spender;
  readonly wanted: number;
}

export function createSpending({ database, rules, owner, log }: SpendingDeps, territory: string): Spending {
  const { db, nowMs } = database;
  const held = new Map<string, Held>();
  const takeTogether = createTogether(takeAll);
  const extendTogether = createTogether(extendAll);
  const letGoTogether = createTogether(async (ids: readonly string[]) => {
    await transact(db, (tx) => letHoldsGo(tx, territory, ids));
    return ids.map(() => ({ result: undefined }));
  });

  function letGoIfDone(id: string): void {
    const own = held.get(id);
    if (own === undefined || !own.isOver || own.answers > 0) return;
    held.delete(id);
    // Nobody waits for it; what fails here is let go when it expires.
    letGoTogether(id).catch((error: unknown) =>
      log.error({ request: id, why: messageOf(error) }, 'what a request held could not be let go; it will expire'),
    );
  }
  /** Known before the database says so: `expire` may look while a transaction of which nobody has heard yet is over. */
  async function knowing<Result>(id: string, act: (own: Held) => Promise<Result>): Promise<Result> {
    const own: Held = { answers: 0, isOver: false };
    held.set(id, own);
    try {
      return await act(own);
    } catch (error) {
      held.delete(id);
      throw error;
    }
  }
  function holdOf(spender: SpendOrder, own: Held, tokens: number): Hold {
    const { id } = spender;
    return {
      id,
      tokens,
      over() {
        own.isOver = true;
        letGoIfDone(id);
      },
      leave: () => void held.delete(id),
      extend: (wanted) =>
        extendTogether({ id, spender, wanted }).catch((error: unknown) => {
          log.error({ request: id, why: messageOf(error) }, 'more could not be held for a request');
          return 0;
        }),
    };
  }
  const isBound = (known: Awaited<ReturnType<SpendRules['known']>>, spender: Spender): boolean =>
    spender.project !== undefined ||
    known.settings.allocations === 'required' ||
    subjectsOf(spender).some(({ kind, subject }) => isDaily(known.capsOf(kind, subject)));

  /** All who come at the same moment, in their order: in one transaction, which waits for rows once. */
  async function takeAll(orders: readonly SpendOrder[]): Promise<Outcome<number>[]> {
    return transact(db, async (tx) => {
      const books = await openBooks(tx, territory, orders, nowMs);
      const holds: HoldOrder[] = [];
      const outcomes: Outcome<number>[] = [];
      for (const order of orders) {
        const facts = books.factsOf(order);
        const chosen = decide(facts.ways, order.wanted);
        if (chosen === undefined) {
          const project = await nameOfProject(tx, territory, order.project);
          outcomes.push({ error: refusal(facts.ways, order.wanted, { ...facts.asker, project }) });
          continue;
        }
        const accounts = accountsOf(chosen, facts);
        books.given(chosen, accounts);
        const expiresAtMs = books.nowMs + PROJECT_LIMITS.holdMsMax;
        holds.push({ id: order.id, key: order.keyId, day: books.day, accounts, ...chosen, owner, expiresAtMs });
        outcomes.push({ result: chosen.tokens });
      }
      await takeHolds(tx, territory, holds);
      return outcomes;
    });
  }
  /** Holds come before accounts, which are those of the day on which a request was begun: that day pays for it. */
  async function extendAll(asked: readonly More[]): Promise<Outcome<number>[]> {
    return transact(db, async (tx) => {
      const results = asked.map(() => 0);
      const ids = new Set(asked.map(({ id }) => id));
      await extendHolds(tx, territory, [...ids], async (day, holds) => {
        const spenders = asked.flatMap(({ id, spender }) => (holds.has(id) ? [spender] : []));
        const books = await openBooks(tx, territory, spenders, nowMs, day);
        const granted = new Map<string, number>();
        for (const [index, { id, spender, wanted }] of asked.entries()) {
          const hold = holds.get(id);
          if (hold === undefined) continue;
          const tokens = moreOf(books.factsOf(spender).ways, hold.payer, wanted);
          books.given({ payer: hold.payer, tokens }, hold.accounts, true);
          granted.set(id, (granted.get(id) ?? 0) + tokens);
          results[index] = tokens;
        }
        return granted;
      });
      return results.map((result) => ({ result }));
    });
  }
  const take = (order: SpendOrder): Promise<Hold> =>
    knowing(order.id, async (own) => holdOf(order, own, await takeTogether(order)));

  function begin(order: SpendOrder): MaybePromise<Hold | undefined> {
    const known = rules.known();
    if (!(known instanceof Promise)) return isBound(known, order) ? take(order) : undefined;
    return known.then((read) => (isBound(read, order) ? take(order) : undefined));
  }

  return {
    begin,
    async resume(order) {
      const adopted = await knowing(order.id, async (own) => {
        const left = await adoptHold(db, territory, order.id, owner);
        if (left === undefined) held.delete(order.id);
        return left && holdOf(order, own, left.tokens);
      });
      if (adopted !== undefined) return adopted;
      // Looked at after the hold: what let it go has written the ends of its answers before.
      return (await isBegun(db, territory, order.run)) ? undefined : begin(order);
    },
    async standing(spender) {
      return transact(db, async (tx) => {
        const { ways, asker } = (await openBooks(tx, territory, [spender], nowMs)).factsOf(spender);
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
    expire: (of) =>
      transact(db, async (tx) => {
        const gone = of === 'all' ? await leftByGone(tx, territory, owner, nowMs) : [];
        const lost = await lostByOwner(tx, territory, owner, (id) => held.has(id));
        const ids = new Set([...gone, ...lost]);
        await letHoldsGo(tx, territory, [...ids]);
        return ids.size;
      }),
  };
}

const levelKey = ({ kind, subject, tokens }: Bound): string => `${kind} ${subject} ${tokens?.most}`;

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

/** Whether a run has an answer that is made, or being made. */
async function isBegun(db: Database, territory: string, run: string): Promise<boolean> {
  const row = await db
    .selectFrom('requests')
    .select('id')
    .where('territory_id', '=', territory)
    .where('run_id', '=', run)
    .where('state', 'in', ['open', 'done'])
    .limit(1)
    .executeTakeFirst();
  return row !== undefined;
}

/** How many tokens each answer gets of what is held: prompts are read first. */
export function answerShare(tokens: number, { promptTokens, answers }: Wanted): number {
  if (answers === 0) return 0;
  return Math.max(1, Math.floor((tokens - promptTokens) / answers));
}
