/** A model of a few bytes for tests of the hub, which never looks inside one. */
import type { BlobStore, Manifest } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { storeTinyModel } from '@idlewild/protocol/testing';
import type { Hub } from '../hub.ts';

/** Stores and registers it under `name`; returns its CID. */
export async function publishTestModel(
  hub: Pick<Hub, 'models' | 'territory'>,
  store: BlobStore,
  name: string,
  manifest: Partial<Manifest> = {},
): Promise<string> {
  const options = { crypto: nodeCrypto, contextTokens: 512, manifest };
  const cid = await storeTinyModel(store, `the graph of ${name}`, options);
  await hub.models.add({ territory: hub.territory.id, name, manifest: cid, actor: 'test' });
  return cid;
}
