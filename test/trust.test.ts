/** Tiers, pools and stewards' words with the command itself: what docs/trust.md and docs/cli.md promise. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT } from '@idlewild/cli';
import { decodeInvite } from '@idlewild/protocol';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChild, until, type Child } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-trust-'));
const homeOf = (who: string): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: join(folder, who),
  XDG_DATA_HOME: join(folder, who, 'share'),
});

type Line = Readonly<Record<string, unknown>>;

let hub: Child<Line>;
let url = '';
let steward: NodeJS.ProcessEnv;
const lent: Child<Line>[] = [];

const call = (words: readonly string[], env: NodeJS.ProcessEnv = steward): Promise<Ran> =>
  runProgram(process.execPath, [CLI, ...words, '--json'], { env });

async function json<Told = Line>(words: readonly string[]): Promise<Told> {
  const { code, out, err } = await call(words);
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out.trim()) as Told;
}

async function refusal(words: readonly string[]): Promise<string> {
  const { code, out, err } = await call(words);
  expect({ words, code, out }).toEqual({ words, code: expect.any(Number) as number, out: '' });
  return (JSON.parse(err) as { error: { code: string } }).error.code;
}

/** Lends a machine of that name by an invite; its id. */
async function lend(name: string, token: string): Promise<string> {
  const words = [
    'join',
    url,
    '--token',
    token,
    '--name',
    name,
    '--data',
    join(folder, name),
    '--yes',
    '--presence',
    'ignore',
  ];
  const device = startChild<Line>(CLI, [...words, '--json', '--stop-with-stdin'], homeOf(name));
  lent.push(device);
  const ready = await device.line(({ state }) => state === 'ready', 'a device that has joined');
  return String(ready['deviceId']);
}

beforeAll(async () => {
  hub = startChild<Line>(CLI, ['up', '--port', '0', '--json', '--stop-with-stdin'], homeOf('hub'));
  const ready = await hub.line(() => true, 'idlewild up');
  url = String(ready['url']);
  const key = readFileSync(String(ready['stewardKeyFile']), 'utf8').trim();
  steward = { ...homeOf('steward'), IDLEWILD_HUB: url, IDLEWILD_KEY: key };
});

afterAll(async () => {
  await Promise.all(lent.map((device) => device.kill()));
  await hub.kill();
  rmSync(folder, { recursive: true, force: true });
});

test('an invite says how far devices are trusted, a steward says otherwise, and pools are put together', async () => {
  const { token } = await json<{ token: string }>(['invite', '--tier', 'public']);
  const id = await lend('poster', token);
  expect(await json(['devices', 'show', 'poster'])).toMatchObject({ id, tier: 'public', person: null, pools: [] });
  expect(await json(['devices', 'tier', 'poster', 'vetted'])).toEqual({
    id,
    name: 'poster',
    tier: 'vetted',
    person: null,
  });
  await json(['devices', 'pool', 'add', 'poster', 'labs']);
  expect(await json(['devices', 'show', id])).toMatchObject({ tier: 'vetted', pools: ['labs'] });
  await json(['devices', 'pool', 'remove', 'poster', 'labs']);
  expect(await refusal(['devices', 'pool', 'remove', 'poster', 'labs'])).toBe('not_found');
  expect(await refusal(['devices', 'tier', 'poster'])).toBe('usage');
  expect(await refusal(['devices', 'tier', 'poster', '--person', 'per_nobody'])).toBe('invalid_request');
});

test('a steward vouches for a device by its id, with a key that no hub has', async () => {
  const { id } = await json<{ id: string }>(['devices', 'show', 'poster']);
  expect(await json<Line[]>(['stewards', 'list'])).toEqual([]);
  const [vouched] = await json<Line[]>(['devices', 'vouch', id, '--expires', '30d']);
  expect(vouched).toMatchObject({ id, name: 'poster' });
  const file = join(folder, 'steward', 'share', 'idlewild', 'steward-signing.key');
  if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
  const own = await json<{ id: string; key: string }>(['stewards', 'key']);
  expect(await json<Line[]>(['stewards', 'list'])).toMatchObject([{ ...own, removedAt: null }]);
  const { vouchedUntil } = await json<{ vouchedUntil: string }>(['devices', 'show', id]);
  expect(Date.parse(vouchedUntil) - Date.now()).toBeGreaterThan(29 * 86_400_000);
  expect(await refusal(['devices', 'vouch', id, '--expires', '400d'])).toBe('usage');
  expect(await refusal(['devices', 'vouch'])).toBe('usage');
});

test('who joins by an invite that a steward signed is vouched for; a removed key vouches for nobody', async () => {
  const { token } = await json<{ token: string }>(['invite', '--tier', 'vetted', '--vouch']);
  expect(decodeInvite(token).vouched).toBe(true);
  const id = await lend('signed', token);
  expect(await json(['devices', 'show', id])).toMatchObject({
    tier: 'vetted',
    vouchedUntil: expect.any(String) as string,
  });
  const { id: own } = await json<{ id: string }>(['stewards', 'key']);
  await json(['stewards', 'remove', own]);
  await until(async () => (await json(['devices', 'show', id]))['vouchedUntil'] === null, 'nobody vouches any more');
  expect(await refusal(['devices', 'vouch', id])).toBe('conflict');
});
