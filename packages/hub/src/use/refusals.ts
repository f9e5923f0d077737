/**
 * What was refused: counted by reason and day, and kept one by one where a rule of use was the reason, so that somebody
 * can say something against it. Never what was asked. Counts are written together, some time later.
 */
import { messageOf, newId, type Clock, type Random, type Timer } from '@idlewild/protocol';
import { sql } from 'kysely';
import type { Database } from '../db/schema.ts';
import { actorOf, personOf, type Principal } from '../identity/principal.ts';
import type { Log } from '../log.ts';
import { USE_LIMITS } from './limits.ts';

const DAY_MS = 86_400_000;

export interface RefusalCount {
  readonly reason: string;
  readonly count: number;
}

export interface Refusals {
  /** One more, for the statistics; at once, and written later. */
  count(reason: string): void;
  /** Keeps a refusal by a rule, and counts it; its id, or `undefined` where this asker has too many of today. */
  keep(asker: Principal, refused: { readonly reason: string; readonly model: string }): Promise<string | undefined>;
  /** Sums over days from `fromMs` on and before `untilMs`, most first. */
  sums(span: { readonly fromMs: number; readonly untilMs: number }): Promise<RefusalCount[]>;
  /** Forgets what is too old, where nobody appealed. */
  forgetOld(): Promise<void>;
  /** Writes what is only counted yet. */
  flush(): Promise<void>;
  stop(): Promise<void>;
}

export interface RefusalsDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'now' | 'after'>;
  readonly random: Random;
  readonly log: Log;
}

export function createRefusals({ db, clock, random, log }: RefusalsDeps, territory: string): Refusals {
  let counts = new Map<string, { readonly day: number; readonly reason: string; count: number }>();
  let timer: Timer | undefined;
  let writing: Promise<void> = Promise.resolve();

  function add(reason: string, count: number, day: number): void {
    const known = counts.get(`${day} ${reason}`);
    if (known !== undefined) known.count += count;
    else if (counts.size < USE_LIMITS.reasonsMax) counts.set(`${day} ${reason}`, { day, reason, count });
    else log.warn({ reason }, 'a refusal is not counted: there are too many reasons');
    timer ??= clock.after(USE_LIMITS.countFlushMs, () => void flush());
  }

  async function write(): Promise<void> {
    timer?.cancel();
    timer = undefined;
    const rows = [...counts.values()];
    if (rows.length === 0) return;
    counts = new Map();
    try {
      await db
        .insertInto('refusals')
        .values(rows.map((row) => ({ territory_id: territory, ...row })))
        .onConflict((conflict) =>
          conflict
            .columns(['territory_id', 'day', 'reason'])
            .doUpdateSet({ count: sql<number>`refusals.count + excluded.count` }),
        )
        .execute();
    } catch (error) {
      log.error({ why: messageOf(error) }, 'refusals could not be counted; they are tried again');
      for (const { reason, count, day } of rows) add(reason, count, day);
    }
  }
  const flush = (): Promise<void> => (writing = writing.then(write));
  const today = (): number => Math.floor(clock.now() / DAY_MS);

  return {
    count: (reason) => add(reason, 1, today()),
    async keep(asker, { reason, model }) {
      add(`use:${reason}`, 1, today());
      const actor = actorOf(asker);
      const { kept } = await db
        .selectFrom('refused')
        .select((row) => row.fn.countAll<number>().as('kept'))
        .where('territory_id', '=', territory)
        .where('actor', '=', actor)
        .where('at_ms', '>', clock.now() - DAY_MS)
        .executeTakeFirstOrThrow();
      if (kept >= USE_LIMITS.refusedPerDayMax) return undefined;
      const id = newId('ref', random);
      const person = personOf(asker) ?? null;
      await db
        .insertInto('refused')
        .values({ id, territory_id: territory, actor, person_id: person, reason, model, at_ms: clock.now() })
        .execute();
      return id;
    },
    async sums({ fromMs, untilMs }) {
      await flush();
      const rows = await db
        .selectFrom('refusals')
        .select((row) => ['reason', row.fn.sum<number>('count').as('count')])
        .where('territory_id', '=', territory)
        .where('day', '>=', Math.floor(fromMs / DAY_MS))
        .where('day', '<', Math.ceil(untilMs / DAY_MS))
        .groupBy('reason')
        .execute();
      return rows
        .map(({ reason, count }) => ({ reason, count }))
        .sort((a, b) => b.count - a.count || a.reason.localeCompare(b.reason));
    },
    async forgetOld() {
      await db
        .deleteFrom('refused')
        .where('territory_id', '=', territory)
        .where('at_ms', '<', clock.now() - USE_LIMITS.refusedKeptMs)
        .where('id', 'not in', (query) =>
          query.selectFrom('appeals').select('refused_id').where('territory_id', '=', territory),
        )
        .execute();
    },
    flush,
    async stop() {
      await flush();
    },
  };
}
