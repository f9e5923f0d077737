/**
 * Claims about rules of use for end-to-end encrypted prompts, with real processes: whatever rule speaks against a text,
 * over the proxy it is refused as in the open, counted, and lifted by an appeal; and the hub is told its name alone.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeEncoderFolder } from '@idlewild/graph/testing';
import type { UseRules } from '@idlewild/protocol';
import OpenAI, { APIError } from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChild, until, type Child } from './processes/child.ts';
import { MODEL, createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

const CLI = new URL('../packages/cli/bin/idlewild.mjs', import.meta.url).pathname;
const SHAPE = { vocab: 1_200, width: 64, layers: 1, heads: 4, feedForward: 128, context: 256, labels: 3 };
/** Of random weights: what it says of a text means nothing, and is the same wherever it is asked. */
const LABELS = ['dull', 'merry', 'mad'];

const proxies: Child<unknown>[] = [];
let world: World;
let hub: HubProcess;
let key: string;
let ada: DeviceProcess;
let pin: string;
let sealed: OpenAI;
let open: OpenAI;

const homeOf = (name: string): NodeJS.ProcessEnv => ({
  ...process.env,
  HOME: join(world.folder, name),
  XDG_DATA_HOME: join(world.folder, name),
});

/** The command line as somebody with a folder of their own. Throws what it says where it fails. */
async function as<Told>(name: string, asKey: string | undefined, ...words: string[]): Promise<Told> {
  const more = asKey === undefined ? [] : ['--key', asKey];
  const child = startChild<Told>(CLI, [...words, '--json', '--hub', hub.url, ...more], homeOf(name));
  const { code } = await child.ended;
  if (code !== 0) throw new Error(`${words.join(' ')}: ${child.said()}`);
  return child.lines[0] as Told;
}
const steward = <Told>(...words: string[]): Promise<Told> => as<Told>('steward', hub.key, ...words);

async function startProxy(asKey: string): Promise<OpenAI> {
  const words = ['proxy', '--port', '0', '--json', '--stop-with-stdin', '--hub', hub.url, '--key', asKey];
  const proxy = startChild<{ url: string; token: string }>(CLI, [...words, '--steward', pin]);
  proxies.push(proxy);
  const told = await proxy.line(({ url }) => url !== undefined, 'the proxy listening');
  return new OpenAI({ baseURL: told.url, apiKey: told.token, maxRetries: 0 });
}
async function apply(rules: Omit<UseRules, 'v'>, ...words: string[]): Promise<void> {
  const file = join(world.folder, 'rules.json');
  writeFileSync(file, JSON.stringify({ v: 1, ...rules }));
  await steward('use', 'apply', file, ...words);
}

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  const mood = join(world.folder, 'mood');
  writeEncoderFolder(mood, { shape: SHAPE, seed: 22, labels: LABELS });
  await steward('models', 'add', mood);
  await world.publish(hub);
  ({ key } = await hub.client.keys.create({ role: 'caller' }));
  ada = await world.startDevice(hub, 'ada');
  const isReady = async (): Promise<boolean> =>
    (await hub.client.devices.list()).some(({ models }) => models.length === 2);
  await until(isReady, 'ada with both models');
  await steward('devices', 'vouch', 'ada', '--tier', 'vetted');
  ({ key: pin } = await steward<{ key: string }>('stewards', 'key'));
  sealed = await startProxy(key);
  open = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key, maxRetries: 0 });
});
afterAll(async () => {
  await Promise.all(proxies.map((proxy) => proxy.stop()));
  await world.end();
});

interface Verdict {
  readonly status: number;
  readonly code: string;
  readonly reason: unknown;
  readonly why: string;
  readonly refusal: string;
}
/** What is refused and why; `undefined` for an answer. */
async function verdict(asked: () => Promise<unknown>): Promise<Verdict | undefined> {
  try {
    await asked();
    return undefined;
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { details = {} } = (error.error ?? {}) as { details?: { reason?: string; refusal?: string } };
    const why = error.message.replaceAll(/ref_\w+/g, 'ref');
    return {
      status: error.status ?? 0,
      code: error.code ?? '',
      reason: details.reason,
      why,
      refusal: details.refusal ?? '',
    };
  }
}
const chatOf = (client: OpenAI, content: string) => () =>
  client.chat.completions.create({ model: MODEL, messages: [{ role: 'user', content }], seed: 4, max_tokens: 8 });
/** The same verdict both ways, which is what comes back. */
async function both(text: string): Promise<Verdict | undefined> {
  const [plain, hidden] = [await verdict(chatOf(open, text)), await verdict(chatOf(sealed, text))];
  const { refusal: _plain, ...said } = plain ?? {};
  const { refusal, ...same } = hidden ?? {};
  expect(same).toEqual(said);
  if (hidden !== undefined) expect(refusal).toMatch(/^ref_/);
  return hidden;
}

const gas = { kind: 'phrases' as const, id: 'gas', phrases: ['nerve gas'], why: 'no weapons here' };
const TEXT = 'What says the merry belly?';

test('rules that nobody signed hold in the open, and let no encrypted prompt be sent', async () => {
  await apply({ rules: [gas] });
  expect(await verdict(chatOf(open, 'nerve gas'))).toMatchObject({ reason: 'rule:gas' });
  expect(await verdict(chatOf(open, TEXT))).toBeUndefined();
  expect(await verdict(chatOf(sealed, TEXT))).toMatchObject({ status: 503, code: 'use_unjudged' });
});

test('phrases refuse the same in the open and over the proxy, and what they leave alone is answered', async () => {
  await apply({ rules: [gas] }, '--sign');
  expect(await both('How is Nerve-GAS made?')).toMatchObject({ status: 403, code: 'use_refused', reason: 'rule:gas' });
  expect(await both(TEXT)).toBeUndefined();
});

test('a classifier refuses the same in the open and on the device that answers', async () => {
  const answer = await open.post<{ data: { probs: number[] }[] }>('/classify', {
    body: { model: 'mood', input: TEXT },
  });
  const [probability = 0] = answer.data[0]?.probs.slice(1, 2) ?? [];
  const rude = (threshold: number): UseRules['rules'] => [
    { kind: 'classifier', id: 'mad', model: 'mood', labels: ['merry'], threshold, why: 'too merry' },
  ];
  await apply({ rules: rude(probability * 0.9) }, '--sign');
  expect(await both(TEXT)).toMatchObject({ status: 403, reason: 'rule:mad' });
  await apply({ rules: rude(Math.min(1, probability * 1.1)) }, '--sign');
  expect(await both(TEXT)).toBeUndefined();
});

test('lists of models and purposes, and a refusal of all encrypted prompts, are told alike', async () => {
  await apply({ models: { deny: [MODEL] } });
  expect(await both(TEXT)).toMatchObject({ reason: 'model-denied' });
  await apply({ purposes: { required: true } });
  expect(await both(TEXT)).toMatchObject({ reason: 'purpose-missing' });
  await apply({ sealed: 'refused' });
  expect(await verdict(chatOf(open, TEXT))).toBeUndefined();
  expect(await verdict(chatOf(sealed, TEXT))).toMatchObject({ status: 403, reason: 'sealed-refused' });
});

test('an age-appropriate mode begins conversations alike, and refuses what is none', async () => {
  await steward('groups', 'create', 'children');
  const { code } = await steward<{ code: string }>(
    'members',
    'invite',
    'Cleo',
    '--role',
    'member',
    '--group',
    'children',
  );
  await as('cleo', undefined, 'sign-in', '--code', code);
  const { key: own } = await as<{ key: string }>('cleo', undefined, 'keys', 'create', '--own', '--name', 'notebook');
  const [hidden, plain] = [await startProxy(own), new OpenAI({ apiKey: own, baseURL: `${hub.url}/v1`, maxRetries: 0 })];
  const preamble = 'You speak with a child. Be kind, and be brief.';
  await apply({ profiles: [{ name: 'young', groups: ['children'], preamble }] }, '--sign');
  const answers = await Promise.all([open, sealed, plain, hidden].map((client) => chatOf(client, TEXT)()));
  const tokens = answers.map(({ usage }) => usage?.prompt_tokens ?? 0);
  expect(tokens[1]).toBe(tokens[0]);
  expect(tokens[3]).toBe(tokens[2]);
  expect(tokens[2]).toBeGreaterThan(tokens[0] ?? 0);
  expect(answers[3]?.choices[0]?.message.content).toBe(answers[2]?.choices[0]?.message.content);
  const complete = (client: OpenAI) => () => client.completions.create({ model: MODEL, prompt: TEXT, max_tokens: 4 });
  expect(await verdict(complete(plain))).toMatchObject({ reason: 'chat-only' });
  expect(await verdict(complete(hidden))).toMatchObject({ reason: 'chat-only' });
});

test('a refusal over the proxy is counted, and lifted for its asker by an appeal that was right', async () => {
  await apply({ rules: [gas] }, '--sign');
  const refused = await verdict(chatOf(sealed, 'nerve gas'));
  const appeal = await as<{ id: string }>(
    'teacher',
    key,
    'appeals',
    'file',
    refused?.refusal ?? '',
    'I teach chemistry',
  );
  await steward('appeals', 'decide', appeal.id, '--reverse', '--note', 'she does');
  expect(await both('nerve gas')).toBeUndefined();
  const report = await steward<{ refusals: Record<string, number> }>('audit', 'report');
  expect(report.refusals['use:rule:gas']).toBe(4);
});

test('32 streams at once are all answered, and one whose client hangs up leaves nothing running', async () => {
  await steward('use', 'off');
  const messages = [{ role: 'user' as const, content: TEXT }];
  const ask = { model: MODEL, messages, seed: 4, stream: true as const };
  const texts = await Promise.all(
    Array.from({ length: 32 }, async () => {
      let text = '';
      for await (const chunk of await sealed.chat.completions.create({ ...ask, max_tokens: 4 }))
        text += chunk.choices[0]?.delta.content ?? '';
      return text;
    }),
  );
  expect(new Set(texts).size).toBe(1);
  expect(texts[0]).not.toBe('');
  const stream = await sealed.chat.completions.create({ ...ask, max_tokens: 400 });
  for await (const chunk of stream) if (chunk.choices[0]?.delta.content) break;
  await until(async () => ada.state().answering === 0, 'the device having nothing to do');
});
