/** Claims about callers whose platform lacks a cipher, or has all of them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createWebCrypto } from '@idlewild/protocol/web';
import { expect, test } from 'vitest';
import { createSealedClient } from '../index.ts';
import { ANSWER, device, textOf, worldsOf } from './testing/lying-hub.ts';

const createWorld = worldsOf(() => nextTurn());
const { subtle } = globalThis.crypto;

test('the ciphers of browsers seal to a device as those of Node do', async () => {
  const world = createWorld([device(10, { dies: 2 }), device(12)], {}, { crypto: createWebCrypto(subtle) });
  const events = await world.answer();
  expect(textOf(events)).toBe(ANSWER.join(''));
  expect(events.at(-1)).toMatchObject({ t: 'finished', failovers: 1, exact: true });
});

test('a browser without the curves is told so at the first offer, and blames no device', async () => {
  const importKey = () => Promise.reject(new DOMException('Algorithm: Unrecognized name', 'NotSupportedError'));
  const old = createWebCrypto({ ...subtle, importKey });
  const world = createWorld([device(10), device(12)], {}, { crypto: old });
  await expect(world.answer()).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/X25519/) });
  expect(world.sent.map(({ path }) => path)).toEqual(['/v1/sealed/offers']);
});

test('what is not handed in is the platform’s', () => {
  const pinned = { territory: new Uint8Array(32), stewards: [new Uint8Array(32)] };
  expect(createSealedClient({ hub: 'http://hub.example', ...pinned })).toHaveProperty('chat');
  expect(() => createSealedClient({ hub: 'nowhere', ...pinned })).toThrow(/not a hub's address/);
});
