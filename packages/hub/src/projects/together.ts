/**
 * Work that costs as much for many as for one, such as a transaction that waits for a row: one run at a time, and who
 * comes while it runs goes with the next. Nobody waits for company. What fails for all of a run is tried for each
 * alone, so nobody fails for another's sake.
 */
import { IdlewildError } from '@idlewild/protocol';
import { PROJECT_LIMITS } from './limits.ts';

export type Outcome<Result> = { readonly result: Result } | { readonly error: unknown };

interface Waiting<Order, Result> {
  readonly order: Order;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/** `work` answers each order, in their order. Throws `too_busy` where too many wait. */
export function createTogether<Order, Result>(
  work: (orders: readonly Order[]) => Promise<readonly Outcome<Result>[]>,
): (order: Order) => Promise<Result> {
  let waiting: Waiting<Order, Result>[] = [];
  let isRunning = false;

  async function runFor(some: readonly Waiting<Order, Result>[]): Promise<void> {
    try {
      const outcomes = await work(some.map(({ order }) => order));
      for (const [index, { resolve, reject }] of some.entries()) {
        const outcome = outcomes[index];
        if (outcome !== undefined && 'result' in outcome) resolve(outcome.result);
        else reject(outcome?.error);
      }
    } catch (error) {
      if (some.length === 1) some[0]?.reject(error);
      else for (const one of some) await runFor([one]);
    }
  }
  async function run(): Promise<void> {
    isRunning = true;
    while (waiting.length > 0) {
      const some = waiting.slice(0, PROJECT_LIMITS.togetherMax);
      waiting = waiting.slice(PROJECT_LIMITS.togetherMax);
      await runFor(some);
    }
    isRunning = false;
  }
  return (order) =>
    new Promise((resolve, reject) => {
      if (waiting.length >= PROJECT_LIMITS.togetherWaitingMax) {
        const message = `${waiting.length} requests wait for the hub's database already; try again in a moment`;
        return reject(new IdlewildError('too_busy', message, { details: { retryAfterSeconds: 5 } }));
      }
      waiting.push({ order, resolve, reject });
      if (!isRunning) void run();
    });
}
