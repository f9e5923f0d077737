/**
 * Work that costs as much for many as for one, such as a transaction that waits for a row: who comes while one runs
 * goes with the next (`db/together.ts`), each has an answer of its own, and the line has a bound.
 *
 * What fails for all of a run is tried for each alone, so nobody fails for another's sake. Where the database is away
 * nobody is tried again: that is nobody's fault, and what was written may have been kept.
 */
import { IdlewildError, codeOf } from '@idlewild/protocol';
import { together } from '../db/together.ts';
import { PROJECT_LIMITS } from './limits.ts';

export type Outcome<Result> = { readonly result: Result } | { readonly error: unknown };

/** `work` answers each order, in their order. Throws `too_busy` where too many wait. */
export function createTogether<Order, Result>(
  work: (orders: readonly Order[]) => Promise<readonly Outcome<Result>[]>,
): (order: Order) => Promise<Result> {
  let waiting = 0;

  async function alone(order: Order): Promise<Outcome<Result>> {
    try {
      return (await work([order]))[0] as Outcome<Result>;
    } catch (error) {
      return { error };
    }
  }
  const inRuns = together<Order, Outcome<Result>>(PROJECT_LIMITS.togetherMax, async (orders) => {
    try {
      return await work(orders);
    } catch (error) {
      if (orders.length === 1 || codeOf(error) === 'database_unavailable') throw error;
      return Promise.all(orders.map(alone));
    }
  });
  return async (order) => {
    if (waiting >= PROJECT_LIMITS.togetherWaitingMax) {
      const message = `${waiting} requests wait for the hub's database already; try again in a moment`;
      throw new IdlewildError('too_busy', message, { details: { retryAfterSeconds: 5 } });
    }
    waiting++;
    try {
      const outcome = await inRuns(order);
      if ('error' in outcome) throw outcome.error;
      return outcome.result;
    } finally {
      waiting--;
    }
  };
}
