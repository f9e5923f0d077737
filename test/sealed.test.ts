/**
 * Claims about end-to-end encrypted prompts, with real processes: any OpenAI client over the proxy, a device that is
 * killed in the middle, and a hub of which everything is searched for a piece of what was asked and answered.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { createSealedClient } from '@idlewild/client';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { KeyPair } from '@idlewild/protocol';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { missingIn, searchForTraces } from '../bench/people/sealed-traces.ts';
import { LONG } from './answers.ts';
import { startChild, type Child } from './processes/child.ts';
import { startListenedHub, steward, textOf, type ListenedHub } from './sealed-world.ts';
import { MODEL, createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

const execFileSoon = promisify(execFile);
const CLI = new URL('../packages/cli/bin/idlewild.mjs', import.meta.url).pathname;

let world: World;
let listened: ListenedHub;
let hub: HubProcess;
let key: string;
const devices = new Map<string, DeviceProcess>();

beforeAll(async () => {
  world = await createWorld();
  listened = await startListenedHub(world);
  ({ hub } = listened);
  ({ key } = await hub.client.keys.create({ role: 'caller' }));
  for (const name of ['ada', 'bea']) devices.set(name, await listened.join(name));
});
afterAll(async () => {
  await world.end();
  await listened.end();
});

interface Told {
  readonly url: string;
  readonly token: string;
}
async function startProxy(
  words: readonly string[] = ['--steward', textOf(steward.publicKey)],
): Promise<{ readonly child: Child<Told>; readonly told: Told; readonly openai: OpenAI }> {
  const own = [
    'proxy',
    '--port',
    '0',
    '--json',
    '--stop-with-stdin',
    '--hub',
    listened.callers.url,
    '--key',
    key,
    ...words,
  ];
  const child = startChild<Told>(CLI, own);
  const told = await child.line(({ url }) => url !== undefined, 'the proxy listening');
  return { child, told, openai: new OpenAI({ baseURL: told.url, apiKey: told.token, maxRetries: 0 }) };
}

interface VerifiedReceipt {
  readonly devices: readonly string[];
  readonly firstToken: number;
  readonly verifiedBy: string | null;
}
/** As `idlewild receipt verify` says it, of an answer on its standard input. */
async function verifyReceipt(kept: string, community: string): Promise<VerifiedReceipt> {
  const words = [CLI, 'receipt', 'verify', '--json', '--territory', community];
  const child = execFileSoon(process.execPath, words);
  child.child.stdin?.end(kept);
  const [verified] = JSON.parse((await child).stdout) as VerifiedReceipt[];
  if (verified === undefined) throw new Error('there is no receipt');
  return verified;
}

interface Note {
  readonly idlewild: {
    readonly devices: string[];
    readonly failovers: number;
    readonly exact: boolean;
    readonly receipts?: string[];
    readonly verification?: string;
  };
}
const messages = [{ role: 'user' as const, content: 'Speak, good Menenius: what says the belly?' }];
const chat = { model: MODEL, messages, seed: 5, max_tokens: 40 };

test("OpenAI's own client gets the same over the proxy as from the hub, whole and streamed", async () => {
  const { child, openai } = await startProxy();
  const open = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key, maxRetries: 0 });
  const plain = await open.chat.completions.create(chat);
  const sealed = (await openai.chat.completions.create(chat)) as OpenAI.ChatCompletion & Note;
  expect(sealed.choices[0]?.message.content).toBe(plain.choices[0]?.message.content);
  expect(sealed.usage?.total_tokens).toBe(plain.usage?.total_tokens);
  expect(sealed.idlewild).toMatchObject({ failovers: 0, exact: true });
  let streamed = '';
  for await (const chunk of await openai.chat.completions.create({ ...chat, stream: true }))
    streamed += chunk.choices[0]?.delta.content ?? '';
  expect(streamed).toBe(plain.choices[0]?.message.content);
  const two = await openai.completions.create({ model: MODEL, prompt: 'What news of', n: 2, max_tokens: 8, seed: 1 });
  expect(two.choices).toHaveLength(2);
  const form = { type: 'json_object' } as const;
  const asked = await openai.chat.completions.create({ ...chat, response_format: form, logprobs: true });
  expect(asked.choices[0]?.logprobs?.content?.length).toBeGreaterThan(0);
  expect((await openai.models.list()).data.map(({ id }) => id)).toEqual([MODEL]);
  await expect(openai.embeddings.create({ model: MODEL, input: 'x' })).rejects.toMatchObject({ status: 404 });
  await expect(openai.chat.completions.create({ ...chat, model: 'none' })).rejects.toMatchObject({
    code: 'model_not_found',
  });
  const long = [{ role: 'user' as const, content: 'word '.repeat(3_000) }];
  await expect(openai.chat.completions.create({ ...chat, messages: long })).rejects.toMatchObject({
    code: 'context_length_exceeded',
  });
  await child.stop();
});

test.each([
  ['--verify', 'scores what the first said'],
  ['--verify=again', 'makes the same again'],
])('with %s a second device %s, and both sign a receipt that holds offline', async (verify) => {
  const { child, openai } = await startProxy(['--steward', textOf(steward.publicKey), verify]);
  const asked = { ...chat, max_tokens: 12 };
  const answer = (await openai.chat.completions.create(asked)) as OpenAI.ChatCompletion & Note;
  await child.stop();
  expect(answer.idlewild.verification).toBe('verified');
  expect(answer.idlewild.devices).toHaveLength(1);
  const { territory } = await hub.client.wellKnown();
  const kept = JSON.stringify(answer);
  const verified = await verifyReceipt(kept, territory.key);
  const made = { answerTokens: 12, firstToken: 0, seed: asked.seed, finish: 'length', exact: true };
  const said = { isOfText: true, sealed: true, signedByDevice: true, dataClass: 'internal', modelName: MODEL };
  expect(verified).toMatchObject({ ...said, ...made, verification: 'verified' });
  expect(verified.verifiedBy).toMatch(/^dev_/);
  expect(verified.devices).not.toContain(verified.verifiedBy);
  const text = answer.choices[0]?.message.content ?? '';
  const changed = kept.replace(JSON.stringify(text), JSON.stringify(`${text}!`));
  await expect(verifyReceipt(changed, territory.key)).rejects.toThrow('another text');
});

test('a draft goes under the seal to the engine, which refuses what is none', async () => {
  const ports = { fetch, clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
  const trusted = { territory: listened.territory, stewards: [steward.publicKey] };
  const client = createSealedClient({ hub: listened.callers.url, key, ...trusted, ...ports });
  const work = {
    prompt: { kind: 'text', text: 'Speak.' },
    sampling: { seed: 5 },
    choice: 0,
    stop: [],
    tokensMax: 9,
  } as const;
  const ids = async (draft: number[]): Promise<number[]> => {
    const said: number[] = [];
    for await (const event of client.answer({ model: MODEL, work: { ...work, stop: [], draft } }))
      if (event.t === 'token') said.push(event.id);
    return said;
  };
  const answer = await ids([]);
  expect(await ids(answer)).toEqual(answer);
  expect(await ids(answer.toReversed())).toEqual(answer);
  await expect(ids([...answer, 9_999_999])).rejects.toMatchObject({
    code: 'invalid_request',
    message: expect.stringContaining('of the draft') as string,
  });
});

test('a proxy seals to nobody for whom its steward does not vouch, and is for nobody without its token', async () => {
  const other = nodeCrypto.signingKey(new Uint8Array(32).fill(22)) as KeyPair;
  const { child, told, openai } = await startProxy(['--steward', textOf(other.publicKey)]);
  await expect(openai.chat.completions.create(chat)).rejects.toMatchObject({ status: 502, code: 'device_unvouched' });
  const ask = (headers: Record<string, string>): Promise<Response> => fetch(`${told.url}/models`, { headers });
  const authorization = `Bearer ${told.token}`;
  expect((await ask({ authorization })).status).toBe(200);
  expect((await ask({})).status).toBe(401);
  expect((await ask({ authorization, origin: 'http://evil.example' })).status).toBe(403);
  expect((await ask({ authorization, 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  await child.stop();
});

test('a device that is killed in the middle of a sealed answer changes no token of it', async () => {
  const { child, openai } = await startProxy();
  const { prompt, seed = 0, max_tokens: tokens = 0 } = LONG;
  const asked = { model: MODEL, prompt, seed, max_tokens: tokens };
  const whole = (await openai.completions.create(asked)).choices[0]?.text;
  let heard = '';
  let pieces = 0;
  let note: Note['idlewild'] | undefined;
  let kept = '';
  let killed: DeviceProcess | undefined;
  let killing: Promise<void> | undefined;
  for await (const chunk of await openai.completions.create({ ...asked, stream: true })) {
    heard += chunk.choices[0]?.text ?? '';
    note = (chunk as Partial<Note>).idlewild ?? note;
    kept += `data: ${JSON.stringify(chunk)}\n\n`;
    if (++pieces !== 20) continue;
    killed = [...devices.values()].find((device) => device.state().answering > 0);
    killing = killed?.kill();
  }
  await killing;
  expect(heard).toBe(whole);
  expect(note).toMatchObject({ failovers: 1, exact: true });
  expect(note?.devices).toHaveLength(2);
  expect(note?.devices[0]).toBe(killed?.name);
  // The device that is left signs for the whole text, and for the tokens that it made.
  const verified = await verifyReceipt(kept, (await hub.client.wellKnown()).territory.key);
  expect(verified).toMatchObject({ isOfText: true, sealed: true, answerTokens: tokens, verification: 'unverified' });
  expect(verified.firstToken).toBeGreaterThanOrEqual(20 - 1);
  await child.stop();
});

test('nothing that the hub read, wrote or keeps has a piece of a sealed prompt or its answer', async () => {
  const { searched, territory } = listened;
  const search = await searchForTraces({ hub: searched, territory, stewards: [steward.publicKey] });
  expect(search.answer.length).toBeGreaterThan(60);
  expect(search.traces).toEqual([]);
  // A search that finds nothing must be shown to find something.
  expect(missingIn(search.control)).toEqual([]);
});
