/** The shared ports on Node. */
export { lockFolder, type FolderLock } from './folder-lock.ts';
export { nodeCrypto, nodeRandom } from './node-crypto.ts';
export { systemClock } from './system-clock.ts';
export { createDiskBlobStore, type DiskBlobStore } from './disk-blob-store.ts';
