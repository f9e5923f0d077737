/** People sign in to a real hub, with the command line and a real browser. */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, until, type Child } from './processes/child.ts';
import { findChromium, openPage, type Page } from './processes/chromium.ts';
import { runProgram, type Ran } from './processes/program.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-sign-in-'));
/** The machine of the hub, where its steward's key is, and one of somebody else. */
const homeOf = (name: string): NodeJS.ProcessEnv => ({
  PATH: process.env.PATH,
  HOME: join(folder, name),
  XDG_DATA_HOME: join(folder, name, 'share'),
  XDG_CONFIG_HOME: join(folder, name, 'config'),
});
const steward = homeOf('hub');

/** Where somebody has a page that asks the hub. */
const PAGE = 'https://chat.example';

type Line = Readonly<Record<string, unknown>>;
let hub: Child<Line>;
let url: string;

const call = (env: NodeJS.ProcessEnv, words: readonly string[], input?: string): Promise<Ran> =>
  runProgram(process.execPath, [CLI, ...words, '--json'], { env: { ...env, IDLEWILD_HUB: url }, input });

async function json<Result>(env: NodeJS.ProcessEnv, words: readonly string[], input?: string): Promise<Result> {
  const { code, out, err } = await call(env, words, input);
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out) as Result;
}

beforeAll(async () => {
  hub = startChild<Line>(CLI, ['up', '--port', '0', '--cors', PAGE, '--json', '--stop-with-stdin'], steward);
  url = String((await hub.line(() => true, 'idlewild up')).url);
});
afterAll(async () => {
  await hub.kill();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

test('somebody who was invited signs in on a machine of their own, asks as themselves, and signs out', async () => {
  const { url: link } = await json<{ url: string }>(steward, ['members', 'invite', 'Ada']);
  const ada = homeOf('ada');
  // The code comes by stdin: what is on a command line can be read by others.
  const signedIn = await json<{ person: string }>(ada, ['sign-in', '--code', '-'], link);
  expect(JSON.stringify(signedIn)).not.toContain('iws_');
  const file = join(String(ada.XDG_CONFIG_HOME), 'idlewild', 'sessions.json');
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const sessions = await json<{ id: string; isThis: boolean }[]>(ada, ['sessions', 'list']);
  expect(sessions).toEqual([expect.objectContaining({ via: 'invitation', kind: 'program', isThis: true })]);
  expect((await call(ada, ['models', 'list'])).code).toBe(EXIT.ok);
  expect((await call(ada, ['members', 'invite', 'Eve'])).code).toBe(EXIT.refused);
  // A stolen link is good for nothing any more, and is told.
  const second = await call(homeOf('eve'), ['sign-in', '--code', '-'], link);
  expect([second.code, second.err]).toEqual([EXIT.refused, expect.stringMatching(/was used at .*tell a steward/)]);
  expect(await json<{ ended: number }>(ada, ['sign-out'])).toMatchObject({ ended: 1 });
  expect(readFileSync(file, 'utf8')).not.toContain('iws_');
  expect((await call(ada, ['sessions', 'list'])).code).toBe(EXIT.refused);
});

test('up --cors lets pages of that origin ask with a key, and no others; what is no origin starts no hub', async () => {
  const asked = { 'access-control-request-method': 'POST' };
  const allowed = async (origin: string): Promise<string | null> => {
    const preflight = await fetch(`${url}/v1/chat/completions`, { method: 'OPTIONS', headers: { origin, ...asked } });
    return preflight.headers.get('access-control-allow-origin');
  };
  expect([await allowed(PAGE), await allowed('https://evil.example')]).toEqual([PAGE, null]);
  const wrong = await call(homeOf('eve'), ['up', '--port', '0', '--cors', `${PAGE}/`]);
  expect([wrong.code, wrong.err + wrong.out]).toEqual([EXIT.usage, expect.stringContaining(`like ${PAGE},`)]);
});

const chromium = findChromium();
if (chromium === undefined) console.warn('no Chromium here: that a browser signs in with a passkey is not tested');

test.skipIf(chromium === undefined)('a browser adds a passkey, signs in with it, and lets a program in', async () => {
  const page = await openPage(chromium ?? '');
  try {
    expect(await inBrowser(page)).toContain('Use a passkey');
  } finally {
    await page.close();
  }
});

const text = (part: string): string => `document.body.innerText.includes(${JSON.stringify(part)})`;
const click = (page: Page, selector: string): Promise<unknown> =>
  page.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);

/** What the page says in the end. */
async function inBrowser(page: Page): Promise<unknown> {
  await page.send('WebAuthn.enable');
  await page.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  const { url: link } = await json<{ url: string }>(steward, ['members', 'invite', 'Grace']);
  // An address without a name has no passkeys; the way to where they are takes the code along.
  await page.open(link);
  const named = link.replace('127.0.0.1', 'localhost');
  await page.waitFor(`document.querySelector('#elsewhere').href === ${JSON.stringify(named)}`);
  await page.open(named);
  // The code is in the form, and out of the address and the history.
  await page.waitFor(`document.querySelector('#code').value.startsWith('iwl_') && location.hash === ''`);
  await click(page, '#enter');
  await page.waitFor(text('Grace, signed in to'));
  await page.evaluate(`document.querySelector('#passkey-name').value = 'my notebook'`);
  await click(page, '#add-passkey');
  await page.waitFor(text('my notebook'));
  await click(page, 'form[action$="/sign-in/out"] button');
  await page.waitFor(text('Use a passkey'));
  await click(page, '#passkey');
  await page.waitFor(text('Grace, signed in to'));

  const grace = homeOf('grace');
  const program = startChild<Line>(CLI, ['sign-in', '--json'], { ...grace, IDLEWILD_HUB: url });
  const shown = (): string | undefined => /^ {4}([A-Z]{4}-[A-Z]{4})$/m.exec(program.said())?.[1];
  await until(() => shown() !== undefined, 'the code');
  await page.evaluate(`document.querySelector('#user-code').value = ${JSON.stringify(shown())}`);
  await click(page, 'form[action$="/sign-in/program"] button');
  await page.waitFor(text('idlewild of'));
  await click(page, 'form[action$="/program/answer"] input[value="yes"] ~ button');
  await page.waitFor(text('Where you are signed in'));
  expect((await program.ended).code).toBe(EXIT.ok);
  const sessions = await json<{ via: string }[]>(grace, ['sessions', 'list']);
  expect(sessions.map(({ via }) => via).sort()).toEqual(['approval', 'passkey']);
  // A steward ends both, and neither is answered any more.
  await json(steward, ['sessions', 'end', '--of', 'Grace']);
  expect((await call(grace, ['sessions', 'list'])).code).toBe(EXIT.refused);
  await page.evaluate('location.reload()');
  await page.waitFor(text('Use a passkey'));
  return page.evaluate('document.body.innerText');
}
