/**
 * What docs/cli.md promises to scripts, with the command itself: a hub, a device and a model, each an `idlewild`
 * process.
 */
import { createPrivateKey, webcrypto } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { DEADLINE_MS, startChild, type Child } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';
import { MODEL, MODEL_FOLDER } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const DEMO = join(import.meta.dirname, '../packages/cli/src/demo.ts');
const MANUAL = readFileSync(join(import.meta.dirname, '../docs/cli.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-cli-'));
/** Nothing of the one who runs the tests may show through. */
const env: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: join(folder, 'share') };

type Line = Readonly<Record<string, unknown>>;

const staying: Child<Line>[] = [];
let url = '';
let key = '';
let hub: Child<Line>;
let device: Child<Line>;

const isWarm = (line: Line): boolean => (line.models as { state: string }[]).some(({ state }) => state === 'warm');

/** One call, from its words to its end. */
const call = (words: readonly string[], given: { env?: NodeJS.ProcessEnv; input?: string } = {}): Promise<Ran> =>
  runProgram(process.execPath, [CLI, ...words], { env: { ...env, ...given.env }, input: given.input });

/** One call as a script would make it; the JSON of its last line. */
async function json(
  words: readonly string[],
  given: { env?: NodeJS.ProcessEnv; input?: string } = {},
): Promise<unknown> {
  const { code, out, err } = await call([...words, '--json'], {
    ...given,
    env: { IDLEWILD_HUB: url, IDLEWILD_KEY: key, ...given.env },
  });
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out.trim().split('\n').at(-1) ?? '');
}

/** A command that stays until the tests end it, by its id. */
function stay(words: readonly string[], more: NodeJS.ProcessEnv = {}): Child<Line> {
  const child = startChild<Line>(CLI, [...words, '--json', '--stop-with-stdin'], { ...env, ...more });
  staying.push(child);
  return child;
}

beforeAll(async () => {
  hub = stay(['up', '--port', '0']);
  const ready = await hub.line(() => true, 'idlewild up');
  url = String(ready.url);
  key = readFileSync(String(ready.stewardKeyFile), 'utf8').trim();
  await json(['models', 'add', MODEL_FOLDER]);
  const { token } = (await json(['invite'])) as { token: string };
  const words = [
    'join',
    url,
    '--token',
    token,
    '--yes',
    '--name',
    'ada',
    '--presence',
    'ignore',
    '--data',
    join(folder, 'ada'),
  ];
  device = stay(words);
  await device.line(isWarm, 'idlewild join');
});

afterAll(async () => {
  await Promise.all(staying.map((child) => child.kill()));
  rmSync(folder, { recursive: true, force: true });
});

test("up says where it is, once, and keeps the steward's key to its owner", () => {
  expect(hub.lines).toHaveLength(1);
  const { stewardKeyFile, territory } = hub.lines[0] ?? {};
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect(territory).toMatch(/^ter_/);
  expect(statSync(String(stewardKeyFile)).mode & 0o777).toBe(0o600);
});

test('join tells each change of state, the first that it is ready', () => {
  const [first] = device.lines;
  expect(first).toMatchObject({ name: 'ada', state: 'ready', pauseReasons: [] });
  expect(first?.deviceId).toMatch(/^dev_/);
  expect(Object.keys(first ?? {}).slice(0, 3)).toEqual(['deviceId', 'name', 'state']);
});

test('what scripts read has the fields of the manual', async () => {
  expect(await json(['models', 'add', MODEL_FOLDER])).toEqual({
    name: MODEL,
    cid: expect.stringMatching(/^bafy/) as string,
    bytes: 12_675_748,
  });
  expect(await json(['models', 'list'])).toEqual([
    expect.objectContaining({ name: MODEL, kind: 'decoder', contextTokens: 512, devices: 1 }),
  ]);
  expect(await json(['models', 'show', MODEL])).toMatchObject({ layers: 6, card: { licence: 'cc0-1.0' } });
  expect(await json(['devices', 'list'])).toEqual([
    expect.objectContaining({
      id: device.lines[0]?.deviceId,
      name: 'ada',
      state: 'ready',
      models: [MODEL],
      pauseReasons: [],
      tokensPerSecond: expect.any(Number) as number,
    }),
  ]);
  expect(await json(['devices', 'show', 'ada'])).toMatchObject({
    name: 'ada',
    modelStates: [{ name: MODEL, state: 'warm' }],
  });
  expect(await json(['status'])).toMatchObject({ territory: { name: 'home' }, devices: { ready: 1 }, models: 1 });
  const invite = (await json(['invite', '--uses', '2', '--expires', '90m'])) as {
    url: string;
    token: string;
    expiresAt: string;
  };
  expect(invite).toMatchObject({ url, token: expect.stringMatching(/^iwj1\./) as string });
  expect(Math.abs(Date.parse(invite.expiresAt) - Date.now() - 5_400_000)).toBeLessThan(60_000);
});

test('a question is answered, also from stdin, and the same seed gives the same text', async () => {
  const asked = ['chat', '--seed', '7', '--max-tokens', '24'];
  const first = (await json([...asked, 'What news of the king?'])) as { text: string };
  expect(first).toMatchObject({
    finish: 'length',
    usage: { completion_tokens: 24 },
    idlewild: { devices: ['ada'], exact: true },
  });
  expect(await json([...asked, '-m', MODEL, '-'], { input: 'What news of the king?\n' })).toMatchObject({
    text: first.text,
  });
  const told = await call(['--hub', url, '--key', key, ...asked, 'What news of the king?']);
  expect(told.out.trim()).toBe(first.text.trim());
  expect(told.err).toMatch(/^ada · 24 tokens/);
});

test("the hub on this machine is found, with its steward's key", async () => {
  const { code, out } = await call(['status', '--json']);
  expect(code).toBe(EXIT.ok);
  expect(JSON.parse(out)).toMatchObject({ territory: { name: 'home' } });
});

test('keys are made, told apart and revoked', async () => {
  const made = (await json(['keys', 'create', '--name', 'a script', '--expires', '30d'])) as {
    id: string;
    key: string;
  };
  expect(made).toMatchObject({
    id: expect.stringMatching(/^key_/) as string,
    key: expect.any(String) as string,
    role: 'caller',
  });
  const asCaller = { IDLEWILD_HUB: url, IDLEWILD_KEY: made.key };
  const list = await call(['keys', 'list', '--json'], { env: asCaller });
  expect(list.code).toBe(EXIT.refused);
  expect(list.err).toContain('idlewild keys list --own');
  expect(await json(['keys', 'list'])).toContainEqual(
    expect.objectContaining({ id: made.id, name: 'a script', revokedAt: null }),
  );
  await json(['keys', 'revoke', 'a script']);
  const refused = await call(['chat', '-m', MODEL, 'hello', '--json'], { env: asCaller });
  expect(refused.code).toBe(EXIT.refused);
  expect(JSON.parse(refused.err)).toMatchObject({ error: { code: 'unauthenticated' } });
});

test('a key is limited, is told so, and what it used is shown', async () => {
  const { id, key: limited } = (await json([
    'keys',
    'create',
    '--name',
    'slow',
    '--requests-per-minute',
    '1',
    '--tokens-per-minute',
    'none',
  ])) as { id: string; key: string };
  const asCaller = { IDLEWILD_HUB: url, IDLEWILD_KEY: limited };
  const ask = ['chat', '-m', MODEL, '--max-tokens', '8', 'hello', '--json'];
  const first = await call(ask, { env: asCaller });
  expect(first.code).toBe(EXIT.ok);
  const told = (JSON.parse(first.out) as { usage: { prompt_tokens: number; completion_tokens: number } }).usage;
  const refused = await call(ask, { env: asCaller });
  expect(refused.code).toBe(EXIT.notNow);
  expect(JSON.parse(refused.err)).toMatchObject({ error: { code: 'rate_limit_exceeded' } });
  const limits = { requestsPerMinute: 'none', tokensPerMinute: 90_000 };
  const change = ['keys', 'limit', 'slow', '--requests-per-minute', 'none', '--tokens-per-minute', '90000'];
  expect(await json(change)).toMatchObject({ id, ...limits });
  expect(await json(['keys', 'list'])).toContainEqual(expect.objectContaining({ id, ...limits }));
  expect((await call(ask, { env: asCaller })).code).toBe(EXIT.ok);
  const used = await call(['usage', '--days', '1', '--json'], { env: asCaller });
  expect(JSON.parse(used.out)).toMatchObject([
    { key: id, keyName: 'slow', model: MODEL, requests: 2, promptTokens: 2 * told.prompt_tokens },
  ]);
  expect(await json(['usage', '--of', 'slow'])).toMatchObject([{ key: id, failed: 0 }]);
  expect((await call(['usage', '--of', 'slow'])).out).toMatch(/^DAY .*\n.* slow .*\nall /);
});

test('a signal pauses a device and resumes it, and both are told', async () => {
  const from = device.lines.length;
  process.kill(device.pid, 'SIGUSR2');
  expect(await device.line(({ state }) => state === 'paused', 'pausing', { from })).toMatchObject({
    pauseReasons: [expect.any(String)],
  });
  const answer = await call(['--hub', url, '--key', key, 'chat', 'hello', '--json']);
  expect({ code: answer.code, error: JSON.parse(answer.err) as unknown }).toMatchObject({
    code: EXIT.notNow,
    error: { error: { code: 'no_device' } },
  });
  const paused = device.lines.length;
  process.kill(device.pid, 'SIGUSR2');
  await device.line(({ state }) => state === 'ready', 'resuming', { from: paused });
});

test('a later join needs neither address nor token', async () => {
  await device.stop();
  expect((await device.ended).code).toBe(EXIT.ok);
  device = stay(['join', '--data', join(folder, 'ada')]);
  await device.line(isWarm, 'joining again');
});

test.each([
  [['nonsense'], EXIT.usage, 'usage'],
  [['invite', '--uses', 'many'], EXIT.usage, 'usage'],
  [['invite', '--expires', '3y'], EXIT.usage, 'usage'],
  [['keys', 'create', '--role', 'king'], EXIT.usage, 'usage'],
  [['join', '--data', '/nonexistent/a', '--yes'], EXIT.usage, 'usage'],
  [['service', 'install', '--data', '/nonexistent/a', '--yes'], EXIT.usage, 'usage'],
  [['service', 'status'], EXIT.notFound, 'not_found'],
  [['update'], EXIT.usage, 'usage'],
  [['up', '--announce'], EXIT.usage, 'usage'],
  [['up', '--tls-cert', 'a.pem'], EXIT.usage, 'usage'],
  [['keys', 'limit', 'anybody'], EXIT.usage, 'usage'],
  [['keys', 'create', '--requests-per-minute', '0'], EXIT.usage, 'usage'],
  [['usage', '--of', 'nobody'], EXIT.notFound, 'not_found'],
  [['status', '--hub', 'http://127.0.0.1:9'], EXIT.unreachable, 'hub_unreachable'],
  [['status', '--key', 'wrong'], EXIT.refused, 'unauthenticated'],
  [['join', 'http://127.0.0.1:9', '--token', 'iwj1.x', '--yes'], EXIT.refused, 'join_token_invalid'],
  [['models', 'show', 'nobody'], EXIT.notFound, 'model_not_found'],
  [['devices', 'show', 'nobody'], EXIT.notFound, 'not_found'],
  [['models', 'add', '/nonexistent'], EXIT.notFound, 'not_found'],
])('%j fails with %i and one line of JSON', async (words, code, error) => {
  const called = await call([...words, '--json'], { env: { IDLEWILD_HUB: url, IDLEWILD_KEY: key } });
  expect(called).toMatchObject({ code, out: '' });
  expect(called.err.trim().split('\n')).toHaveLength(1);
  expect(JSON.parse(called.err)).toMatchObject({ error: { code: error, message: expect.any(String) as string } });
  const told = await call(words, { env: { IDLEWILD_HUB: url, IDLEWILD_KEY: key } });
  expect(told.code).toBe(code);
  expect(told.err).not.toMatch(/^\s+at /m);
});

test('consent is asked for, and where nobody can be asked nothing runs', async () => {
  const { token } = (await json(['invite'])) as { token: string };
  const data = join(folder, 'unasked');
  const called = await call(['join', url, '--token', token, '--data', data, '--json']);
  expect(called).toMatchObject({ code: EXIT.usage, out: '' });
  expect(called.err).toMatch(/--yes/);
  expect(() => statSync(data)).toThrow(/ENOENT/);
});

test('a port in use and a data folder in use are told in a sentence', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => {
    server.once('listening', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const busy = await call(['up', '--port', String(port), '--data', join(folder, 'busy')]);
  server.close();
  expect(busy).toMatchObject({
    code: EXIT.failed,
    err: expect.stringMatching(/^idlewild: port \d+ on 127\.0\.0\.1 is in use/) as string,
  });
  const locked = await call(['up', '--port', '0']);
  expect(locked).toMatchObject({
    code: EXIT.failed,
    err: expect.stringMatching(/^idlewild: another hub uses the data folder/) as string,
  });
});

test('over TLS the pin in the address decides', async () => {
  const secure = stay(['up', '--port', '0', '--data', join(folder, 'tls'), '--tls-cert', ...(await ownCertificate())]);
  const { url: address, pin } = await secure.line(() => true, 'idlewild up over TLS');
  const steward = readFileSync(join(folder, 'tls', 'steward.key'), 'utf8').trim();
  const status = (hubAddress: string): Promise<Ran> =>
    call(['status', '--json', '--hub', hubAddress, '--key', steward]);
  expect(String(address)).toMatch(/^https:\/\/127\.0\.0\.1:/);
  expect(await status(`${String(address)}#pin=${String(pin)}`)).toMatchObject({ code: EXIT.ok });
  const wrong = await status(`${String(address)}#pin=${Buffer.alloc(32).toString('base64url')}`);
  expect({ ...wrong, err: JSON.parse(wrong.err) as unknown }).toMatchObject({
    code: EXIT.refused,
    err: { error: { code: 'pin_mismatch' } },
  });
  expect(await status(String(address))).toMatchObject({ code: EXIT.unreachable });
  await secure.stop();
});

/** A self-signed certificate and its key as files, with the option between them. */
async function ownCertificate(): Promise<string[]> {
  await import('reflect-metadata');
  const x509 = await import('@peculiar/x509');
  const signingAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=given',
    signingAlgorithm,
    keys,
  });
  const [cert, own] = ['given.crt', 'given.key'].map((name) => join(folder, name)) as [string, string];
  writeFileSync(cert, certificate.toString('pem'));
  const pkcs8 = {
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)),
    format: 'der',
  } as const;
  const pem = createPrivateKey({ ...pkcs8, type: 'pkcs8' }).export({ type: 'pkcs8', format: 'pem' });
  writeFileSync(own, pem, { mode: 0o600 });
  return [cert, '--tls-key', own];
}

test('up lends this machine, starts a dead device again, and leaves none behind', async () => {
  const data = join(folder, 'lending');
  const lending = stay(['up', '--port', '0', '--data', data, '--devices', '1', '--presence', 'ignore']);
  const { url: address } = await lending.line(() => true, 'idlewild up');
  const more = { IDLEWILD_HUB: String(address), IDLEWILD_KEY: readFileSync(join(data, 'steward.key'), 'utf8').trim() };
  const devices = async (): Promise<{ state: string }[]> =>
    (await json(['devices', 'list'], { env: more })) as { state: string }[];
  await expect.poll(devices, { timeout: DEADLINE_MS }).toMatchObject([{ state: 'ready' }]);
  const first = childrenOf(lending.pid);
  process.kill(first[0] ?? 0, 'SIGKILL');
  await expect.poll(devices, { timeout: DEADLINE_MS }).toMatchObject([{ state: 'offline' }]);
  await expect.poll(devices, { timeout: DEADLINE_MS }).toMatchObject([{ state: 'ready' }]);
  const second = childrenOf(lending.pid);
  expect(second).not.toEqual(first);
  // Not told to stop: gone in an instant, so its children have to see for themselves.
  process.kill(lending.pid, 'SIGKILL');
  await expect.poll(() => second.filter(isAlive), { timeout: DEADLINE_MS }).toEqual([]);
});

test('the demonstration ends well, and again from what it kept', async () => {
  for (const time of ['first', 'second']) {
    const demo = startChild<Line>(DEMO, ['--once', '--port', '0', '--data', join(folder, 'demo')], env);
    staying.push(demo);
    const { code } = await demo.ended;
    expect({ time, code, said: code === 0 ? '' : demo.said() }).toEqual({ time, code: EXIT.ok, said: '' });
    expect(demo.said()).toMatch(/kill -9 [\s\S]* → [\s\S]*✓ equal, all \d+ characters/);
  }
});

// Of every command and all of it: packages/cli/src/program.test.ts, which walks the program.
test('help is printed by the program itself, with an example', async () => {
  for (const words of [[], ['models'], ['models', 'add']]) {
    const { code, out } = await call([...words, '--help']);
    expect({ words, code }).toEqual({ words, code: EXIT.ok });
    expect(out).toMatch(/Examples?:\n {2}\$ idlewild/);
  }
});

test("the manual's exit codes are the program's", () => {
  const listed = [...MANUAL.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  expect(listed).toEqual(Object.values(EXIT));
});

/** Process ids of the children, from /proc. */
function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
