/** Claims about buckets that replicas share, on the embedded database. */
import { createFakeClock } from '@idlewild/protocol/testing';
import { expect, onTestFinished, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createMemoryBuckets } from './buckets.ts';
import { createDatabaseBuckets } from './database-buckets.ts';
import { createLimits } from './limits.ts';
import { testBuckets } from './testing/buckets-conformance.ts';

const clock = createFakeClock(async () => {});

async function open(): Promise<OpenDatabase> {
  const database = await openDatabase({ file: ':memory:', clock });
  onTestFinished(() => database.close());
  return database;
}

testBuckets('on SQLite', async () => createDatabaseBuckets(await open()));

test('two hubs on one database take from the same buckets', async () => {
  const database = await open();
  const hub = () =>
    createLimits({
      buckets: createDatabaseBuckets(database),
      asks: createMemoryBuckets(clock),
      defaults: { requestsPerMinute: 3 },
      onFault: (error) => expect.unreachable(String(error)),
    });
  const [first, second] = [hub(), hub()];
  const key = { keyId: 'key_a' };
  const asked = [first, second, first, second].map(async (limits) => limits.admit(key, 1));
  const refused = (await Promise.all(asked)).filter((answer) => 'error' in answer);
  expect(refused).toHaveLength(1);
  expect((await second.standing(key)).requests?.remaining).toBe(0);
  await clock.advance(20_000);
  expect('error' in (await second.admit(key, 1))).toBe(false);
});

test('a key without limits is never asked about, nor is what its answers used', async () => {
  const database = await open();
  const faults: unknown[] = [];
  const limits = createLimits({
    buckets: createDatabaseBuckets(database),
    asks: createMemoryBuckets(database.clock),
    defaults: {},
    onFault: (error) => faults.push(error),
  });
  await database.db.schema.dropTable('buckets').execute();
  const admission = await limits.admit({ keyId: 'key_a' }, 100);
  expect(admission.standing).toEqual({});
  limits.charge('key_a', 50);
  if (!('error' in admission)) admission.release();
  await database.db.selectFrom('secrets').select('name').execute();
  expect(faults).toEqual([]);
  // One that was never asked about is: the key of a run that was taken over may have a limit.
  limits.charge('key_b', 50);
  await expect.poll(() => faults.length).toBe(1);
});

test('keys that were quiet for a day are forgotten, and a key without buckets leaves no row', async () => {
  const database = await open();
  const buckets = createDatabaseBuckets(database);
  const limits = createLimits({ buckets, asks: buckets, defaults: { requestsPerMinute: 3 }, onFault: () => {} });
  const kept = async () =>
    (await database.db.selectFrom('buckets').select('key_id').execute()).map((row) => row.key_id);
  await limits.admit({ keyId: 'key_a' }, 1);
  await buckets.update('key_b', (none) => ({ buckets: none, result: undefined }));
  expect(await kept()).toEqual(['key_a']);
  await clock.advance(86_400_000);
  await buckets.clean();
  expect(await kept()).toEqual(['key_a']);
  await clock.advance(1);
  await buckets.clean();
  expect(await kept()).toEqual([]);
});
