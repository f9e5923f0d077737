/** The shared ports on Node. */
export { nodeCrypto, nodeRandom } from './node-crypto.ts';
export { systemClock } from './system-clock.ts';
