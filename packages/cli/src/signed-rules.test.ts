/** Claims about signing rules of use beside a hub that lies: unasked a steward renews her own last word alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Client } from '@idlewild/client';
import { LIMITS, openUseRules, type UseRules } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Context } from './context.ts';
import { ownWord, signRules } from './signed-rules.ts';
import { bytesOf } from './vouching.ts';

const territory = Buffer.alloc(32, 7).toString('base64url');
const context = { note: () => {} } as unknown as Context;
const rulesOf = (why: string): UseRules => ({
  v: 1,
  rules: [{ kind: 'classifier', id: 'rude', model: 'guard', labels: ['rude'], threshold: 0.9, why }],
});

/** What commands need of one. */
function hub(says: { version: number; cid: string }): Client {
  const stewards: { name: string; key: string; removedAt: null }[] = [];
  return {
    wellKnown: async () => ({ territory: { key: territory } }),
    use: { current: async () => ({ version: says.version }) },
    models: { get: async () => ({ cid: says.cid, labels: ['kind', 'rude'] }) },
    stewards: {
      list: async () => stewards,
      add: async ({ name, key }: { name: string; key: string }) => void stewards.push({ name, key, removedAt: null }),
    },
  } as unknown as Client;
}

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-signed-'));
  vi.stubEnv('XDG_DATA_HOME', folder);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const expires = 86_400;
const rules = rulesOf('be kind');

test('her last word is renewed with what classifiers stood for, whatever the hub calls so by now', async () => {
  const says = { version: 3, cid: 'bafyguard' };
  const client = hub(says);
  const { signed } = await signRules(context, client, rules, { expires });
  says.version = 4;
  says.cid = 'bafyoracle';
  const known = await ownWord(client, { signed, rules });
  expect(known).toEqual([{ rule: 'rude', model: 'bafyguard', labels: [1] }]);
  const again = await signRules(context, client, rules, { expires, known });
  const { said } = await openUseRules(bytesOf(again.signed), bytesOf(territory), nodeCrypto);
  expect(said).toMatchObject({ version: 5, rules, classifiers: known });
});

test('no version is signed that is far above what was seen', async () => {
  const says = { version: 3, cid: 'bafyguard' };
  await signRules(context, hub(says), rules, { expires });
  says.version = 5 + LIMITS.useVersionsSkippedMax;
  await expect(signRules(context, hub(says), rules, { expires })).rejects.toMatchObject({ code: 'conflict' });
  says.version = 3;
  const { signed } = await signRules(context, hub(says), rules, { expires });
  expect((await openUseRules(bytesOf(signed), bytesOf(territory), nodeCrypto)).said.version).toBe(5);
});

test('a word of before, other rules, and a word of another steward are not renewed unasked', async () => {
  const says = { version: 3, cid: 'bafyguard' };
  const client = hub(says);
  const { signed: before } = await signRules(context, client, rules, { expires });
  const newer = rulesOf('be very kind');
  const { signed: last } = await signRules(context, client, newer, { expires });
  expect(await ownWord(client, { signed: last, rules: newer })).toHaveLength(1);
  expect(await ownWord(client, { signed: before, rules })).toBeUndefined();
  expect(await ownWord(client, { signed: last, rules })).toBeUndefined();
  expect(await ownWord(client, { signed: null, rules })).toBeUndefined();

  vi.stubEnv('XDG_DATA_HOME', join(folder, 'another'));
  expect(await ownWord(client, { signed: last, rules: newer })).toBeUndefined();
  await signRules(context, hub(says), newer, { expires });
  expect(await ownWord(client, { signed: last, rules: newer })).toBeUndefined();
});
