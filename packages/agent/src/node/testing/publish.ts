/** The bundled model in a store, whole, as a hub offers it; and work for it that is long enough to have a middle. */
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { encodeManifest, storeFile, type AnswerWork, type BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { prepareModelFolder } from '@idlewild/engine/testing';

export async function publishJacobean(store: BlobStore, folder: string): Promise<{ cid: string; bytes: number }> {
  const { graph, contextTokens, fileBytes } = prepareModelFolder({ folder, from: 'jacobean' });
  const files = await Promise.all(
    Object.keys(fileBytes).map(async (path) => {
      const { root, bytes } = await storeFile(store, () => createReadStream(join(folder, path)), nodeCrypto);
      return { path, file: root, bytes };
    }),
  );
  const manifest = await encodeManifest(
    { v: 1, kind: 'decoder', graph, files, tensors: [], contextTokens, vocabularyTokens: 1_024, layers: 1, card: {} },
    nodeCrypto,
  );
  await store.put(manifest.cid, manifest.bytes);
  return { cid: manifest.cid.toString(), bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

export const longWork = (tokens: number[] = []): AnswerWork => ({
  prompt: { kind: 'text', text: 'ROMEO:' },
  sampling: { seed: 7, temperature: 0.8 },
  choice: 0,
  stop: [],
  tokens,
  tokensMax: 200,
});
