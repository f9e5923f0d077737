/** In-memory implementations of the shared ports, and the conformance suites that every implementation runs. */
export { createFakeClock, type FakeClock } from './fake-clock.ts';
export { createMemoryChannelPair, createMemoryTransport, type MemoryLink } from './memory-transport.ts';
export { createSeededRandom } from './seeded-random.ts';
export { blobStoreConformance, type BlobStoreHarness, type Claim } from './blob-store-conformance.ts';
export { cryptoConformance } from './crypto-conformance.ts';
export { storeTinyModel } from './tiny-model.ts';
export { yieldToNode } from './yield-to-node.ts';
