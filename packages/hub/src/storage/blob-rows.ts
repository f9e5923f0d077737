/**
 * The statements of the blob store in the database; `database-blob-store.ts` says what they mean together.
 *
 * Lock order: the row of `blob_usage`, then the file's. A leaf that is being written holds its file's row, shared: who
 * removes the file waits for it and then sees it.
 */
import { IdlewildError, type Block, type FileLayout } from '@idlewild/protocol';
import { sql, type ExpressionBuilder, type ExpressionWrapper, type SqlBool } from 'kysely';
import { locking } from '../db/row-lock.ts';
import type { BlobFiles, Database, DatabaseTransaction, Schema } from '../db/schema.ts';
import { slices } from '../db/slices.ts';
import { isPostgres } from '../db/transact.ts';

export interface StoredPart {
  readonly cid: string;
  readonly place: number;
  readonly start: number;
  readonly size: number;
}

type OnBlobs = ExpressionBuilder<Schema, 'blobs'>;

/** Put as a block, or part of a finished file: leaves of an unfinished one are here and not served. */
const served = (eb: OnBlobs): ExpressionWrapper<Schema, 'blobs', SqlBool> =>
  eb.or([
    eb('blobs.loose', '=', 1),
    eb.exists(
      eb
        .selectFrom('blob_parts')
        .innerJoin('blob_files', 'blob_files.root', 'blob_parts.root')
        .select('blob_parts.root')
        .whereRef('blob_parts.cid', '=', 'blobs.cid')
        .where('blob_files.finished', '=', 1),
    ),
  ]);

export async function isServed(db: Database, cid: string): Promise<boolean> {
  const query = db.selectFrom('blobs').select('size').where('cid', '=', cid).where(served);
  return (await query.executeTakeFirst()) !== undefined;
}

export async function servedBytes(db: Database, cid: string): Promise<Uint8Array | undefined> {
  const query = db.selectFrom('blobs').select('bytes').where('cid', '=', cid).where(served);
  return (await query.executeTakeFirst())?.bytes;
}

/** Served or not. */
export const blockAt = async (db: Database, cid: string): Promise<Uint8Array | undefined> =>
  (await db.selectFrom('blobs').select('bytes').where('cid', '=', cid).executeTakeFirst())?.bytes;

export const fileOf = (db: Database, root: string): Promise<BlobFiles | undefined> =>
  db.selectFrom('blob_files').selectAll().where('root', '=', root).executeTakeFirst();

export const partsBetween = (db: Database, root: string, from: number, to: number): Promise<StoredPart[]> =>
  db
    .selectFrom('blob_parts')
    .select(['cid', 'place', 'start', 'size'])
    .where('root', '=', root)
    .where('place', '>=', 0)
    .where('start', '<', to)
    .where((eb) => eb(eb('start', '+', eb.ref('size')), '>', from))
    .orderBy('place')
    .execute();

/** CIDs of the leaves of a file that are here. */
export async function heldAmong(db: Database, root: string): Promise<Set<string>> {
  const rows = await db
    .selectFrom('blob_parts')
    .innerJoin('blobs', (join) =>
      join.onRef('blobs.cid', '=', 'blob_parts.cid').onRef('blobs.size', '=', 'blob_parts.size'),
    )
    .select('blobs.cid')
    .where('root', '=', root)
    .where('place', '>=', 0)
    .execute();
  return new Set(rows.map(({ cid }) => cid));
}

export const takenBytes = async (db: Database): Promise<number> =>
  (await db.selectFrom('blob_usage').select('bytes').executeTakeFirst())?.bytes ?? 0;

/** Takes the turn of this transaction; what it gives is true until its end. */
async function lockUsage(transaction: DatabaseTransaction): Promise<number> {
  const query = locking(transaction, transaction.selectFrom('blob_usage').select('bytes'));
  const row = await query.executeTakeFirst();
  if (row !== undefined) return row.bytes;
  const first = transaction.insertInto('blob_usage').values({ id: 1, bytes: 0 });
  await first.onConflict((on) => on.column('id').doNothing()).execute();
  return (await query.executeTakeFirstOrThrow()).bytes;
}

const setUsage = async (transaction: DatabaseTransaction, bytes: number): Promise<void> => {
  await transaction.updateTable('blob_usage').set({ bytes }).execute();
};

function refuseOverQuota(what: string, more: number, used: number, quotaBytes: number): void {
  const free = Math.max(0, quotaBytes - used);
  if (more <= free) return;
  const message = `${what} needs ${more} more bytes; ${free} of ${quotaBytes} are free`;
  throw new IdlewildError('quota_exceeded', message);
}

interface LooseBlock {
  readonly cid: string;
  readonly bytes: Uint8Array;
}

/** Keeps a block that was verified. Throws `quota_exceeded`. */
export async function keepLoose(
  transaction: DatabaseTransaction,
  block: LooseBlock,
  quotaBytes: number,
): Promise<void> {
  const used = await lockUsage(transaction);
  if ((await looseAmong(transaction, [block.cid])).has(block.cid)) return;
  refuseOverQuota(`block ${block.cid}`, block.bytes.length, used, quotaBytes);
  await insertLoose(transaction, block);
  await setUsage(transaction, used + block.bytes.length);
}

async function insertLoose(transaction: DatabaseTransaction, { cid, bytes }: LooseBlock): Promise<void> {
  await transaction
    .insertInto('blobs')
    .values({ cid, bytes, size: bytes.length, loose: 1 })
    .onConflict((on) => on.column('cid').doUpdateSet({ loose: 1 }))
    .execute();
}

async function looseAmong(transaction: DatabaseTransaction, cids: readonly string[]): Promise<Set<string>> {
  if (cids.length === 0) return new Set();
  const rows = await transaction
    .selectFrom('blobs')
    .select('cid')
    .where('cid', 'in', cids)
    .where('loose', '=', 1)
    .execute();
  return new Set(rows.map(({ cid }) => cid));
}

/** Begins a file whose layout was proved; of one that is there only nodes are added that it lacks. */
export async function insertFile(
  transaction: DatabaseTransaction,
  layout: FileLayout,
  nodes: readonly Block[],
  quotaBytes: number,
): Promise<void> {
  const root = layout.root.toString();
  const used = await lockUsage(transaction);
  const isNew = (await fileOf(transaction, root)) === undefined;
  const blocks = new Map(nodes.map(({ cid, bytes }) => [cid.toString(), bytes]));
  const there = await looseAmong(transaction, [...blocks.keys()]);
  const added = [...blocks].filter(([cid]) => !there.has(cid));
  const more = added.reduce((sum, [, bytes]) => sum + bytes.length, isNew ? layout.bytes : 0);
  refuseOverQuota(`file ${root}`, more, used, quotaBytes);
  for (const [cid, bytes] of added) await insertLoose(transaction, { cid, bytes });
  if (isNew) {
    await transaction.insertInto('blob_files').values({ root, size: layout.bytes, finished: 0 }).execute();
    const parts = partsOf(layout, blocks);
    for (const some of slices(parts))
      await transaction
        .insertInto('blob_parts')
        .values(some.map((part) => ({ ...part, root })))
        .execute();
  }
  await setUsage(transaction, used + more);
}

function partsOf({ leaves }: FileLayout, nodes: ReadonlyMap<string, Uint8Array>): StoredPart[] {
  const above = [...nodes].map(([cid, { length }], index) => ({ cid, place: -1 - index, start: 0, size: length }));
  let start = 0;
  const below = leaves.map(({ cid, bytes: size }, place) => {
    const part = { cid: cid.toString(), place, start, size };
    start += size;
    return part;
  });
  return [...above, ...below];
}

/** `false` where the file is gone. */
export async function writeLeaf(db: Database, root: string, cid: string, bytes: Uint8Array): Promise<boolean> {
  const held = isPostgres(db) ? sql`for share` : sql``;
  const { numAffectedRows } = await sql`
    insert into blobs (cid, bytes, size, loose)
    select ${cid}, ${bytes}, ${bytes.length}, 0 from blob_files where root = ${root} ${held}
    on conflict (cid) do nothing`.execute(db);
  return numAffectedRows === 1n || (await fileOf(db, root)) !== undefined;
}

/** How many of its leaves are missing: none, and it is finished; `undefined` where it is gone. */
export async function finishFile(transaction: DatabaseTransaction, root: string): Promise<number | undefined> {
  const used = await lockUsage(transaction);
  const file = await fileOf(transaction, root);
  if (file === undefined) return undefined;
  if (file.finished === 1) return 0;
  const { lacking } = await transaction
    .selectFrom('blob_parts')
    .select((eb) => eb.fn.countAll<number>().as('lacking'))
    .where('root', '=', root)
    .where('place', '>=', 0)
    .where(({ not, exists, selectFrom }) =>
      not(
        exists(
          selectFrom('blobs')
            .select('blobs.cid')
            .whereRef('blobs.cid', '=', 'blob_parts.cid')
            .whereRef('blobs.size', '=', 'blob_parts.size'),
        ),
      ),
    )
    .executeTakeFirstOrThrow();
  if (lacking > 0) return lacking;
  await transaction.updateTable('blob_files').set({ finished: 1 }).where('root', '=', root).execute();
  // The only leaf of a small file is its root and may have come as a block; the file serves it from now on.
  const freed = await transaction
    .updateTable('blobs')
    .set({ loose: 0 })
    .where('cid', '=', root)
    .where('loose', '=', 1)
    .where((eb) => eb.exists(leafNamed(eb, root)))
    .returning('size')
    .execute();
  await setUsage(
    transaction,
    freed.reduce((sum, { size }) => sum - size, used),
  );
  return 0;
}

const leafNamed = (eb: OnBlobs, cid: string) =>
  eb.selectFrom('blob_parts').select('blob_parts.root').where('blob_parts.cid', '=', cid).where('place', '>=', 0);

/** Forgets a file with what no other one needs. */
export async function dropFile(transaction: DatabaseTransaction, root: string): Promise<void> {
  const used = await lockUsage(transaction);
  // Leaves that are being written at this moment are there once this lock is ours.
  const file = await locking(
    transaction,
    transaction.selectFrom('blob_files').select('size').where('root', '=', root),
  ).executeTakeFirst();
  if (file === undefined) return;
  const only = (eb: OnBlobs, from: 'leaves' | 'nodes') =>
    eb.and([
      eb(
        'blobs.cid',
        'in',
        eb
          .selectFrom('blob_parts')
          .select('blob_parts.cid')
          .where('blob_parts.root', '=', root)
          .where('place', from === 'leaves' ? '>=' : '<', 0),
      ),
      eb.not(
        eb.exists(
          eb
            .selectFrom('blob_parts as other')
            .select('other.root')
            .whereRef('other.cid', '=', 'blobs.cid')
            .where('other.root', '!=', root),
        ),
      ),
    ]);
  await transaction
    .deleteFrom('blobs')
    .where('loose', '=', 0)
    .where((eb) => only(eb, 'leaves'))
    .execute();
  const nodes = await transaction
    .deleteFrom('blobs')
    .where((eb) => only(eb, 'nodes'))
    .returning('size')
    .execute();
  await transaction.deleteFrom('blob_files').where('root', '=', root).execute();
  await setUsage(
    transaction,
    nodes.reduce((sum, { size }) => sum - size, used - file.size),
  );
}

/** Forgets a block that was put; files keep it where they need it. */
export async function dropLoose(transaction: DatabaseTransaction, cid: string): Promise<void> {
  const used = await lockUsage(transaction);
  const row = await transaction.selectFrom('blobs').select(['size', 'loose']).where('cid', '=', cid).executeTakeFirst();
  if (row?.loose !== 1) return;
  const kept = await transaction
    .updateTable('blobs')
    .set({ loose: 0 })
    .where('cid', '=', cid)
    .where((eb) => eb.exists(leafNamed(eb, cid)))
    .returning('cid')
    .execute();
  if (kept.length === 0) await transaction.deleteFrom('blobs').where('cid', '=', cid).execute();
  await setUsage(transaction, used - row.size);
}

/** A block whose bytes are not what its CID says; files that need it are unfinished from here on. */
export async function forgetDamaged(transaction: DatabaseTransaction, cid: string, seen: Uint8Array): Promise<void> {
  const used = await lockUsage(transaction);
  const gone = await transaction
    .deleteFrom('blobs')
    .where('cid', '=', cid)
    // Another replica may have put the good one meanwhile.
    .where('bytes', '=', seen)
    .returning(['size', 'loose'])
    .execute();
  if (gone.length === 0) return;
  await transaction
    .updateTable('blob_files')
    .set({ finished: 0 })
    .where('root', 'in', (eb) => eb.selectFrom('blob_parts').select('root').where('cid', '=', cid))
    .execute();
  await setUsage(
    transaction,
    gone.reduce((left, { size, loose }) => (loose === 1 ? left - size : left), used),
  );
}
