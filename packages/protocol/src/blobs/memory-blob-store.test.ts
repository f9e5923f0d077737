import { expect, test } from 'vitest';
import { nodeCrypto } from '../node/node-crypto.ts';
import { blobStoreConformance } from '../testing/blob-store-conformance.ts';
import { createMemoryBlobStore } from './memory-blob-store.ts';

const claims = blobStoreConformance({
  crypto: nodeCrypto,
  open: async (quotaBytes) => createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes }),
  reopen: async (store) => store,
});
test.for(claims)('$claim', async ({ check }) => {
  await expect(check()).resolves.toBeUndefined();
});
