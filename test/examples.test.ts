/**
 * Every example runs as a reader would run it: a process of its own with an address and a key, against a real hub and a
 * real device with the bundled model.
 */
import { spawn, spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeEncoderFolder } from '@idlewild/graph/testing';
import OpenAI from 'openai';
import { until } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';
import { MODEL, createWorld, type HubProcess, type World } from './world.ts';

const EXAMPLES = join(import.meta.dirname, '../examples');
const README = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
const QUESTION = 'What news of the "king" \\ queen?';

let world: World;
let hub: HubProcess;
let key: string;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  ({ key } = await hub.client.keys.create({ role: 'caller' }));
  await world.startDevice(hub, 'ada');
});
afterAll(() => world.end());

/** With the environment that its comment names, and as little else as programs need. */
function run(program: string, file: string, words: readonly string[] = [], more: NodeJS.ProcessEnv = {}): Promise<Ran> {
  const { PATH, HOME, PYTHONPATH } = process.env;
  const env = { PATH, HOME, PYTHONPATH, IDLEWILD_URL: hub.url, IDLEWILD_KEY: key, ...more };
  return runProgram(program, [join(EXAMPLES, file), ...words], { env });
}

const node = (file: string, ...rest: [(readonly string[])?, NodeJS.ProcessEnv?]): Promise<Ran> =>
  run(process.execPath, file, ...rest);

test('the table of the README has every example and nothing else', () => {
  const listed = [...README.matchAll(/^\| \[`([^`]+)`\]\(([^)]+)\) \|/gm)].map(([, shown, target]) => {
    expect(shown).toBe(target);
    return target;
  });
  const files = globSync(['*/*.{mjs,py}', '*.sh'], { cwd: EXAMPLES }).sort();
  expect(listed.sort()).toEqual(files);
});

test('curl.sh shows the hub, its models and the events of an answer', async () => {
  const { code, out, err } = await run('sh', 'curl.sh', [QUESTION]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^the hub:\n\{"v":1,.*"name":"home"/);
  expect(out).toMatch(/"id":"jacobean"/);
  expect(out.match(/^data: \{/gm)?.length).toBeGreaterThan(10);
  expect(out).toMatch(/^data: \[DONE\]$/m);
});

test("openai-js/chat.mjs streams with OpenAI's client and says who answered", async () => {
  const { code, out, err } = await node('openai-js/chat.mjs', [QUESTION]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^› What news of the "king"[\s\S]{60,}\n\n\d+ tokens by ada, 0 failovers\n$/);
});

test('openai-js/resume.mjs breaks off twice and prints the answer of one that does not', async () => {
  const { code, out, err } = await node('openai-js/resume.mjs', [QUESTION]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const openai = new OpenAI({ baseURL: `${hub.url}/v1`, apiKey: key });
  const messages = [{ role: 'user' as const, content: QUESTION }];
  const answer = await openai.chat.completions.create({ model: MODEL, messages, max_tokens: 60, seed: 7 });
  expect(out).toBe(`› ${QUESTION}\n\n${answer.choices[0]?.message.content}\n`);
});

test('openai-js/json.mjs prints what the schema promises, from a model that knows no JSON', async () => {
  const { code, out, err } = await node('openai-js/json.mjs');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^[\s\S]{0,24}, (king|duke|servant), (alive|dead)\n$/);
});

test('openai-js/tools.mjs calls the function and goes on with its result', async () => {
  const { code, out, err } = await node('openai-js/tools.mjs');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/count_ships\(\{.*"harbour":\s*"(Dover|Calais|Ostia)".*\}\) = \{"harbour":"\w+","ships":\d+\}/);
});

test('openai-js/embeddings.mjs ranks sentences by a model that embeds', async () => {
  const folder = join(world.folder, 'nearness');
  const shape = { vocab: 256, width: 32, layers: 2, heads: 4, feedForward: 64, context: 64 };
  writeEncoderFolder(folder, { shape, seed: 7, pooling: 'mean' });
  expect((await world.idlewild(hub, ['models', 'add', folder]).ended).code).toBe(0);
  const holds = async (): Promise<boolean> =>
    (await hub.client.devices.list()).some(({ models }) => models.includes('nearness'));
  await until(holds, 'the device holding the model that embeds');
  const { code, out, err } = await node('openai-js/embeddings.mjs', [QUESTION], { IDLEWILD_MODEL: 'nearness' });
  expect({ code, err }).toEqual({ code: 0, err: '' });
  const told = [...out.matchAll(/^(-?[01]\.\d{3})  [A-Z][\w ]+\.$/gm)].map(([, nearness]) => Number(nearness));
  expect(told).toHaveLength(3);
  expect(told).toEqual([...told].sort((one, other) => other - one));
});

test('langchain-js/chat.mjs runs a chain', async () => {
  const { code, out, err } = await node('langchain-js/chat.mjs', ['the ships']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^› Speak to me of the ships\.\n\n[\s\S]{40,}\n$/);
});

test('vercel-ai-sdk/chat.mjs streams and tells the usage', async () => {
  const { code, out, err } = await node('vercel-ai-sdk/chat.mjs', [QUESTION]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^› What news[\s\S]{40,}\n\n\d+ tokens read, \d+ written\n$/);
});

const hasOpenai = spawnSync('python3', ['-c', 'import openai']).status === 0;
if (!hasOpenai) process.stderr.write('python3 has no package openai here: skipping the example in Python\n');
test.skipIf(!hasOpenai)("openai-python/chat.py streams with OpenAI's client for Python", async () => {
  const { code, out, err } = await run('python3', 'openai-python/chat.py', [QUESTION]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^› What news of the "king"[\s\S]{60,}\n\n\d+ tokens by ada, 0 failovers\n$/);
});

const hasCryptography = spawnSync('python3', ['-c', 'import cryptography']).status === 0;
if (!hasCryptography) process.stderr.write('python3 has no package cryptography here: skipping the device in Python\n');

test.skipIf(!hasCryptography)('device-python/replay.py reads and writes every fixture of the protocol', async () => {
  const { code, out, err } = await run('python3', 'device-python/replay.py');
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(out).toMatch(/^\d{2,} frames and [4-9] signed statements, 0 wrong\n$/);
});

test.skipIf(!hasCryptography)(
  'device-python/device.py joins as the protocol says and answers, with receipts',
  async () => {
    const own = await world.startHub();
    await world.publish(own);
    const { token } = await own.client.invites.create({ uses: 1, expiresInSeconds: 600 });
    const { PATH, HOME } = process.env;
    const device = spawn('python3', [join(EXAMPLES, 'device-python/device.py')], {
      env: { PATH, HOME, IDLEWILD_INVITE: token },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    device.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = new Promise((resolve) => {
      device.once('close', resolve);
    });
    try {
      const isThere = async (): Promise<boolean> =>
        (await own.client.devices.list()).some(({ name, state }) => name === 'parrot' && state === 'ready');
      await until(isThere, 'the parrot joining');
      await until(() => said.includes('knows the words of'), 'the parrot holding the model');
      const openai = new OpenAI({ apiKey: own.key, baseURL: `${own.url}/v1`, maxRetries: 0 });
      const chat = { model: MODEL, messages: [{ role: 'user' as const, content: 'Who are you?' }] };
      const whole = await openai.chat.completions.create(chat);
      expect(whole).toMatchObject({
        choices: [{ message: { content: ' Good morrow. I am a parrot, and this is all that I can say.' } }],
        idlewild: { devices: ['parrot'], failovers: 0, exact: true },
      });
      const cut = await openai.chat.completions.create({ ...chat, max_tokens: 3 });
      expect(cut).toMatchObject({ choices: [{ finish_reason: 'length' }], usage: { completion_tokens: 3 } });
      await until(() => said.split('answered with').length === 3, 'the parrot finishing');
      expect(own.log()).not.toMatch(/a receipt was refused/);
    } finally {
      device.kill('SIGINT');
      await ended;
    }
  },
);

test.each(globSync('*/*.mjs', { cwd: EXAMPLES }).sort())('%s without a key says where to get one', async (file) => {
  const { code, err } = await node(file, [], { IDLEWILD_KEY: '' });
  expect(code).not.toBe(0);
  expect(err).toMatch(/set IDLEWILD_KEY to the key that npm start prints/);
});
