import { expect, test } from 'vitest';
import { cryptoConformance } from '../testing/crypto-conformance.ts';
import { nodeCrypto } from './node-crypto.ts';

test.for(cryptoConformance(nodeCrypto))('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());
