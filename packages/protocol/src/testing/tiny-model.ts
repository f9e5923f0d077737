/** A model of a few bytes, for whoever moves models about without looking inside. */
import { storeFile } from '../blobs/transfer.ts';
import { utf8 } from '../bytes.ts';
import { encodeManifest, type Manifest } from '../manifest.ts';
import type { BlobStore, Crypto } from '../ports.ts';

export interface TinyModelOptions {
  readonly crypto: Crypto;
  readonly contextTokens?: number;
  readonly manifest?: Partial<Manifest>;
}

/** Stores a model whose one file holds `text`, with its manifest (a decoder's, but for `manifest`); returns its CID. */
export async function storeTinyModel(
  store: BlobStore,
  text: string,
  { crypto, contextTokens = 4_096, manifest = {} }: TinyModelOptions,
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
      ...manifest,
    },
    crypto,
  );
  await store.put(cid, bytes);
  return cid.toString();
}
