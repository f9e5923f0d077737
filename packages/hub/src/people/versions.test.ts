import { createFakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { Database } from '../db/schema.ts';
import { testDatabases } from '../testing/databases.ts';
import { FRESH_MS, createPeopleVersions, touchPeople } from './versions.ts';

describe.each(await testDatabases())('with $kind', ({ open }) => {
  const touch = (db: Database, territory: string): Promise<void> =>
    db.transaction().execute((transaction) => touchPeople(transaction, territory));
  async function setUp() {
    const clock = createFakeClock(async () => {});
    const { db } = await open(clock);
    return { clock, db, versions: createPeopleVersions({ db, clock }, 'ter_a') };
  }

  test('a change is seen when the last reading has grown old, and not before it is looked for', async () => {
    const { clock, db, versions } = await setUp();
    expect(await versions.fresh()).toBe(0);
    await touch(db, 'ter_a');
    // At once, and from memory.
    expect(versions.fresh()).toBe(0);
    await clock.advance(FRESH_MS);
    expect(await versions.fresh()).toBe(1);
  });

  test('a word of a change makes the next decision read it', async () => {
    const { db, versions } = await setUp();
    await versions.fresh();
    await touch(db, 'ter_a');
    versions.stale();
    expect(await versions.fresh()).toBe(1);
    expect(versions.fresh()).toBe(1);
  });

  test('what was asked before the word of a change is not kept after it', async () => {
    const { db, versions } = await setUp();
    const early = versions.fresh();
    versions.stale();
    await early;
    await touch(db, 'ter_a');
    expect(await versions.fresh()).toBe(1);
  });

  test('a change in one territory is none in another, and one that is taken back is none at all', async () => {
    const { db, versions } = await setUp();
    await touch(db, 'ter_b');
    const undone = db.transaction().execute(async (transaction) => {
      await touchPeople(transaction, 'ter_a');
      throw new Error('taken back');
    });
    await expect(undone).rejects.toThrow('taken back');
    expect(await versions.fresh()).toBe(0);
  });

  test('a database that does not answer makes nothing fresh', async () => {
    const { clock, db, versions } = await setUp();
    await versions.fresh();
    await clock.advance(FRESH_MS);
    const gone = createPeopleVersions({ db: broken(db), clock }, 'ter_a');
    await expect(Promise.resolve(gone.fresh())).rejects.toThrow('out of reach');
  });
});

const broken = (db: Database): Database =>
  db.withPlugin({
    transformQuery() {
      throw new Error('out of reach');
    },
    transformResult: async ({ result }) => result,
  });
