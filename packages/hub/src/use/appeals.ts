/**
 * Appeals: whoever was refused by a rule asks a person to look. Nobody decides on one's own appeal; a reversal lifts
 * the rule for the one who appealed, until then or for good. What both say stands in the appeal and not in the audit
 * log.
 */
import { IdlewildError, newId, type Clock, type Random } from '@idlewild/protocol';
import type { Selectable } from 'kysely';
import type { Audit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import type { Appeals as AppealRows, AppealState } from '../db/schema/use.ts';
import { actorOf, personOf, type Principal } from '../identity/principal.ts';
import { touchPeople } from '../people/versions.ts';
import { USE_LIMITS } from './limits.ts';

export interface Appeal {
  readonly id: string;
  readonly refusal: string;
  readonly actor: string;
  /** What the rules gave as their reason, and when, and for which model. */
  readonly reason: string;
  readonly model: string;
  readonly refusedAtMs: number;
  readonly words: string;
  readonly state: AppealState;
  readonly createdAtMs: number;
  readonly dueAtMs: number;
  readonly decidedBy: string | null;
  readonly decidedAtMs: number | null;
  readonly note: string | null;
}

export interface AppealDecision {
  readonly state: 'upheld' | 'reversed';
  readonly note?: string | undefined;
  /** Of a reversal: how long the rule is lifted; absent: until it is taken back. */
  readonly exemptMs?: number | undefined;
}

export interface Appeals {
  /** Throws `not_found` for a refusal of somebody else, `conflict` for a second appeal, `too_busy` for too many. */
  file(asker: Principal, order: { readonly refusal: string; readonly words: string }): Promise<Appeal>;
  /** Throws `not_found`, or `conflict` where it is decided. */
  withdraw(asker: Principal, id: string): Promise<void>;
  /** Throws `not_found`, `conflict` where it is decided, `forbidden` for one's own. */
  decide(decider: Principal, id: string, decision: AppealDecision): Promise<Appeal>;
  /** Oldest first where they are open, else newest first; `of`: the asker's own alone. */
  list(query: { readonly state?: AppealState | undefined; readonly of?: Principal | undefined }): Promise<Appeal[]>;
  /** Throws `not_found`; `of`: for whom somebody else's is none. */
  show(id: string, of?: Principal): Promise<Appeal>;
  /** How many were filed, and how they ended, within a span. */
  sums(span: { readonly fromMs: number; readonly untilMs: number }): Promise<Readonly<Record<AppealState, number>>>;
}

export interface AppealsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now'>;
  readonly random: Random;
  readonly audit: Audit;
}

type Row = Selectable<AppealRows> & { readonly reason: string; readonly model: string; readonly at_ms: number };

export function createAppeals({ db, clock, random, audit }: AppealsDeps, territory: string): Appeals {
  /** Under which names somebody may have been refused: as this key, and as its person. */
  const namesOf = (asker: Principal): string[] => [...new Set([actorOf(asker), personOf(asker) ?? actorOf(asker)])];

  const rows = (source: Database) =>
    source
      .selectFrom('appeals')
      .innerJoin('refused', (join) =>
        join.onRef('refused.id', '=', 'appeals.refused_id').on('refused.territory_id', '=', territory),
      )
      .selectAll('appeals')
      .select(['refused.reason', 'refused.model', 'refused.at_ms'])
      .where('appeals.territory_id', '=', territory);

  async function found(source: Database, id: string, of?: Principal): Promise<Row> {
    let query = rows(source).where('appeals.id', '=', id);
    if (of !== undefined) query = query.where('appeals.actor', 'in', namesOf(of));
    const row = await query.executeTakeFirst();
    if (row === undefined) throw new IdlewildError('not_found', `there is no appeal ${id} here`);
    return row;
  }

  /** The condition is part of the update: of two who decide at once, one does. */
  async function close(
    transaction: DatabaseTransaction,
    { id, state }: Pick<Row, 'id' | 'state'>,
    change: Partial<AppealRows>,
  ): Promise<void> {
    const { numUpdatedRows } = await transaction
      .updateTable('appeals')
      .set(change)
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .where('state', '=', 'open')
      .executeTakeFirst();
    if (numUpdatedRows === 0n) {
      const how = state === 'open' ? 'decided by somebody else just now' : state;
      throw new IdlewildError('conflict', `the appeal ${id} is not open any more: it was ${how}`);
    }
  }

  async function refusalOf(transaction: DatabaseTransaction, asker: Principal, id: string) {
    const refusal = await transaction
      .selectFrom('refused')
      .selectAll()
      .where('territory_id', '=', territory)
      .where('id', '=', id)
      .executeTakeFirst();
    const names = namesOf(asker);
    const isTheirs =
      refusal !== undefined && [refusal.actor, refusal.person_id].some((name) => names.includes(name ?? ''));
    if (refusal !== undefined && isTheirs) return refusal;
    throw new IdlewildError('not_found', `you were not refused anything under the id ${id} here`);
  }

  async function checkFree(transaction: DatabaseTransaction, asker: Principal, refusal: string): Promise<void> {
    const mine = await transaction
      .selectFrom('appeals')
      .select(['refused_id', 'state'])
      .where('territory_id', '=', territory)
      .where('actor', 'in', namesOf(asker))
      .execute();
    if (mine.some((appeal) => appeal.refused_id === refusal))
      throw new IdlewildError(
        'conflict',
        `there is an appeal against ${refusal} already; see \`idlewild appeals list\``,
      );
    if (mine.filter(({ state }) => state === 'open').length < USE_LIMITS.openAppealsMax) return;
    const message = `you have ${USE_LIMITS.openAppealsMax} open appeals; wait until some are decided, or withdraw one`;
    throw new IdlewildError('conflict', message);
  }

  return {
    async file(asker, { refusal: refusalId, words }) {
      const id = newId('apl', random);
      await db.transaction().execute(async (transaction) => {
        const refusal = await refusalOf(transaction, asker, refusalId);
        await checkFree(transaction, asker, refusalId);
        const nowMs = clock.now();
        await transaction
          .insertInto('appeals')
          .values({
            id,
            territory_id: territory,
            refused_id: refusal.id,
            actor: personOf(asker) ?? actorOf(asker),
            words,
            state: 'open',
            created_at_ms: nowMs,
            due_at_ms: nowMs + USE_LIMITS.appealDueMs,
            decided_by: null,
            decided_at_ms: null,
            note: null,
          })
          .execute();
        const details = { refusal: refusal.id, reason: refusal.reason };
        await audit.append(transaction, {
          territory,
          actor: actorOf(asker),
          action: 'fileAppeal',
          subject: id,
          details,
        });
      });
      return appealOf(await found(db, id));
    },
    async withdraw(asker, id) {
      await db.transaction().execute(async (transaction) => {
        const row = await found(transaction, id, asker);
        await close(transaction, row, { state: 'withdrawn', decided_at_ms: clock.now() });
        await audit.append(transaction, { territory, actor: actorOf(asker), action: 'withdrawAppeal', subject: id });
      });
    },
    async decide(decider, id, { state, note, exemptMs }) {
      await db.transaction().execute(async (transaction) => {
        const row = await found(transaction, id);
        if (namesOf(decider).includes(row.actor)) {
          const message = 'nobody decides on their own appeal; ask somebody else who may';
          throw new IdlewildError('forbidden', message, { details: { appeal: id } });
        }
        const nowMs = clock.now();
        const decided = { decided_by: actorOf(decider), decided_at_ms: nowMs, note: note ?? null };
        await close(transaction, row, { state, ...decided });
        if (state === 'reversed') {
          const untilMs = exemptMs === undefined ? null : nowMs + exemptMs;
          await transaction
            .insertInto('use_exemptions')
            .values({ territory_id: territory, subject: row.actor, reason: row.reason, until_ms: untilMs })
            .onConflict((conflict) =>
              conflict.columns(['territory_id', 'subject', 'reason']).doUpdateSet({ until_ms: untilMs }),
            )
            .execute();
          await touchPeople(transaction, territory);
        }
        const details = { state, reason: row.reason, ...(exemptMs === undefined ? {} : { exemptMs }) };
        const event = { territory, actor: actorOf(decider), action: 'decideAppeal', subject: id, details };
        await audit.append(transaction, event);
      });
      return appealOf(await found(db, id));
    },
    async list({ state, of }) {
      let query = rows(db);
      if (state !== undefined) query = query.where('appeals.state', '=', state);
      if (of !== undefined) query = query.where('appeals.actor', 'in', namesOf(of));
      const order = state === 'open' ? 'asc' : 'desc';
      const listed = await query.orderBy('appeals.created_at_ms', order).limit(USE_LIMITS.listedMax).execute();
      return listed.map(appealOf);
    },
    show: async (id, of) => appealOf(await found(db, id, of)),
    async sums({ fromMs, untilMs }) {
      const counted = await db
        .selectFrom('appeals')
        .select((row) => ['state', row.fn.countAll<number>().as('count')])
        .where('territory_id', '=', territory)
        .where('created_at_ms', '>=', fromMs)
        .where('created_at_ms', '<', untilMs)
        .groupBy('state')
        .execute();
      const none: Record<AppealState, number> = { open: 0, upheld: 0, reversed: 0, withdrawn: 0 };
      return { ...none, ...Object.fromEntries(counted.map(({ state, count }) => [state, count])) };
    },
  };
}

const appealOf = (row: Row): Appeal => ({
  id: row.id,
  refusal: row.refused_id,
  actor: row.actor,
  reason: row.reason,
  model: row.model,
  refusedAtMs: row.at_ms,
  words: row.words,
  state: row.state,
  createdAtMs: row.created_at_ms,
  dueAtMs: row.due_at_ms,
  decidedBy: row.decided_by,
  decidedAtMs: row.decided_at_ms,
  note: row.note,
});
