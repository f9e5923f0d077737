/**
 * One unfinished file in the database. Which leaves are there is remembered here as of the last look; another replica
 * may have written more, and only the database decides whether the file can be finished.
 */
import {
  IdlewildError,
  matches,
  refuseIncomplete,
  verifyLeaf,
  type Crypto,
  type FileAssembly,
  type FileLayout,
} from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { blockAt, fileOf, finishFile, heldAmong, writeLeaf } from './blob-rows.ts';

export interface DatabaseAssembly extends FileAssembly {
  /** The file was removed: whoever still holds this assembly changes nothing any more. */
  abandon(): void;
  /** Looks again which leaves are there; `false` where the file is gone. */
  refresh(): Promise<boolean>;
}

export interface DatabaseAssemblyParts {
  readonly db: Database;
  readonly crypto: Crypto;
  readonly layout: FileLayout;
  /** A block that is served. */
  get(cid: CID): Promise<Uint8Array | undefined>;
  /** Called when the file is finished. */
  onFinished(): void;
}

export async function openDatabaseAssembly(parts: DatabaseAssemblyParts): Promise<DatabaseAssembly> {
  const { db, crypto, layout } = parts;
  const root = layout.root.toString();
  let held = new Set<string>();
  let state: 'open' | 'finished' | 'removed' = 'open';

  const missing = (): number[] =>
    layout.leaves.flatMap(({ cid }, index) => (state === 'finished' || held.has(cid.toString()) ? [] : [index]));
  const removed = (): IdlewildError =>
    new IdlewildError('blob_not_found', `file ${root} was removed while it was assembled`);
  const refresh = async (): Promise<boolean> => {
    if (state === 'removed') return false;
    const file = await fileOf(db, root);
    if (file === undefined) return false;
    state = file.finished === 1 ? 'finished' : 'open';
    if (state === 'open') held = await heldAmong(db, root);
    return true;
  };
  await refresh();

  return {
    missing,
    refresh,
    abandon() {
      state = 'removed';
    },
    async read(index) {
      const cid = layout.leaves[index]?.cid;
      if (cid === undefined) return undefined;
      if (state === 'finished') return parts.get(cid);
      const bytes = held.has(cid.toString()) ? await blockAt(db, cid.toString()) : undefined;
      return bytes !== undefined && (await matches(cid, bytes, crypto)) ? bytes : undefined;
    },
    async write(index, bytes) {
      const leaf = (await verifyLeaf(layout, index, bytes, crypto)).cid.toString();
      if (state === 'removed') throw removed();
      if (state === 'finished' || held.has(leaf)) return;
      if (!(await writeLeaf(db, root, leaf, bytes))) throw removed();
      held.add(leaf);
    },
    async finish() {
      if (state === 'finished') return;
      if (state === 'removed') throw removed();
      const lacking = await transact(db, (transaction) => finishFile(transaction, root));
      if (lacking === undefined) throw removed();
      if (lacking > 0) {
        await refresh();
        refuseIncomplete(layout, lacking);
      }
      state = 'finished';
      parts.onFinished();
    },
  };
}
