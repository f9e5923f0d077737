/** Claims about what end-to-end encrypted prompts may spend, over a real door: caps, limits, and who counts. */
import { LIMITS, type KeyPair } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ScriptedDevice } from '../../testing/scripted-device.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { addTestSteward } from '../../testing/test-steward.ts';

const PROMPT_TOKENS = 10;
const sealedEvent = new Uint8Array(LIMITS.sealedEventBytesMin + 16);
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const agreement = nodeCrypto.agreementKey(new Uint8Array(32).fill(9)) as KeyPair;

let door: TestDoor;
let device: ScriptedDevice;
/** How many tokens it makes of the next prompt, and what it says the prompt has. */
let makes = 20;
let counts = PROMPT_TOKENS;

beforeAll(async () => {
  door = await openTestDoor('jacobean');
  const { hub } = door;
  device = await door.join();
  device.onMessage = (message) => {
    if (message.t !== 'sealed') return;
    const { lease, epoch } = message;
    const part = { t: 'sealed.part', lease, epoch, sealed: sealedEvent } as const;
    device.send({ ...part, n: 0, promptTokens: counts, tokens: 0 });
    for (let n = 1; n <= makes; n++) device.send({ ...part, n, tokens: n });
    const end = { n: makes + 1, promptTokens: counts, tokens: makes, sealed: sealedEvent };
    device.send({ t: 'sealed.done', lease, epoch, ...end });
  };
  const vouch = await addTestSteward(hub, systemClock.now);
  await vouch(device);
});
afterAll(() => door.close());

async function post(key: string, path: string, body: object): Promise<Response> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  return fetch(`${door.url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
}
interface Asked {
  readonly status: number;
  /** Of an error, also one within the stream. */
  readonly error: { readonly code: string; readonly message: string; readonly type: string } | undefined;
  readonly parts: number;
}
/** As a caller would that says that its answer may have so many tokens. */
async function ask(key: string, tokens: number): Promise<Asked> {
  const offering = { model: 'jacobean', bytes: LIMITS.sealedPromptBytesMin, tokens };
  const { offer } = (await (await post(key, '/v1/sealed/offers', offering)).json()) as { offer: string };
  const carried = { key: text(agreement.publicKey), enc: text(new Uint8Array(32)) };
  const sealed = text(new Uint8Array(LIMITS.sealedPromptBytesMin + 16));
  const response = await post(key, '/v1/sealed/answers', { offer, ...carried, sealed, tokens });
  const said = await response.text();
  if (response.status !== 200)
    return { status: response.status, ...(JSON.parse(said) as Pick<Asked, 'error'>), parts: 0 };
  const lines = said.split('\n').filter((line) => line.startsWith('data: {'));
  const events = lines.map((line) => JSON.parse(line.slice(6)) as { t: string; error?: Asked['error'] });
  const error = events.find(({ t }) => t === 'failed')?.error;
  return { status: 200, error, parts: events.filter(({ t }) => t === 'part').length };
}
async function keyWith(cap: object, limits: object = {}): Promise<{ id: string; key: string }> {
  const { hub } = door;
  const territory = hub.territory.id;
  const key = await hub.keys.create({ territory, role: 'caller', actor: 'test', limits });
  if (Object.keys(cap).length === 0) return key;
  const steward = (await hub.keys.create({ territory, role: 'steward', actor: 'test' })).key;
  const headers = { authorization: `Bearer ${steward}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ kind: 'key', subject: key.id, ...cap });
  const set = await fetch(`${door.url}/api/caps`, { method: 'PATCH', headers, body });
  expect(set.status).toBe(200);
  return key;
}
async function spent(key: string): Promise<unknown> {
  const headers = { authorization: `Bearer ${key}` };
  const told = (await (await fetch(`${door.url}/api/spending`, { headers })).json()) as {
    levels: { tokens: object }[];
  };
  return told.levels[0]?.tokens;
}

/** A prompt of the smallest bucket is taken for so many tokens before it is read. */
const THOUGHT = Math.ceil(Math.ceil(((LIMITS.sealedPromptBytesMin + 16) * 4) / 3) / 4);

test('what a sealed answer used is charged as its device counts, and what was held beyond it returns', async () => {
  const { key } = await keyWith({ tokensPerDay: THOUGHT + 64 });
  [makes, counts] = [20, PROMPT_TOKENS];
  expect(await ask(key, 32)).toMatchObject({ status: 200, error: undefined, parts: 21 });
  await expect.poll(() => spent(key)).toMatchObject({ spent: 30, held: 0 });
});

test('one for which there is no room is refused before it is begun, with the words that all have', async () => {
  const { key } = await keyWith({ tokensPerDay: THOUGHT + 64 });
  const { status, error } = await ask(key, 128);
  expect(status).toBe(429);
  expect(error).toMatchObject({ code: 'spend_cap', type: 'insufficient_quota' });
  expect(error?.message).toMatch(/the key’s day of \d+ tokens has \d+ left.*ask a steward/);
});

test('a caller that says less than its answer has gets no further than its cap', async () => {
  const cap = THOUGHT + 64;
  const { key } = await keyWith({ tokensPerDay: cap });
  [makes, counts] = [5_000, PROMPT_TOKENS];
  const heard = device.heard.length;
  const { status, error, parts } = await ask(key, 1);
  expect(status).toBe(200);
  expect(error).toMatchObject({ code: 'spend_cap', type: 'insufficient_quota' });
  expect(error?.message).toMatch(/^what may be spent is used up.*a steward changes them/);
  // Not even a device that tells all of it in one moment.
  expect(parts).toBeLessThan(cap + 1_100);
  await expect.poll(() => device.heard.slice(heard).some(({ t }) => t === 'cancel')).toBe(true);
  await expect.poll(() => spent(key)).toMatchObject({ held: 0 });
  expect(await ask(key, 1)).toMatchObject({ status: 429, error: { code: 'spend_cap' } });
});

test('an answer that grows beyond what was held goes on as long as there is more', async () => {
  const { key } = await keyWith({ tokensPerDay: 100_000 });
  [makes, counts] = [3_000, PROMPT_TOKENS];
  expect(await ask(key, 8)).toMatchObject({ status: 200, error: undefined, parts: 3_001 });
  await expect.poll(() => spent(key)).toMatchObject({ spent: 3_010, held: 0 });
});

test("a device's count of a prompt is believed up to its bytes and a template, no further", async () => {
  const { key } = await keyWith({ tokensPerDay: 100_000 });
  [makes, counts] = [5, 50_000];
  const { error, parts } = await ask(key, 8);
  expect(parts).toBe(0);
  expect(error).toBeUndefined();
  await expect.poll(() => spent(key)).toMatchObject({ spent: 0, held: 0 });
});

test('a prompt that was read is charged, also where less might be spent than it turned out to have', async () => {
  const cap = THOUGHT + 2_000;
  const { key } = await keyWith({ tokensPerDay: cap });
  // Far more tokens than its length lets one think.
  [makes, counts] = [5, THOUGHT + 4_000];
  const { error, parts } = await ask(key, 1);
  expect([error?.code, parts]).toEqual(['spend_cap', 0]);
  await expect.poll(() => spent(key)).toMatchObject({ spent: counts, held: 0 });
  const heard = device.heard.length;
  expect(await ask(key, 1)).toMatchObject({ status: 429, error: { code: 'spend_cap' } });
  expect(device.heard.slice(heard).filter(({ t }) => t === 'sealed')).toEqual([]);
});

test('limits by the minute are settled by what was used', async () => {
  const { id, key } = await keyWith({}, { tokensPerMinute: 60_000 });
  [makes, counts] = [200, PROMPT_TOKENS];
  expect(await ask(key, 4_096)).toMatchObject({ status: 200, error: undefined });
  const left = async (): Promise<number> =>
    (await door.hub.limits.standing({ keyId: id, tokensPerMinute: 60_000 })).tokens?.remaining ?? 0;
  await expect.poll(left).toBeGreaterThan(60_000 - 1_000);
  expect(await left()).toBeLessThanOrEqual(60_000);
  door.hub.limits.charge(id, 60_000);
  expect(await ask(key, 4_096)).toMatchObject({ status: 429, error: { code: 'rate_limit_exceeded' } });
});
