/** People, groups, roles and own keys with the command itself: what docs/people.md and docs/cli.md promise. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, type Child } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-people-'));
const homeOf = (who: string): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: join(folder, who),
  XDG_DATA_HOME: join(folder, who, 'share'),
});

type Line = Readonly<Record<string, unknown>>;

let hub: Child<Line>;
let url = '';
let steward: NodeJS.ProcessEnv;

const call = (words: readonly string[], env: NodeJS.ProcessEnv = steward): Promise<Ran> =>
  runProgram(process.execPath, [CLI, ...words], { env });

/** The JSON of a call that went well. */
async function json<Told = Line>(words: readonly string[], env: NodeJS.ProcessEnv = steward): Promise<Told> {
  const { code, out, err } = await call([...words, '--json'], env);
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out.trim()) as Told;
}

/** The code of a call that did not. */
async function refusal(words: readonly string[], env: NodeJS.ProcessEnv = steward): Promise<string> {
  const { code, out, err } = await call([...words, '--json'], env);
  expect({ words, code, out }).toEqual({ words, code: expect.any(Number) as number, out: '' });
  return `${code} ${(JSON.parse(err) as { error: { code: string } }).error.code}`;
}

/** Somebody who came by an invitation, and asks as herself. */
async function arrive(name: string, role: string, more: readonly string[] = []): Promise<NodeJS.ProcessEnv> {
  const env = { ...homeOf(name), IDLEWILD_HUB: url };
  const { code } = await json<{ code: string }>(['members', 'invite', name, '--role', role, ...more]);
  await json(['sign-in', '--code', code], env);
  return env;
}

beforeAll(async () => {
  hub = startChild<Line>(CLI, ['up', '--port', '0', '--json', '--stop-with-stdin'], homeOf('hub'));
  const ready = await hub.line(() => true, 'idlewild up');
  url = String(ready.url);
  const key = readFileSync(String(ready.stewardKeyFile), 'utf8').trim();
  steward = { ...homeOf('steward'), IDLEWILD_HUB: url, IDLEWILD_KEY: key };
});

afterAll(async () => {
  await hub.kill();
  rmSync(folder, { recursive: true, force: true });
});

test('a member is invited, is in her groups, makes a key of her own, and is gone with all of it', async () => {
  const group = await json(['groups', 'create', 'readers']);
  expect(group).toMatchObject({ id: expect.stringMatching(/^grp_/) as string, name: 'readers', members: 0 });
  const ada = await arrive('Ada', 'member', ['--group', 'readers']);
  const me = await json(['whoami'], ada);
  expect(me).toMatchObject({ kind: 'person', name: 'Ada', state: 'active', groups: [{ name: 'readers' }] });
  expect(me['communities']).toHaveLength(1);
  expect(await json(['members', 'list'])).toEqual([
    expect.objectContaining({ id: me['id'], name: 'Ada', state: 'active', roles: ['member'] }),
  ]);
  const made = await json(['keys', 'create', '--own', '--name', 'notebook', '--data-class', 'public'], ada);
  expect(made).toMatchObject({ role: 'caller', key: expect.stringMatching(/^iw_/) as string });
  const listed = { id: made['id'], person: { id: me['id'], name: 'Ada' }, dataClass: 'public', lastUsedDay: null };
  expect(await json(['keys', 'list', '--own'], ada)).toEqual([expect.objectContaining(listed)]);
  expect(await json(['members', 'show', 'Ada'])).toMatchObject({ keys: 1, devices: 0, roles: [{ role: 'member' }] });
  const asKey = { ...homeOf('script'), IDLEWILD_HUB: url, IDLEWILD_KEY: String(made['key']) };
  expect(await json(['models', 'list'], asKey)).toEqual([]);
  expect(await refusal(['members', 'list'], ada)).toBe(`${EXIT.refused} forbidden`);
  await json(['members', 'suspend', 'Ada']);
  expect(await refusal(['models', 'list'], asKey)).toBe(`${EXIT.refused} forbidden`);
  await json(['members', 'resume', 'Ada']);
  expect(await json(['models', 'list'], asKey)).toEqual([]);
  expect(await json(['members', 'rename', 'Ada', 'Ada L.'])).toMatchObject({ name: 'Ada L.' });
  expect(await refusal(['members', 'remove', 'Ada L.'])).toBe(`${EXIT.usage} usage`);
  expect(await json(['members', 'remove', 'Ada L.', '--yes'])).toMatchObject({ name: 'Ada L.', keys: 1, devices: [] });
  expect(await refusal(['models', 'list'], asKey)).toBe(`${EXIT.refused} unauthenticated`);
  expect(await refusal(['whoami'], ada)).toBe(`${EXIT.refused} unauthenticated`);
  expect(await json(['groups', 'list'])).toMatchObject([{ name: 'readers', members: 0 }]);
});

test('a role of single permissions is made, bound for a while, changed and removed', async () => {
  const permissions = ['readPeople', 'manageRoles', 'bindRole', 'manageGroups'];
  expect(await json(['roles', 'create', 'desk', '--permissions', permissions.join(',')])).toMatchObject({
    name: 'desk',
  });
  const ben = await arrive('Ben', 'caller');
  const bound = await json(['roles', 'bind', 'desk', '--person', 'Ben', '--expires', '12h']);
  expect(bound).toMatchObject({ subject: { kind: 'person', name: 'Ben' }, scope: { kind: 'territory', id: '' } });
  expect(Math.abs(Date.parse(String(bound['expiresAt'])) - Date.now() - 43_200_000)).toBeLessThan(60_000);
  expect(await json(['roles', 'bindings', '--person', 'Ben', '--role', 'desk'], ben)).toHaveLength(1);
  // Nothing of this is Ben's to give.
  for (const words of [
    ['roles', 'change', 'desk', '--add', 'readAudit'],
    ['roles', 'bind', 'steward', '--person', 'Ben'],
    ['roles', 'bind', 'desk', '--person', 'Ben', '--pool', 'lab'],
    ['roles', 'create', 'master', '--permissions', 'revokeDevice'],
  ]) {
    expect(await refusal(words, ben)).toBe(`${EXIT.refused} forbidden`);
  }
  expect(await json(['roles', 'change', 'desk', '--add', 'readAudit', '--take', 'manageGroups'])).toMatchObject({
    permissions: ['bindRole', 'manageRoles', 'readAudit', 'readPeople'],
  });
  expect(await json<Line[]>(['roles', 'list'])).toHaveLength(6);
  expect(await refusal(['roles', 'delete', 'desk', '--yes'])).toMatch(/ conflict$/);
  await json(['roles', 'unbind', String(bound['id'])]);
  await json(['roles', 'delete', 'desk', '--yes']);
  expect((await call(['roles', 'list'])).out).toMatch(/^NAME +BUILT IN +PERMITS\nsteward +yes +everything\n/);
  expect((await call(['whoami'], ben)).out).toMatch(/^person +Ben \(per_\w+\)\ncommunity +home /);
});

test("a lender invites her own devices, and a steward's key has none", async () => {
  const cyn = await arrive('Cyn', 'lender');
  expect(await json(['devices', 'mine'], cyn)).toEqual({ devices: [], shows: 'all' });
  expect(await json(['devices', 'mine', 'invite'], cyn)).toMatchObject({
    url,
    token: expect.stringMatching(/^iwj1\./) as string,
  });
  expect(await refusal(['invite'], cyn)).toBe(`${EXIT.refused} forbidden`);
  expect(await refusal(['devices', 'mine'])).toBe(`${EXIT.refused} forbidden`);
  expect(await refusal(['devices', 'mine', 'take-back', 'nobody', '--yes'], cyn)).toBe(`${EXIT.notFound} not_found`);
});

test.each([
  [['members', 'show', 'nobody'], EXIT.notFound, 'not_found'],
  [['groups', 'create', 'No Slug'], EXIT.failed, 'invalid_request'],
  [['roles', 'create', 'st3wards', '--permissions', 'answer'], EXIT.failed, 'invalid_request'],
  [['roles', 'create', 'x', '--permissions', 'fly'], EXIT.failed, 'invalid_request'],
  [['roles', 'create', 'x'], EXIT.usage, 'usage'],
  [['roles', 'bind', 'member'], EXIT.usage, 'usage'],
  [['roles', 'bind', 'member', '--person', 'Cyn', '--pool', 'a', '--model', 'b'], EXIT.usage, 'usage'],
  [['roles', 'change', 'member'], EXIT.usage, 'usage'],
  [['roles', 'change', 'member', '--take', 'answer'], EXIT.failed, 'conflict'],
  [['keys', 'create', '--role', 'king'], EXIT.usage, 'usage'],
  [['keys', 'create', '--own'], EXIT.refused, 'forbidden'],
])('%j fails with %i and %s', async (words, code, error) => {
  expect(await refusal(words)).toBe(`${code} ${error}`);
});

test('help of each of these commands shows an example', async () => {
  const groups: Readonly<Record<string, readonly string[]>> = {
    whoami: [],
    members: ['list', 'show', 'rename', 'suspend', 'resume', 'remove'],
    groups: ['list', 'show', 'create', 'rename', 'delete', 'add', 'remove'],
    roles: ['list', 'show', 'create', 'change', 'delete', 'bind', 'unbind', 'bindings'],
    'devices mine': ['drain', 'take-back', 'invite'],
  };
  const commands = Object.entries(groups).flatMap(([group, inner]) => [
    group,
    ...inner.map((each) => `${group} ${each}`),
  ]);
  const helped = await Promise.all(commands.map((command) => call([...command.split(' '), '--help'])));
  for (const [index, { code, out }] of helped.entries()) {
    expect({ command: commands[index], code }).toEqual({ command: commands[index], code: EXIT.ok });
    expect(out).toMatch(/Examples?:\n {2}\$ idlewild/);
  }
});
