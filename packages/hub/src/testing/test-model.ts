/** A model of a few bytes for tests of the hub, which never looks inside one. */
import { encodeManifest, storeFile, utf8, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { Hub } from '../hub.ts';

/** Stores and registers it under `name`; returns its CID. */
export async function publishTestModel(
  hub: Pick<Hub, 'models' | 'territory'>,
  store: BlobStore,
  name: string,
): Promise<string> {
  const graph = utf8(`the graph of ${name}`);
  const layout = await storeFile(store, () => [graph], nodeCrypto);
  const { cid, bytes } = await encodeManifest(
    {
      v: 1,
      kind: 'decoder',
      graph: 'model.onnx',
      files: [{ path: 'model.onnx', file: layout.root, bytes: graph.length }],
      tensors: [],
      contextTokens: 512,
      vocabularyTokens: 2_048,
      layers: 6,
      card: {},
    },
    nodeCrypto,
  );
  await store.put(cid, bytes);
  await hub.models.add({ territory: hub.territory.id, name, manifest: cid.toString(), actor: 'test' });
  return cid.toString();
}
