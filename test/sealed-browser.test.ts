/**
 * Claims about end-to-end encrypted prompts from a web page: a real browser, a real hub that lets the page's origin in,
 * and a device as a process.
 */
import { join } from 'node:path';
import { createSealedClient, type AnswerPiece } from '@idlewild/client';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { KeyPair } from '@idlewild/protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PageAnswer, PageError, PageQuestion } from './browser/page.ts';
import { startSite, type Site } from './browser/site.ts';
import { findChromium, openPage, type Page } from './processes/chromium.ts';
import { addSteward, steward, territoryOf, vouchFor } from './sealed-world.ts';
import { MODEL, createWorld, type HubProcess, type World } from './world.ts';

const chromium = findChromium();
if (chromium === undefined) console.warn('no Chromium here: end-to-end encrypted prompts of a page are not tested');

let world: World;
let site: Site;
let hub: HubProcess;
let page: Page;
let question: PageQuestion;

const TOKENS_PER_SECOND = 60;
const request = {
  model: MODEL,
  messages: [{ role: 'user' as const, content: 'Speak, good Menenius: what says the belly?' }],
  seed: 5,
  max_tokens: 40,
};

beforeAll(async () => {
  if (chromium === undefined) return;
  world = await createWorld();
  site = await startSite(join(import.meta.dirname, 'browser/page.ts'));
  hub = await world.startHub({ otherOrigins: [`http://127.0.0.1:${site.port}`] });
  await world.publish(hub);
  await addSteward(hub.client);
  await world.startDevice(hub, 'ada', { consent: { tokensPerSecondMax: TOKENS_PER_SECOND } });
  await vouchFor(hub.client, 'ada');
  const { key } = await hub.client.keys.create({ role: 'caller' });
  const territory = [...(await territoryOf(hub.client))];
  question = { hub: hub.url, key, territory, steward: [...steward.publicKey], request };
  page = await openPage(chromium);
  await open('127.0.0.1');
});
afterAll(async () => {
  await page?.close();
  await site?.close();
  await world?.end();
});

async function open(host: string): Promise<void> {
  await page.open(`http://${host}:${site.port}/`);
  await page.waitFor('globalThis.sealedPage !== undefined');
}
const ask = (asked: PageQuestion, how: 'sealed' | 'open' = 'sealed'): Promise<PageAnswer | PageError> =>
  page.evaluate(`sealedPage.ask(${JSON.stringify(asked)}, '${how}')`) as Promise<PageAnswer | PageError>;

/** Of the library in Node, with Node's own ciphers. */
async function askHere(): Promise<{ readonly text: string; readonly end: AnswerPiece | undefined }> {
  const { key, territory } = question;
  const pinned = { territory: new Uint8Array(territory), stewards: [steward.publicKey] };
  const client = createSealedClient({ hub: hub.url, key, ...pinned, crypto: nodeCrypto });
  let text = '';
  let end: AnswerPiece | undefined;
  for await (const piece of client.chat(request)) {
    if ('text' in piece) text += piece.text;
    else end = piece;
  }
  return { text, end };
}

test.skipIf(chromium === undefined)("a browser's ciphers keep the claims that Node's keep", async () => {
  expect(await page.evaluate('isSecureContext')).toBe(true);
  expect(await page.evaluate('sealedPage.brokenClaims()')).toEqual([]);
});

test.skipIf(chromium === undefined)('a page gets the text that Node gets, token by token, with a receipt', async () => {
  const here = await askHere();
  const there = (await ask(question)) as PageAnswer;
  expect(here.text.length).toBeGreaterThan(60);
  expect(there).toMatchObject({ text: here.text, finish: 'length', idlewild: { devices: ['ada'], exact: true } });
  expect(there.usage).toEqual((here.end as { usage: unknown }).usage);
  expect((there.idlewild as { receipts: unknown[] }).receipts).toHaveLength(1);
  // Forty tokens at sixty a second: whoever held them back would bring them together.
  const { atMs } = there;
  expect((atMs.at(-1) ?? 0) - (atMs[0] ?? 0)).toBeGreaterThan(200);
  expect(await ask(question, 'open')).toMatchObject({ text: here.text });
});

test.skipIf(chromium === undefined)('a page learns why, from the hub and from the seal', async () => {
  const other = nodeCrypto.signingKey(new Uint8Array(32).fill(22)) as KeyPair;
  expect(await ask({ ...question, steward: [...other.publicKey] })).toMatchObject({ code: 'device_unvouched' });
  expect(await ask({ ...question, key: 'iw_nobody' })).toMatchObject({ code: 'unauthenticated' });
  const unknown = { ...request, model: 'none' };
  expect(await ask({ ...question, request: unknown })).toMatchObject({ code: 'model_not_found' });
});

test.skipIf(chromium === undefined)('a community is reached by its path, whatever the key says', async () => {
  const { territory } = await hub.client.wellKnown();
  const asked = { ...question, hub: `${hub.url}/t/${territory.id}` };
  expect(await ask(asked)).toMatchObject({ finish: 'length' });
});

test.skipIf(chromium === undefined)('the same page of another origin gets nothing', async () => {
  await open('localhost');
  for (const how of ['sealed', 'open'] as const)
    expect(await ask(question, how)).toMatchObject({ code: 'hub_unreachable' });
  await open('127.0.0.1');
});
