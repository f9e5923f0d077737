/**
 * Which models a leaf belongs to: what makes it possible to ask, for a block, the devices that hold a model.
 *
 * Only whole leaves worth passing on can be asked of devices; nodes, manifests and small files always come from the
 * hub's own store. It is built from the manifests and the nodes in the store. Beyond a bound leaves come from the
 * store, too; that they belong to a model is known of all.
 */
import { RAW, readLayout, type BlobStore, type FileLayout, type Manifest } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import { HUB_LIMITS } from '../limits.ts';

export interface LeafIndex {
  /** CIDs of the models that a leaf belongs to; `undefined` for any other block. */
  modelsOf(leaf: string): readonly string[] | undefined;
  /** Whether a block, of whatever kind, is part of a model. */
  has(block: string): boolean;
  /** From now on these are the models that there are. */
  update(models: readonly { readonly cid: string; readonly manifest: Manifest }[]): Promise<void>;
}

interface Blocks {
  /** Worth passing on. */
  readonly leaves: readonly string[];
  /** Manifest, nodes and what is small. */
  readonly rest: readonly string[];
}

export function createLeafIndex(store: BlobStore): LeafIndex {
  const byModel = new Map<string, Blocks>();
  let models = new Map<string, string[]>();
  /** Blocks of models that are not among the leaves there. */
  let others = new Set<string>();

  async function blocksOf(cid: string, manifest: Manifest): Promise<Blocks> {
    const [leaves, rest]: [string[], string[]] = [[], [cid]];
    for (const { file, bytes } of manifest.files) {
      for (const leaf of await layoutOf(file, bytes, rest))
        (leaf.bytes >= HUB_LIMITS.relayLeafBytesMin ? leaves : rest).push(leaf.cid.toString());
    }
    return { leaves, rest };
  }
  async function layoutOf(file: CID, bytes: number, nodes: string[]): Promise<FileLayout['leaves']> {
    if (file.code === RAW) return [{ cid: file, bytes }];
    const layout = await readLayout(file, async (node) => {
      const block = await store.get(node);
      if (block === undefined) throw new Error(`the node ${node.toString()} is gone`);
      nodes.push(node.toString());
      return block;
    });
    return layout.leaves;
  }

  return {
    modelsOf: (leaf) => models.get(leaf),
    has: (block) => models.has(block) || others.has(block),
    async update(all) {
      const wanted = new Set(all.map(({ cid }) => cid));
      for (const cid of byModel.keys()) if (!wanted.has(cid)) byModel.delete(cid);
      for (const { cid, manifest } of all) if (!byModel.has(cid)) byModel.set(cid, await blocksOf(cid, manifest));
      const next = new Map<string, string[]>();
      const nextOthers = new Set<string>();
      for (const [cid, { leaves, rest }] of byModel) {
        for (const block of rest) nextOthers.add(block);
        for (const leaf of leaves) {
          const found = next.get(leaf);
          if (found !== undefined) found.push(cid);
          else if (next.size < HUB_LIMITS.indexedLeavesMax) next.set(leaf, [cid]);
          else nextOthers.add(leaf);
        }
      }
      models = next;
      others = nextOthers;
    },
  };
}
