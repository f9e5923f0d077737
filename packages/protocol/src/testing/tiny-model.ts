/** A model of a few bytes, for whoever moves models about without looking inside. */
import { storeFile } from '../blobs/transfer.ts';
import { utf8 } from '../bytes.ts';
import { encodeManifest } from '../manifest.ts';
import type { BlobStore, Crypto } from '../ports.ts';

/** Stores a model whose one file holds `text`, with its manifest; returns the manifest's CID as text. */
export async function storeTinyModel(
  store: BlobStore,
  text: string,
  { crypto, contextTokens = 4_096 }: { crypto: Crypto; contextTokens?: number },
): Promise<string> {
  const graph = utf8(text);
  const { root } = await storeFile(store, () => [graph], crypto);
  const { cid, bytes } = await encodeManifest(
    {
      v: 1,
      kind: 'decoder',
      graph: 'model.onnx',
      files: [{ path: 'model.onnx', file: root, bytes: graph.length }],
      tensors: [],
      contextTokens,
      vocabularyTokens: 50_000,
      layers: 1,
      card: {},
    },
    crypto,
  );
  await store.put(cid, bytes);
  return cid.toString();
}
