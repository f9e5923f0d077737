/**
 * What one territory may have of the bytes that all territories of a hub share: what it brought itself, every byte of
 * it, and what its own models consist of. Anything else is not here, whoever else brought it.
 *
 * Bytes are kept once, by content. Knowing the name of content is not having it: names of models stand in receipts. So
 * a file that is there already is asked for all the same, leaf by leaf; each is held against its CID and not kept
 * twice. What was brought is in the table `held_blobs` until a model of the territory refers to it: then the model
 * says it. With `begun_bytes` a row tells of a file that is being brought and is not held yet.
 */
import {
  IdlewildError,
  verifyBlock,
  verifyLeaf,
  type BlobStore,
  type Crypto,
  type FileAssembly,
  type FileLayout,
} from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import type { Database } from '../db/schema.ts';
import { slices } from '../db/slices.ts';
import { together } from '../db/together.ts';

/** A store as one territory sees it. */
export interface HeldBlobs extends Pick<BlobStore, 'get' | 'put' | 'assemble' | 'hasFile' | 'takenBy'> {
  /** Models of the territory say by now what they consist of; that is not to be remembered twice. */
  settle(): Promise<void>;
}

export interface HeldBlobsDeps {
  readonly db: Database;
  readonly territory: string;
  /** Everybody's. */
  readonly store: BlobStore;
  readonly crypto: Crypto;
  /** Whether a block belongs to a model of the territory. */
  readonly isOfModel: (cid: string) => boolean | Promise<boolean>;
}

/** Leaves that come at once and share a commit. */
const NOTES_MAX = 64;

export function createHeldBlobs({ db, territory, store, crypto, isOfModel }: HeldBlobsDeps): HeldBlobs {
  const rows = () => db.selectFrom('held_blobs').where('territory_id', '=', territory);

  async function heldAmong(cids: readonly string[]): Promise<ReadonlySet<string>> {
    const held = new Set<string>();
    for (const some of slices(cids)) {
      const found = await rows().select('cid').where('cid', 'in', some).where('begun_bytes', 'is', null).execute();
      for (const { cid } of found) held.add(cid);
    }
    return held;
  }
  async function isHeld(cid: CID): Promise<boolean> {
    const name = cid.toString();
    return (await isOfModel(name)) || (await heldAmong([name])).size > 0;
  }

  const note = together<string, void>(NOTES_MAX, async (cids) => {
    const values = [...new Set(cids)].map((cid) => ({ territory_id: territory, cid, begun_bytes: null }));
    await db
      .insertInto('held_blobs')
      .values(values)
      .onConflict((on) => on.columns(['territory_id', 'cid']).doUpdateSet({ begun_bytes: null }))
      .execute();
    return cids.map(() => undefined);
  });

  async function lacking({ leaves }: FileLayout): Promise<number[]> {
    const held = await heldAmong(leaves.map(({ cid }) => cid.toString()));
    const lacks: number[] = [];
    for (const [index, { cid }] of leaves.entries())
      if (!held.has(cid.toString()) && !(await isOfModel(cid.toString()))) lacks.push(index);
    return lacks;
  }

  return {
    get: async (cid) => ((await isHeld(cid)) ? store.get(cid) : undefined),
    hasFile: async (root) => (await isHeld(root)) && (await store.hasFile(root)),
    async put(cid, bytes) {
      await verifyBlock(cid, bytes, crypto);
      await store.put(cid, bytes);
      await note(cid.toString());
    },
    async takenBy(root) {
      const row = await rows().select('begun_bytes').where('cid', '=', root.toString()).executeTakeFirst();
      if (row === undefined) return 0;
      return row.begun_bytes ?? store.takenBy(root);
    },
    async assemble(layout) {
      const root = layout.root.toString();
      await db
        .insertInto('held_blobs')
        .values({ territory_id: territory, cid: root, begun_bytes: layout.bytes })
        .onConflict((on) => on.columns(['territory_id', 'cid']).doNothing())
        .execute();
      return assembly(layout, await store.assemble(layout), new Set(await lacking(layout)));
    },
    async settle() {
      const settled: string[] = [];
      for (const { cid } of await rows().select('cid').where('begun_bytes', 'is', null).execute())
        if (await isOfModel(cid)) settled.push(cid);
      for (const some of slices(settled))
        await db.deleteFrom('held_blobs').where('territory_id', '=', territory).where('cid', 'in', some).execute();
    },
  };

  function assembly(layout: FileLayout, inner: FileAssembly, lacks: Set<number>): FileAssembly {
    const missing = (): number[] => [...new Set([...inner.missing(), ...lacks])].sort((a, b) => a - b);
    return {
      missing,
      read: async (leaf) => (lacks.has(leaf) ? undefined : inner.read(leaf)),
      async write(index, bytes) {
        const { cid } = await verifyLeaf(layout, index, bytes, crypto);
        if (inner.missing().includes(index)) await inner.write(index, bytes);
        await note(cid.toString());
        lacks.delete(index);
      },
      async finish() {
        // Leaves may have come to other replicas since this one looked.
        const left = lacks.size === 0 ? [] : await lacking(layout);
        if (left.length > 0) {
          throw new IdlewildError(
            'blob_not_found',
            `${left.length} of ${layout.leaves.length} leaves of ${layout.root.toString()} have not been sent yet`,
          );
        }
        await inner.finish();
        await note(layout.root.toString());
      },
    };
  }
}
