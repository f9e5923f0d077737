/**
 * Which models a leaf belongs to: what makes it possible to ask, for a block, the devices that hold a model.
 *
 * Only whole leaves worth passing on are in it; nodes, manifests and small files always come from the hub's own store.
 * It is built from the manifests and the nodes in the store, and bounded: a leaf that is not in it is served as well.
 */
import { RAW, readLayout, type BlobStore, type Manifest } from '@idlewild/protocol';
import type { CID } from 'multiformats/cid';
import { HUB_LIMITS } from '../limits.ts';

export interface LeafIndex {
  /** CIDs of the models that a leaf belongs to; `undefined` for any other block. */
  modelsOf(leaf: string): readonly string[] | undefined;
  /** From now on these are the models that there are. */
  update(models: readonly { readonly cid: string; readonly manifest: Manifest }[]): Promise<void>;
}

export function createLeafIndex(store: BlobStore): LeafIndex {
  const byModel = new Map<string, readonly string[]>();
  let models = new Map<string, string[]>();

  async function leavesOf(manifest: Manifest): Promise<string[]> {
    const leaves: string[] = [];
    for (const { file, bytes } of manifest.files) {
      if (bytes < HUB_LIMITS.relayLeafBytesMin) continue;
      for (const leaf of await layoutOf(file, bytes)) {
        if (leaf.bytes >= HUB_LIMITS.relayLeafBytesMin) leaves.push(leaf.cid.toString());
      }
    }
    return leaves;
  }
  async function layoutOf(file: CID, bytes: number): Promise<readonly { readonly cid: CID; readonly bytes: number }[]> {
    if (file.code === RAW) return [{ cid: file, bytes }];
    const nodes = await readLayout(file, async (node) => {
      const block = await store.get(node);
      if (block === undefined) throw new Error(`the node ${node.toString()} is gone`);
      return block;
    });
    return nodes.leaves;
  }

  return {
    modelsOf: (leaf) => models.get(leaf),
    async update(all) {
      const wanted = new Set(all.map(({ cid }) => cid));
      for (const cid of byModel.keys()) if (!wanted.has(cid)) byModel.delete(cid);
      for (const { cid, manifest } of all) if (!byModel.has(cid)) byModel.set(cid, await leavesOf(manifest));
      const next = new Map<string, string[]>();
      for (const [cid, leaves] of byModel) {
        for (const leaf of leaves) {
          const found = next.get(leaf);
          if (found !== undefined) found.push(cid);
          else if (next.size < HUB_LIMITS.indexedLeavesMax) next.set(leaf, [cid]);
        }
      }
      models = next;
    },
  };
}
