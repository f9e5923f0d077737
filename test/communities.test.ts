/**
 * Two communities on one hub, with the command itself: each with a device and a model of its own, and nothing of one in
 * the other.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, type Child } from './processes/child.ts';
import { runProgram } from './processes/program.ts';
import { MODEL, MODEL_FOLDER } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-communities-'));
const env: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: join(folder, 'share') };

type Line = Readonly<Record<string, unknown>>;
interface At {
  readonly url: string;
  readonly key: string;
}

const staying: Child<Line>[] = [];
function stay(words: readonly string[]): Child<Line> {
  const child = startChild<Line>(CLI, [...words, '--json', '--stop-with-stdin'], env);
  staying.push(child);
  return child;
}
afterAll(async () => {
  for (const child of staying.toReversed()) await child.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function told<Told = Line>({ url, key }: At, words: readonly string[], code: number = EXIT.ok): Promise<Told> {
  const given = { env: { ...env, IDLEWILD_HUB: url, IDLEWILD_KEY: key } };
  const ran = await runProgram(process.execPath, [CLI, ...words, '--json'], given);
  expect({ words, code: ran.code, err: ran.code === code ? '' : ran.err }).toEqual({ words, code, err: '' });
  return JSON.parse(ran.out.trim().split('\n').at(-1) || 'null') as Told;
}

test('a community made on a hub has devices, models and answers of its own', async () => {
  const hub = stay(['up', '--port', '0', '--name', 'City hall']);
  const ready = await hub.line(() => true, 'idlewild up');
  const own: At = { url: String(ready.url), key: readFileSync(String(ready.stewardKeyFile), 'utf8').trim() };
  const made = await told(own, ['territories', 'create', 'The library']);
  const library: At = { url: String(made.address), key: String(made.stewardKey) };
  expect(library.url).toBe(`${own.url}/t/${String(made.id)}`);

  await told(library, ['models', 'add', MODEL_FOLDER]);
  const { token } = await told<{ token: string }>(library, ['invite']);
  const words = ['join', library.url, '--token', token, '--yes', '--name', 'ada', '--presence', 'ignore'];
  const device = stay([...words, '--data', join(folder, 'ada')]);
  // Its model comes to it by the ticket of its session, at an address that names no community.
  const isWarm = (line: Line): boolean => (line.models as { state: string }[]).some(({ state }) => state === 'warm');
  await device.line(isWarm, 'idlewild join');

  const asked = ['chat', '-m', MODEL, '--max-tokens', '8', '--seed', '1', 'Speak.'];
  expect(await told(library, asked)).toMatchObject({ usage: { completion_tokens: 8 } });
  expect(await told({ ...library, url: own.url }, asked)).toMatchObject({ usage: { completion_tokens: 8 } });

  expect(await told(own, ['devices', 'list'])).toEqual([]);
  expect(await told(own, ['models', 'list'])).toEqual([]);
  expect(await told(own, ['status'])).toMatchObject({ models: 0, territory: { name: 'City hall' } });
  expect(await told(own, ['territories', 'rename', 'Town hall'])).toMatchObject({ name: 'Town hall' });
  await told(own, ['territories', 'rename', ' '], EXIT.failed);
  await told({ url: library.url, key: own.key }, ['status'], EXIT.refused);
  await told({ url: `${own.url}/t/${ready.territory as string}`, key: library.key }, ['status'], EXIT.refused);
  expect((await told<Line[]>(own, ['territories', 'list'])).map(({ name }) => name)).toEqual([
    'Town hall',
    'The library',
  ]);

  expect(await told(own, ['territories', 'close', 'The library'])).toMatchObject({ served: false });
  await told(library, ['status'], EXIT.refused);
  expect(await told(own, ['territories', 'open', 'The library'])).toMatchObject({ served: true, stewardKey: null });
  // Its device comes back by itself.
  const isBack = async (): Promise<boolean> =>
    (await told<Line[]>(library, ['devices', 'list'])).some(({ state }) => state === 'ready');
  while (!(await isBack()));
  expect(await told(library, asked)).toMatchObject({ usage: { completion_tokens: 8 } });
});

test('somebody of one community joins another as herself, or as somebody new, and never by mistake', async () => {
  const hub = stay(['up', '--port', '0', '--data', join(folder, 'second')]);
  const ready = await hub.line(() => true, 'idlewild up');
  const own: At = { url: String(ready.url), key: readFileSync(String(ready.stewardKeyFile), 'utf8').trim() };
  const made = await told(own, ['territories', 'create', 'The choir']);
  const choir: At = { url: String(made.address), key: String(made.stewardKey) };
  const ada: NodeJS.ProcessEnv = {
    PATH: env.PATH,
    HOME: join(folder, 'of ada'),
    XDG_CONFIG_HOME: join(folder, 'of ada'),
  };
  const asAda = async (words: readonly string[], input = '') => {
    const ran = await runProgram(process.execPath, [CLI, ...words, '--json'], { env: ada, input });
    return { code: ran.code, err: ran.err, told: JSON.parse(ran.out.trim().split('\n').at(-1) || 'null') as Line };
  };
  const invitation = async (at: At): Promise<string> =>
    String((await told(at, ['members', 'invite', '--role', 'lender'])).url);
  const signIn = (at: At, code: string, ...more: string[]) =>
    asAda(['sign-in', '--hub', at.url, '--code', '-', ...more], code);

  const first = await signIn(own, await invitation(own), '--name', 'Ada');
  expect(first).toMatchObject({ code: EXIT.ok });
  const code = await invitation(choir);
  const unsaid = await signIn(choir, code);
  expect([unsaid.code, unsaid.err]).toEqual([EXIT.usage, expect.stringMatching(/Ada \(home\).*--as-myself/)]);
  const joined = await signIn(choir, code, '--as-myself');
  expect(joined).toMatchObject({ code: EXIT.ok, told: { person: first.told.person } });
  const again = await signIn(choir, await invitation(choir), '--as-myself');
  expect([again.code, again.err]).toEqual([EXIT.refused, expect.stringMatching(/a member here already/)]);
  const another = await signIn(choir, await invitation(choir), '--as-somebody-new', '--name', 'Nobody');
  expect(another.code).toBe(EXIT.ok);
  expect(another.told.person).not.toBe(first.told.person);
  expect((await told<Line[]>(choir, ['members', 'list'])).map(({ name }) => name)).toEqual(['Ada', 'Nobody']);

  // A link that a steward makes signs in there, and shows nothing of elsewhere.
  const { url: link } = await told<{ url: string }>(choir, ['members', 'link', 'Ada']);
  expect(await signIn(choir, link)).toMatchObject({ code: EXIT.ok, told: { person: first.told.person } });
  const self = await asAda(['whoami', '--hub', choir.url]);
  expect((self.told.communities as Line[]).map(({ name }) => name)).toEqual(['The choir']);
  const mine = await asAda(['devices', 'mine', '--hub', choir.url]);
  expect([self.told.shows, mine.told]).toEqual(['here', { devices: [], shows: 'here' }]);
  for (const words of [['whoami'], ['devices', 'mine']]) {
    const read = await runProgram(process.execPath, [CLI, ...words, '--hub', choir.url], { env: ada });
    expect(read.err).toMatch(/elsewhere on this hub are shown to a session made with a passkey/);
  }
  const [session] = (await asAda(['sessions', 'list', '--hub', choir.url])).told as unknown as Line[];
  expect(session).toMatchObject({ via: 'link', isOwn: false });
});
