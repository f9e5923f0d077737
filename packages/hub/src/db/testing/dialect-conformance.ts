/**
 * What the hub relies on in a database, whatever dialect is beneath: run on every one.
 * Each test gets an empty database from `open` and speaks Kysely's builder only.
 */
import { expect, test } from 'vitest';
import type { Kysely } from 'kysely';
import type { ColumnTypes } from '../column-types.ts';
import { oneAtATime } from '../one-at-a-time.ts';

interface Tables {
  owner: { id: number; name: string };
  thing: { id: number; owner_id: number; body: Uint8Array | null; size: number; flag: 0 | 1 };
}

export interface DialectUnderTest {
  readonly db: Kysely<Tables>;
  readonly columns: ColumnTypes;
  readonly close: () => Promise<void>;
}

type Act = (db: Kysely<Tables>) => Promise<void>;
type Claim = (text: string, act: Act) => void;

async function withTables(open: () => Promise<DialectUnderTest>, act: Act): Promise<void> {
  const { db, columns, close } = await open();
  try {
    await db.schema
      .createTable('owner')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('name', 'text', (column) => column.notNull().unique())
      .execute();
    await db.schema
      .createTable('thing')
      .addColumn('id', 'integer', (column) => column.primaryKey())
      .addColumn('owner_id', 'integer', (column) => column.notNull().references('owner.id').onDelete('cascade'))
      .addColumn('body', columns.bytes)
      .addColumn('size', 'bigint', (column) => column.notNull())
      .addColumn('flag', 'integer', (column) => column.notNull())
      .execute();
    await db.insertInto('owner').values({ id: 1, name: 'ada' }).execute();
    await act(db);
  } finally {
    await close();
  }
}

const thing = (id: number, size = 0) => ({ id, owner_id: 1, body: null, size, flag: 0 as const });
const idsOf = async (db: Kysely<Tables>): Promise<number[]> =>
  (await db.selectFrom('thing').select('id').orderBy('id').execute()).map((row) => row.id);
const failure = new Error('on purpose');

export function dialectConformance(name: string, open: () => Promise<DialectUnderTest>): void {
  const claim: Claim = (text, act) => {
    // oxlint-disable-next-line vitest/expect-expect -- the expectations stand in `act`
    test(`${name}: ${text}`, () => withTables(open, act));
  };
  values(claim);
  transactions(claim);
  turns(claim);
}

function values(claim: Claim): void {
  claim('bytes, empty bytes and null come back as they went in', async (db) => {
    const bodies = [new Uint8Array([0, 255, 7]), new Uint8Array(0), null];
    await db
      .insertInto('thing')
      .values(bodies.map((body, id) => ({ ...thing(id), body })))
      .execute();
    const rows = await db.selectFrom('thing').select('body').orderBy('id').execute();
    expect(rows.map(({ body }) => (body === null ? null : [...body]))).toEqual([[0, 255, 7], [], null]);
    expect(rows[0]?.body).toBeInstanceOf(Uint8Array);
  });
  claim('integers up to 2^53 − 1 stay numbers', async (db) => {
    await db
      .insertInto('thing')
      .values([thing(1, Number.MAX_SAFE_INTEGER), thing(2, -1)])
      .execute();
    const rows = await db.selectFrom('thing').select('size').orderBy('id').execute();
    expect(rows).toEqual([{ size: 2 ** 53 - 1 }, { size: -1 }]);
  });
  claim('returning gives the rows that were written', async (db) => {
    const inserted = await db.insertInto('thing').values(thing(1, 5)).returning(['id', 'size']).execute();
    expect(inserted).toEqual([{ id: 1, size: 5 }]);
    const updated = await db
      .updateTable('thing')
      .set((row) => ({ size: row('size', '+', 1) }))
      .returning('size')
      .execute();
    expect(updated).toEqual([{ size: 6 }]);
    expect(await db.deleteFrom('thing').where('id', '=', 9).returning('id').execute()).toEqual([]);
    expect(await db.deleteFrom('thing').returning('id').execute()).toEqual([{ id: 1 }]);
  });
  claim('a write says how many rows it changed', async (db) => {
    await db
      .insertInto('thing')
      .values([thing(1), thing(2)])
      .execute();
    expect((await db.updateTable('thing').set({ size: 3 }).executeTakeFirst()).numUpdatedRows).toBe(2n);
    expect((await db.deleteFrom('thing').where('id', '=', 2).executeTakeFirst()).numDeletedRows).toBe(1n);
  });
  claim('a conflict that is told to do nothing does nothing', async (db) => {
    const insert = () =>
      db
        .insertInto('thing')
        .values(thing(1, 1))
        .onConflict((on) => on.doNothing())
        .returning('id')
        .execute();
    expect(await insert()).toEqual([{ id: 1 }]);
    expect(await insert()).toEqual([]);
  });
  claim('uniqueness and references hold, and deleting cascades', async (db) => {
    await expect(db.insertInto('owner').values({ id: 2, name: 'ada' }).execute()).rejects.toThrow(/unique/i);
    await expect(
      db
        .insertInto('thing')
        .values({ ...thing(1), owner_id: 9 })
        .execute(),
    ).rejects.toThrow(/foreign key/i);
    await db.insertInto('thing').values(thing(1)).execute();
    await db.deleteFrom('owner').execute();
    expect(await idsOf(db)).toEqual([]);
  });
  claim('a value is never read as a statement', async (db) => {
    const name = "x'); drop table thing; --";
    await db.insertInto('owner').values({ id: 2, name }).execute();
    expect(await db.selectFrom('owner').select('name').where('id', '=', 2).execute()).toEqual([{ name }]);
    expect(await idsOf(db)).toEqual([]);
  });
  claim('rows are streamed one by one', async (db) => {
    await db
      .insertInto('thing')
      .values([thing(1), thing(2), thing(3)])
      .execute();
    const seen: number[] = [];
    const rows = (from: Kysely<Tables>) => from.selectFrom('thing').select('id').where('id', '>', 0).orderBy('id');
    for await (const row of rows(db).stream(2)) seen.push(row.id);
    expect(seen).toEqual([1, 2, 3]);
    await db.transaction().execute(async (transaction) => {
      for await (const row of rows(transaction).stream(2)) {
        seen.push(row.id);
        break;
      }
      await transaction.insertInto('thing').values(thing(4)).execute();
    });
    expect(seen).toEqual([1, 2, 3, 1]);
    expect(await idsOf(db)).toEqual([1, 2, 3, 4]);
  });
}

function transactions(claim: Claim): void {
  claim('a transaction that throws leaves nothing', async (db) => {
    await expect(
      db.transaction().execute(async (transaction) => {
        await transaction.insertInto('thing').values(thing(1)).execute();
        throw failure;
      }),
    ).rejects.toBe(failure);
    expect(await idsOf(db)).toEqual([]);
  });
  claim('a broken constraint inside a transaction undoes all of it', async (db) => {
    await expect(
      db.transaction().execute(async (transaction) => {
        await transaction.insertInto('thing').values(thing(1)).execute();
        await transaction.insertInto('thing').values(thing(1)).execute();
      }),
    ).rejects.toThrow(/unique/i);
    expect(await idsOf(db)).toEqual([]);
    await db.transaction().execute((transaction) => transaction.insertInto('thing').values(thing(2)).execute());
    expect(await idsOf(db)).toEqual([2]);
  });
  claim('a savepoint is undone without the rest', async (db) => {
    const outer = await db.startTransaction().execute();
    await outer.insertInto('thing').values(thing(1)).execute();
    const inner = await outer.savepoint('inner').execute();
    await inner.insertInto('thing').values(thing(2)).execute();
    await inner.rollbackToSavepoint('inner').execute();
    await outer.insertInto('thing').values(thing(3)).execute();
    await outer.commit().execute();
    expect(await idsOf(db)).toEqual([1, 3]);
  });
  claim('tables made in a transaction that throws are gone', async (db) => {
    await expect(
      db.transaction().execute(async (transaction) => {
        await transaction.schema.createTable('late').addColumn('id', 'integer').execute();
        throw failure;
      }),
    ).rejects.toBe(failure);
    await db.schema.createTable('late').addColumn('id', 'integer').execute();
  });
}

function turns(claim: Claim): void {
  claim('transactions that take turns lose no update', async (db) => {
    await db.insertInto('thing').values(thing(1)).execute();
    const addOne = () =>
      db.transaction().execute(async (transaction) => {
        await oneAtATime(transaction, 'thing');
        const { size } = await transaction.selectFrom('thing').select('size').executeTakeFirstOrThrow();
        await transaction
          .updateTable('thing')
          .set({ size: size + 1 })
          .where('id', '=', 1)
          .execute();
      });
    await Promise.all(Array.from({ length: 20 }, addOne));
    expect(await db.selectFrom('thing').select('size').execute()).toEqual([{ size: 20 }]);
  });
  claim('of writes with the same condition at the same time one is made', async (db) => {
    await db.insertInto('thing').values(thing(1)).execute();
    const takeIt = async (): Promise<bigint> => {
      const take = db.updateTable('thing').set({ flag: 1 }).where('id', '=', 1).where('flag', '=', 0);
      return (await take.executeTakeFirst()).numUpdatedRows;
    };
    const taken = await Promise.all(Array.from({ length: 20 }, takeIt));
    expect(taken.filter((rows) => rows === 1n)).toHaveLength(1);
  });
  claim('nobody outside sees a transaction before it commits', async (db) => {
    const outside = Promise.withResolvers<Promise<number[]>>();
    await db.transaction().execute(async (transaction) => {
      await transaction.insertInto('thing').values(thing(1)).execute();
      outside.resolve(idsOf(db));
      await transaction.insertInto('thing').values(thing(2)).execute();
    });
    const seen = await outside.promise;
    expect([[], [1, 2]]).toContainEqual(seen);
  });
  claim('a failed statement frees its turn', async (db) => {
    await Promise.allSettled([
      db
        .insertInto('thing')
        .values({ ...thing(1), owner_id: 9 })
        .execute(),
      db.insertInto('thing').values(thing(2)).execute(),
    ]);
    expect(await idsOf(db)).toEqual([2]);
  });
  claim('more different statements than any cache holds are all answered', async (db) => {
    await db.insertInto('thing').values(thing(1)).execute();
    for (let length = 1; length <= 400; length++) {
      const ids = Array.from({ length }, (_, index) => index + 1);
      expect(await db.selectFrom('thing').select('id').where('id', 'in', ids).execute()).toEqual([{ id: 1 }]);
    }
  });
}
