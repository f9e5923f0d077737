/** Claims about what a process holds and does not know of: it is let go, and nothing else is. */
import { IdlewildError } from '@idlewild/protocol';
import { describe, expect, test } from 'vitest';
import type { Database } from '../db/schema.ts';
import { testDatabases } from '../testing/databases.ts';
import { createSpendWorld } from './testing/spend-world.ts';

type Act = Parameters<ReturnType<Database['transaction']>['execute']>[0];
type Run = (act: Act) => Promise<unknown>;

/** The same database, of which transactions are run by `around`, which is told how they would run. */
const withTransactions = (db: Database, around: (run: Run) => Run): Database =>
  new Proxy(db, {
    get(target, name) {
      const run: Run = (act) => target.transaction().execute(act);
      if (name === 'transaction') return () => ({ execute: around(run) });
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

const away = (): IdlewildError => new IdlewildError('database_unavailable', 'the connection was lost');

describe.each(await testDatabases())('with $kind', ({ open }) => {
  async function setUp() {
    const database = await open();
    const ways: Record<'well' | 'deaf' | 'away' | 'slow', (run: Run) => Run> = {
      well: (run) => run,
      /** Committed, and nobody hears of it. */
      deaf: (run) => async (act) => {
        await run(act);
        throw away();
      },
      away: () => () => Promise.reject(away()),
      /** Committed, and heard of when something else has been looked at. */
      slow: (run) => async (act) => {
        const result = await run(act);
        state.way = 'well';
        await state.meanwhile();
        return result;
      },
    };
    const state = { way: 'well' as keyof typeof ways, meanwhile: async (): Promise<void> => {} };
    const db = withTransactions(database.db, (run) => (act) => ways[state.way](run)(act));
    const world = await createSpendWorld([{ ...database, db }]);
    const key = await world.key();
    await world.rules.setCaps({ kind: 'key', subject: key.keyId, caps: { tokensPerDay: 1_000 }, actor: 'key_steward' });
    return { ...world, key, state };
  }

  test('what was held by a transaction of which its process never heard is let go, and what runs is not', async () => {
    const { spending, state, key, order, accounts } = await setUp();
    const running = await spending.begin(order(key, 300));
    state.way = 'deaf';
    await expect(spending.begin(order(key, 500))).rejects.toMatchObject({ code: 'database_unavailable' });
    state.way = 'well';
    expect(await accounts()).toMatchObject([{ held: 800 }]);
    expect(await spending.expire('own')).toBe(1);
    expect(await accounts()).toMatchObject([{ held: 300, requests: 1 }]);
    expect(await spending.expire('all')).toBe(0);
    expect(await running?.extend(1_000)).toBe(700);
  });

  test('what could not be let go when it was over is let go later', async () => {
    const { spending, state, key, order, accounts } = await setUp();
    const hold = await spending.begin(order(key, 300));
    state.way = 'away';
    hold?.over();
    state.way = 'well';
    await expect.poll(() => spending.expire('own')).toBe(1);
    expect(await accounts()).toMatchObject([{ held: 0, requests: 0 }]);
  });

  test('what has just been committed is known, also before its process has heard of it', async () => {
    const { spending, state, key, order, holds } = await setUp();
    const found: number[] = [];
    state.meanwhile = async () => void found.push(await spending.expire('own'));
    state.way = 'slow';
    await spending.begin(order(key, 300));
    expect(found).toEqual([0]);
    expect(await holds()).toHaveLength(1);
  });

  test('what a caller can come back to is kept, and what somebody goes on with here is known', async () => {
    const { spending, key, order, db } = await setUp();
    const asked = order(key, 300);
    const hold = await spending.begin(asked);
    hold?.leave();
    const run = { id: 'run_1', territory_id: 'ter_here', request_id: asked.id, key_id: key.keyId, owner: 'rep_0' };
    await db
      .insertInto('runs')
      .values({ ...run, fingerprint: new Uint8Array(32), epoch: 1, created_at_ms: 0 })
      .execute();
    expect(await spending.expire('own')).toBe(0);
    await spending.resume({ ...asked, run: run.id });
    await db.deleteFrom('runs').where('territory_id', '=', 'ter_here').execute();
    expect(await spending.expire('own')).toBe(0);
  });
});
