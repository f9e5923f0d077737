/** Claims about who owns a run, on both databases. */
import { utf8 } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { createFakeClock } from '@idlewild/protocol/testing';
import { sql } from 'kysely';
import { describe, expect, test } from 'vitest';
import type { OpenDatabase } from '../db/open.ts';
import { HUB_LIMITS } from '../limits.ts';
import { testDatabases } from '../testing/databases.ts';
import { createRuns, type Begun, type HeldRun, type Run, type Runs } from './runs.ts';

const databases = await testDatabases();
const territory = 'ter_a';
const order = { territory, key: 'key_a', id: 'one', asked: utf8('what'), requestId: 'req_a' };
const runOf = (begun: Begun): Run => ('run' in begun ? begun.run : expect.fail('it had begun already'));
const heldOf = (begun: Begun): HeldRun => ('held' in begun ? begun.held : expect.fail('it had not begun'));

describe.each(databases)('$kind', ({ openShared }) => {
  async function replicas(count: number) {
    const all = await openShared(count);
    const [{ db, nowMs }] = all as [OpenDatabase];
    await db
      .insertInto('territories')
      .values({ id: territory, name: 'a', public_key: new Uint8Array(32), created_at_ms: 0 })
      .execute();
    const clock = createFakeClock(() => Promise.resolve());
    const erased: string[] = [];
    const runs = all.map((database, index): Runs =>
      createRuns({
        database,
        territory,
        crypto: nodeCrypto,
        clock,
        key: new Uint8Array(32),
        owner: `rep_${index}`,
        eraseRun: async (_transaction, _territory, id) => void erased.push(id),
      }),
    );
    return { runs: runs as [Runs, ...Runs[]], db, clock, erased, nowMs };
  }

  test('of many who begin the same at once one does, and the others see its owner', async () => {
    const { runs } = await replicas(4);
    const begun = await Promise.all(runs.map((each, index) => each.begin({ ...order, requestId: `req_${index}` })));
    const winner = begun.findIndex((each) => 'run' in each);
    const run = runOf(begun[winner] as Begun);
    expect(run).toMatchObject({ epoch: 1, isResumed: false, requestId: `req_${winner}` });
    const others = begun.filter((_, index) => index !== winner).map(heldOf);
    const held = { territory, id: 'one', requestId: run.requestId, owner: `rep_${winner}`, epoch: 1 };
    expect(others).toEqual([held, held, held]);
  });

  test('of many who take over one does; the former owner ends nothing, and the new one ends it once', async () => {
    const { runs, db, erased } = await replicas(3);
    const [a, b, c] = runs as unknown as [Runs, Runs, Runs];
    const run = runOf(await a.begin(order));
    const held = heldOf(await b.begin(order));
    const taken = await Promise.all([b.takeOver(held), c.takeOver(held), b.takeOver(held), c.takeOver(held)]);
    const owners = taken.flatMap((each, index) => (each === undefined ? [] : [{ run: each, by: index % 2 ? c : b }]));
    expect(owners).toHaveLength(1);
    const [owner] = owners as [(typeof owners)[0]];
    // All that an answer is made of is as it was.
    expect(owner.run).toEqual({ ...run, epoch: 2, isResumed: true });
    let kept = 0;
    const keep = async (): Promise<void> => void kept++;
    await expect(a.end(run, keep)).rejects.toMatchObject({ code: 'run_taken_over' });
    expect({ kept, erased }).toEqual({ kept: 0, erased: [] });
    await owner.by.end(owner.run, keep);
    await expect(owner.by.end(owner.run, keep)).rejects.toMatchObject({ code: 'run_taken_over' });
    expect({ kept, erased }).toEqual({ kept: 1, erased: ['one'] });
    expect(await db.selectFrom('runs').select('id').execute()).toEqual([]);
  });

  test('what cannot be kept leaves the run as it is', async () => {
    const { runs, db } = await replicas(1);
    const run = runOf(await runs[0].begin(order));
    await expect(runs[0].end(run, () => Promise.reject(new Error('no room')))).rejects.toThrow('no room');
    expect(await db.selectFrom('runs').select('epoch').execute()).toEqual([{ epoch: 1 }]);
  });

  test('another question under the same name is a conflict, and each run has a seed of its own', async () => {
    const { runs } = await replicas(1);
    const one = runOf(await runs[0].begin(order));
    const another = { ...order, asked: utf8('something else') };
    await expect(runs[0].begin(another)).rejects.toMatchObject({ code: 'idempotency_conflict' });
    await expect(runs[0].find(another)).rejects.toMatchObject({ code: 'idempotency_conflict' });
    const two = runOf(await runs[0].begin({ ...order, id: 'two', requestId: 'req_b' }));
    expect(two.seed).not.toBe(one.seed);
    for (const { seed } of [one, two]) expect(seed >= 0 && seed < 2 ** 31 && Number.isInteger(seed)).toBe(true);
  });

  test('runs of a replica that is gone by the time of the database are forgotten, and no others', async () => {
    const { runs, db, clock, erased, nowMs } = await replicas(3);
    const [a, b, c] = runs as unknown as [Runs, Runs, Runs];
    const seen = async (id: string, agoMs: number): Promise<void> => {
      const row = { id, address: '', version: '0', bus: 1 as const, state: 'live' as const, devices: 0, answers: 0 };
      await db
        .insertInto('replicas')
        .values({ ...row, started_at_ms: 0, seen_at_ms: sql<number>`${nowMs()} - ${sql.lit(agoMs)}` })
        .execute();
    };
    await seen('rep_0', HUB_LIMITS.replicaLiveMs + 1_000);
    await seen('rep_1', 0);
    await a.begin({ ...order, id: 'lost' });
    await b.begin({ ...order, id: 'alive' });
    await c.begin({ ...order, id: 'own' });
    expect(await Promise.all(['rep_0', 'rep_1', 'rep_none'].map((id) => c.isGone(id)))).toEqual([true, false, true]);
    const expire = (): Promise<unknown> => db.transaction().execute((transaction) => c.expire(transaction));
    expect(await expire()).toEqual([]);
    await clock.advance(HUB_LIMITS.repeatGraceMs);
    expect(await expire()).toEqual([{ territory, id: 'lost' }]);
    expect(erased).toEqual(['lost']);
    await db.updateTable('runs').set({ created_at_ms: 0 }).where('id', '=', 'alive').execute();
    expect(await expire()).toEqual([{ territory, id: 'alive' }]);
    expect(await db.selectFrom('runs').select('id').execute()).toEqual([{ id: 'own' }]);
  });
});
