/** Claims about how rows are found: by an index that names all that is asked for, however many others there are. */
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { CompiledQuery, type KyselyPlugin } from 'kysely';
import { expect, onTestFinished, test } from 'vitest';
import { createKeptAnswers } from '../callers/kept-answers.ts';
import { silentLog } from '../log.ts';
import { poolsOf } from '../people/directory.ts';
import { openDatabase } from './open.ts';
import type { Database } from './schema.ts';

/** What SQLite says of how it goes about each statement that `act` makes. */
async function plansOf(act: (db: Database) => Promise<unknown>): Promise<string[]> {
  const { db, close } = await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' });
  onTestFinished(close);
  const asked: CompiledQuery[] = [];
  const listen: KyselyPlugin = {
    transformQuery({ node, queryId }) {
      asked.push(db.getExecutor().compileQuery(node, queryId));
      return node;
    },
    transformResult: async ({ result }) => result,
  };
  await act(db.withPlugin(listen));
  const plans: string[] = [];
  for (const { sql, parameters } of asked) {
    const explained = CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]);
    const { rows } = await db.executeQuery<{ detail: string }>(explained);
    plans.push(...rows.map(({ detail }) => detail));
  }
  return plans;
}

test('the pools of a device are found by the device, in their order', async () => {
  const plans = await plansOf((db) => poolsOf(db, 'ter_a', 'dev_a'));
  expect(plans).toEqual([expect.stringMatching(/^SEARCH device_pools .*\(territory_id=\? AND device_id=\?\)$/)]);
});

test('kept answers that are over are found by when they end', async () => {
  const ports = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom, log: silentLog };
  const key = new Uint8Array(32);
  const plans = await plansOf((db) => createKeptAnswers({ db, key, territory: 'ter_a', ...ports }).expire());
  expect(plans).toEqual([expect.stringMatching(/^SEARCH kept_answers .*\(territory_id=\? AND expires_at_ms<\?\)$/)]);
});
