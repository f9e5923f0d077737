/**
 * The Merkle tree over a territory's audit log, as it lies in the database: leaves are the entries' hashes, and of what
 * is above them every eighth level is kept once it is full. So a head or a proof reads a few hundred rows of 32 bytes,
 * however long the log is.
 */
import { IdlewildError, leafHash, nodeHash, type Crypto, type ReadSubtree } from '@idlewild/protocol';
import type { Database } from '../db/schema.ts';

/** Levels between those that are kept: 256 hashes of one make the next. */
const LEVELS_APART = 8;
const CHILDREN = 2 ** LEVELS_APART;
const LEVEL_MAX = 24;

interface TreeDeps {
  /** A transaction's handle, or the database's. */
  readonly db: Database;
  readonly territory: string;
  readonly crypto: Crypto;
}

/** Hashes of full subtrees; those that are not kept are made of what is below. Throws `data_corrupt` for a gap. */
export const subtreesOf =
  (deps: TreeDeps): ReadSubtree =>
  async ({ level, index }) => {
    const base = Math.min(level - (level % LEVELS_APART), LEVEL_MAX);
    const count = 2 ** (level - base);
    return perfect(await hashesAt(deps, base, index * count, count), deps.crypto);
  };

/** Keeps what became full when the log grew from `from` to `to` entries. */
export async function keepNodes(deps: TreeDeps, from: number, to: number): Promise<void> {
  const { db, territory, crypto } = deps;
  for (let level = LEVELS_APART; level <= LEVEL_MAX; level += LEVELS_APART) {
    const leaves = 2 ** level;
    for (let place = Math.floor(from / leaves); place < Math.floor(to / leaves); place++) {
      const hash = await perfect(await hashesAt(deps, level - LEVELS_APART, place * CHILDREN, CHILDREN), crypto);
      await db
        .insertInto('audit_nodes')
        .values({ territory_id: territory, level, place, hash })
        // One that is there already was made of the same entries, or a head will not fit.
        .onConflict((on) => on.columns(['territory_id', 'level', 'place']).doUpdateSet({ hash }))
        .execute();
    }
  }
}

async function hashesAt(deps: TreeDeps, level: number, first: number, count: number): Promise<Uint8Array[]> {
  const hashes = level === 0 ? await leavesAt(deps, first, count) : await nodesAt(deps, level, first, count);
  if (hashes.length === count) return hashes;
  throw new IdlewildError(
    'data_corrupt',
    `the audit log of ${deps.territory} lacks ${count - hashes.length} of ${count} hashes of level ${level} ` +
      `from ${first} on: entries are missing. \`idlewild audit verify\` says which; restore them from a backup`,
  );
}

async function leavesAt({ db, territory, crypto }: TreeDeps, first: number, count: number): Promise<Uint8Array[]> {
  const rows = await db
    .selectFrom('audit')
    .select('hash')
    .where('territory_id', '=', territory)
    .where('seq', '>', first)
    .where('seq', '<=', first + count)
    .orderBy('seq')
    .execute();
  const leaves: Uint8Array[] = [];
  for (const { hash } of rows) leaves.push(await leafHash(hash, crypto));
  return leaves;
}

async function nodesAt(
  { db, territory }: TreeDeps,
  level: number,
  first: number,
  count: number,
): Promise<Uint8Array[]> {
  const rows = await db
    .selectFrom('audit_nodes')
    .select('hash')
    .where('territory_id', '=', territory)
    .where('level', '=', level)
    .where('place', '>=', first)
    .where('place', '<', first + count)
    .orderBy('place')
    .execute();
  return rows.map(({ hash }) => hash);
}

/** Of a power of two of hashes. */
async function perfect(hashes: readonly Uint8Array[], crypto: Crypto): Promise<Uint8Array> {
  let row = hashes;
  while (row.length > 1) {
    const above: Uint8Array[] = [];
    for (let at = 0; at < row.length; at += 2) {
      above.push(await nodeHash(row[at] as Uint8Array, row[at + 1] as Uint8Array, crypto));
    }
    row = above;
  }
  return row[0] as Uint8Array;
}
