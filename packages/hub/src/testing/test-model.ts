/** A model of a few bytes for tests of the hub, which never looks inside one. */
import type { BlobStore } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import type { Hub } from '../hub.ts';

/** Stores and registers it under `name`; returns its CID. */
export async function publishTestModel(
  hub: Pick<Hub, 'models' | 'territory'>,
  store: BlobStore,
  name: string,
): Promise<string> {
  const manifest = await storeTinyModel(store, `the graph of ${name}`, { crypto: nodeCrypto, contextTokens: 512 });
  await hub.models.add({ territory: hub.territory.id, name, manifest, actor: 'test' });
  return manifest;
}
