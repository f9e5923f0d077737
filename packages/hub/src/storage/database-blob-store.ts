/**
 * The `BlobStore` port in the database: for replicas that share nothing but PostgreSQL.
 *
 *   blobs        each block once, whoever needs it           blob_parts   which blocks a file consists of
 *   blob_files   files, finished or not                      blob_usage   what all that takes of the quota
 *
 * What begins or ends a file or a loose block takes the one row of `blob_usage` first, so that two replicas never judge
 * the quota, or whether a block is still needed, at the same moment; leaves are written beside each other. A file takes
 * its full size from the moment its assembly opens. Blocks are hashed when they come and when they go out; a damaged
 * one is forgotten, and the files that need it are unfinished then.
 */
import { IdlewildError, concat, matches, proveLayout, verifyBlock } from '@idlewild/protocol';
import type { BlobStore, Crypto, FileLayout } from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { openDatabaseAssembly, type DatabaseAssembly } from './database-assembly.ts';
import {
  blockAt,
  dropFile,
  dropLoose,
  fileOf,
  forgetDamaged,
  insertFile,
  isServed,
  keepLoose,
  partsBetween,
  servedBytes,
  takenBytes,
  type StoredPart,
} from './blob-rows.ts';

export interface DatabaseBlobStoreOptions {
  readonly db: Database;
  readonly quotaBytes: number;
  readonly crypto: Crypto;
}

interface Shelf extends DatabaseBlobStoreOptions {
  /** Assemblies of this process by root; whoever assembles the same root shares one. */
  readonly open: Map<string, Promise<DatabaseAssembly>>;
}

export function createDatabaseBlobStore(options: DatabaseBlobStoreOptions): BlobStore {
  const { db, quotaBytes, crypto } = options;
  const shelf: Shelf = { ...options, open: new Map() };
  return {
    get: (cid) => getBlock(shelf, cid),
    has: (cid) => isServed(db, cid.toString()),
    async put(cid, bytes) {
      await verifyBlock(cid, bytes, crypto);
      if (await isServed(db, cid.toString())) return;
      await transact(db, (transaction) => keepLoose(transaction, { cid: cid.toString(), bytes }, quotaBytes));
    },
    assemble: (layout) => assemble(shelf, layout),
    read: (root, offset, length) => readRange(shelf, root, offset, length),
    hasFile: async (root) => (await fileOf(db, root.toString()))?.finished === 1,
    takenBy: async (root) => (await fileOf(db, root.toString()))?.size ?? 0,
    async remove(cid) {
      const key = cid.toString();
      const assembly = await shelf.open.get(key)?.catch(() => undefined);
      assembly?.abandon();
      shelf.open.delete(key);
      await transact(db, async (transaction) => {
        await dropFile(transaction, key);
        await dropLoose(transaction, key);
      });
    },
    usage: async () => ({ bytes: await takenBytes(db), quotaBytes }),
  };
}

async function getBlock({ db, crypto }: Shelf, cid: CID): Promise<Uint8Array | undefined> {
  const bytes = await servedBytes(db, cid.toString());
  if (bytes === undefined) return undefined;
  if (await matches(cid, bytes, crypto)) return bytes;
  await transact(db, (transaction) => forgetDamaged(transaction, cid.toString(), bytes));
  return undefined;
}

async function assemble(shelf: Shelf, layout: FileLayout): Promise<DatabaseAssembly> {
  const key = layout.root.toString();
  let opening = shelf.open.get(key);
  if (opening === undefined) {
    opening = openFile(shelf, layout).catch((error: unknown) => {
      shelf.open.delete(key);
      throw error;
    });
    shelf.open.set(key, opening);
  }
  const assembly = await opening;
  // Another replica may have removed the file meanwhile, or written leaves.
  if (await assembly.refresh()) return assembly;
  if (shelf.open.get(key) === opening) shelf.open.delete(key);
  return assemble(shelf, layout);
}

async function openFile(shelf: Shelf, layout: FileLayout): Promise<DatabaseAssembly> {
  const { db, crypto, quotaBytes, open } = shelf;
  const nodes = await proveLayout(layout, (cid) => getBlock(shelf, cid), crypto);
  await transact(db, (transaction) => insertFile(transaction, layout, nodes, quotaBytes));
  const onFinished = (): void => void open.delete(layout.root.toString());
  return openDatabaseAssembly({ db, crypto, layout, get: (cid) => getBlock(shelf, cid), onFinished });
}

async function readRange(shelf: Shelf, root: CID, offset: number, length: number): Promise<Uint8Array> {
  const { db, crypto } = shelf;
  const file = await fileOf(db, root.toString());
  if (file?.finished !== 1) throw new IdlewildError('blob_not_found', `file ${root.toString()} is not stored`);
  const end = offset + length;
  if (!Number.isInteger(offset) || !Number.isInteger(length) || offset < 0 || length < 0 || end > file.size) {
    throw new IdlewildError(
      'invalid_request',
      `bytes ${offset} to ${end} are not inside ${root.toString()} of ${file.size} bytes`,
    );
  }
  const pieces: Uint8Array[] = [];
  for (const part of length === 0 ? [] : await partsBetween(db, root.toString(), offset, end)) {
    const bytes = await blockAt(db, part.cid);
    if (bytes === undefined || !(await matches(CID.parse(part.cid), bytes, crypto)))
      throw await damagedAt(shelf, root, part, bytes);
    pieces.push(bytes.subarray(Math.max(0, offset - part.start), Math.min(part.size, end - part.start)));
  }
  return concat(pieces);
}

async function damagedAt(
  { db }: Shelf,
  root: CID,
  { cid, place }: StoredPart,
  seen: Uint8Array | undefined,
): Promise<IdlewildError> {
  if (seen !== undefined) await transact(db, (transaction) => forgetDamaged(transaction, cid, seen));
  return new IdlewildError(
    'blob_not_found',
    `file ${root.toString()} is damaged in the database at leaf ${place}; upload it again to repair it`,
  );
}
