/** Claims about signing in over HTTP: cookies, forms, scripts and programs, and what other sites may not do. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openTestDoor } from '../../testing/test-door.ts';
import { createAuthenticator } from '../../sign-in/testing/authenticator.ts';
import { createTestBrowser, type TestBrowser } from '../../sign-in/testing/browser.ts';
import { openSignInDoor, type SignInTestDoor } from '../../sign-in/testing/door.ts';

let door: SignInTestDoor;
beforeAll(async () => {
  door = await openSignInDoor(openTestDoor, fetch);
});
afterAll(() => door.close());

const newBrowser = (): TestBrowser => door.newBrowser();
const signedIn = (name: string): Promise<TestBrowser> => door.signedIn(name);
const invitation = (name?: string): Promise<string> => door.invitation(name);
const asSteward = (method: string, path: string, body?: unknown): Promise<Response> =>
  door.asSteward(method, path, body);
const whoIs = async (browser: TestBrowser): Promise<number> => (await browser.get('/api/sessions')).status;

test('a browser that was given a code is signed in, by a cookie that scripts and other sites do not get', async () => {
  const browser = await signedIn('Ada');
  const cookie = browser.lastSetCookies().join('\n');
  expect(cookie).toMatch(/^idlewild-ter_\w+-session=iws_\w+; Max-Age=2591\d{3}; Path=\/; HttpOnly; SameSite=Lax$/);
  const page = await browser.get('/sign-in');
  expect(await page.text()).toMatch(/Ada, signed in to /);
  expect(page.headers.get('content-security-policy')).toMatch(/default-src 'none'; script-src 'sha256-/);
  const sessions = (await (await browser.get('/api/sessions')).json()) as { isThis: boolean; via: string }[];
  expect(sessions).toEqual([expect.objectContaining({ isThis: true, via: 'invitation', isOwn: true })]);
  expect(JSON.stringify(sessions)).not.toContain('iws_');
});

test('the bare address leads a browser to the sign-in page, and a program nowhere', async () => {
  const get = (accept: string): Promise<Response> => fetch(`${door.url}/`, { headers: { accept }, redirect: 'manual' });
  const led = await get('text/html,application/xhtml+xml,*/*;q=0.8');
  expect([led.status, led.headers.get('location')]).toEqual([303, '/sign-in']);
  expect((await get('*/*')).status).toBe(404);
});

test('a session that somebody planted in a browser is not the one that it has after signing in', async () => {
  const attacker = await signedIn('Mallory');
  const victim = newBrowser();
  victim.plant(attacker.cookies());
  await victim.submit('/sign-in/code', { code: await invitation('Victim') });
  expect(victim.session()).not.toBe(attacker.session());
  expect(await (await victim.get('/sign-in')).text()).toContain('Victim, signed in');
  // What was planted is over, too.
  expect(await whoIs(attacker)).toBe(401);
  const made = newBrowser();
  made.plant(`idlewild-${door.hub.territory.id}-session=iws_${'a'.repeat(52)}`);
  await made.submit('/sign-in/code', { code: await invitation('Grace') });
  expect(made.session()).not.toContain('aaaa');
  // Of two cookies of one name nobody can tell which is whose.
  const twice = `${victim.cookies()}; idlewild-${door.hub.territory.id}-session=iws_${'b'.repeat(52)}`;
  expect((await fetch(`${door.url}/api/sessions`, { headers: { cookie: twice } })).status).toBe(401);
});

test('what another site makes a browser send changes nothing', async () => {
  const browser = await signedIn('Bess');
  const own = browser.origin;
  const script = { 'x-idlewild-request': '1' };
  const tries: [string, Record<string, string>][] = [
    ['another site', { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site', ...script }],
    ['another port of this machine', { origin: 'http://localhost:1', 'sec-fetch-site': 'same-site', ...script }],
    ['a page without an origin', { origin: 'null', 'sec-fetch-site': 'cross-site', ...script }],
    ['an origin that begins alike', { origin: `${own}.evil.test`, ...script }],
    ['a browser that says nothing', { ...script }],
    ['a form of another site', { origin: 'https://evil.test', 'sec-fetch-site': 'cross-site' }],
    ['one of our pages, but no script of ours', { origin: own, 'sec-fetch-site': 'same-origin' }],
    ['another site that lies about Sec-Fetch-Site', { origin: 'https://evil.test', 'sec-fetch-site': 'same-origin' }],
  ];
  for (const [who, headers] of tries) {
    const answer = await browser.raw('DELETE', '/api/sessions', headers);
    expect(`${who}: ${answer.status}`).toBe(`${who}: 403`);
  }
  for (const path of ['/sign-in/out', '/sign-in/end', '/sign-in/link', '/sign-in/program', '/sign-in/program/answer']) {
    const answer = await browser.raw('POST', path, {
      origin: 'https://evil.test',
      'sec-fetch-site': 'cross-site',
      'content-type': 'application/x-www-form-urlencoded',
    });
    expect(`${path} ${answer.status}`).toBe(`${path} 403`);
  }
  expect(await whoIs(browser)).toBe(200);
  // Nor is a victim signed in as somebody else.
  const foreign = { origin: 'https://evil.test', 'content-type': 'application/x-www-form-urlencoded' };
  const code = await invitation('Eve');
  const planted = await newBrowser().raw('POST', '/sign-in/code', foreign, `code=${code}`);
  expect([planted.status, planted.headers.getSetCookie()]).toEqual([403, []]);
  expect((await browser.script('DELETE', '/api/sessions')).status).toBe(200);
  expect(await whoIs(browser)).toBe(401);
});

test('bodies of forms are read on the page’s own routes only', async () => {
  const browser = await signedIn('Form');
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    origin: browser.origin,
    'x-idlewild-request': '1',
  };
  const answer = await browser.raw('POST', '/api/keys', headers, 'role=steward');
  expect([403, 415]).toContain(answer.status);
  expect((await asSteward('POST', '/api/keys')).status).toBe(400);
});

test('nothing that comes in a request gets into a header or a page as more than text', async () => {
  const browser = await signedIn('Ann');
  const script = '<script>alert(1)</script>';
  const evil = newBrowser();
  const code = await invitation();
  const named = await evil.submit('/sign-in/code', { code, name: script });
  expect(named.status).toBe(303);
  const page = await (await evil.get('/sign-in')).text();
  expect(page).not.toContain(script);
  expect(page).toContain('&lt;script&gt;');
  const split = await browser.submit('/sign-in/code', { code: 'iwl_x\r\nSet-Cookie: a=b' });
  expect(split.status).toBe(401);
  expect(split.headers.getSetCookie()).toEqual([]);
  for (const path of ['/sign-in/with/x%0d%0aSet-Cookie:a=b', '/sign-in/back/%0d%0aLocation:evil?code=1%0d%0aX:1']) {
    const answer = await browser.raw('GET', path);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('location')).toBeNull();
    expect(answer.headers.getSetCookie().join()).not.toContain('a=b');
  }
});

test('a code lets nobody in twice, and is in no address and no log', async () => {
  const code = await invitation('Once');
  expect((await newBrowser().submit('/sign-in/code', { code })).status).toBe(303);
  const second = await newBrowser().submit('/sign-in/code', { code });
  expect(second.status).toBe(401);
  expect(await second.text()).toMatch(/This code was used at .*tell a steward/);
  const acts = await door.hub.audit.list({ territory: door.hub.territory.id });
  expect(acts.some(({ action }) => action === 'linkUsedAgain')).toBe(true);
  expect(JSON.stringify(acts)).not.toContain(code);
});

test('a passkey is added in a browser that signed in just now, and signs in after', async () => {
  const browser = await signedIn('Paz');
  const authenticator = createAuthenticator({ origin: browser.origin });
  const begun = await browser.script('POST', '/api/passkeys/begin', {});
  expect(begun.status).toBe(200);
  const before = browser.session();
  const body = { name: 'my phone', response: authenticator.create((await begun.json()) as never) };
  expect((await browser.script('POST', '/api/passkeys', body)).status).toBe(201);
  // It is another right, so it is another session.
  expect(browser.session()).not.toBe(before);
  await browser.submit('/sign-in/out', {});
  expect(await whoIs(browser)).toBe(401);
  const options = await (await browser.script('POST', '/api/sign-in/passkey/begin', {})).json();
  const answer = authenticator.get(options as never);
  const other = await newBrowser().script('POST', '/api/sign-in/passkey', answer);
  expect(other.status).toBe(400);
  expect((await browser.script('POST', '/api/sign-in/passkey', answer)).status).toBe(200);
  expect(await (await browser.get('/sign-in')).text()).toMatch(/Paz, signed in[\s\S]*my phone/);
});

test('where the hub is reached by an address there are no passkeys, and the page says where there are', async () => {
  const browser = createTestBrowser(door.url, fetch);
  const page = await (await browser.get('/sign-in')).text();
  expect(page).toContain(`${door.url.replace('127.0.0.1', 'localhost')}/sign-in`);
  expect(page).toContain('data-passkeys="no"');
  expect((await browser.script('POST', '/api/sign-in/passkey/begin', {})).status).toBe(409);
});

test('a program is let in by somebody who is signed in, and works like them', async () => {
  const browser = await signedIn('Cli');
  const json = { 'content-type': 'application/json' };
  const ask = (path: string, body: object): Promise<Response> =>
    fetch(`${door.url}/api/sign-in/programs${path}`, { method: 'POST', headers: json, body: JSON.stringify(body) });
  const asked = (await (await ask('', { label: 'idlewild on a notebook' })).json()) as {
    secret: string;
    userCode: string;
  };
  expect((await ask('/claim', { secret: asked.secret })).status).toBe(202);
  const shown = await (await browser.submit('/sign-in/program', { userCode: asked.userCode })).text();
  expect(shown).toMatch(/idlewild on a notebook[\s\S]*from 127\.0\.0\.1/);
  await browser.submit('/sign-in/program/answer', { userCode: asked.userCode, answer: 'yes' });
  const claimed = await ask('/claim', { secret: asked.secret });
  expect(claimed.status).toBe(201);
  const { token } = (await claimed.json()) as { token: string };
  const authorization = { authorization: `Bearer ${token}` };
  const sessions = await fetch(`${door.url}/api/sessions`, { headers: authorization });
  expect(((await sessions.json()) as object[]).length).toBe(2);
  // A program's session is no browser's: it adds no ways of signing in by itself, for it was not proved just now.
  expect((await fetch(`${door.url}/api/session`, { method: 'DELETE', headers: authorization })).status).toBe(204);
  expect((await fetch(`${door.url}/api/sessions`, { headers: authorization })).status).toBe(401);
  expect(await whoIs(browser)).toBe(200);
});

test('a steward sees and ends the sessions of a member; a member does not', async () => {
  const browser = await signedIn('Dot');
  const [{ id: session }] = (await (await browser.get('/api/sessions')).json()) as [{ id: string }];
  const { person_id: person } = await door.hub.db
    .selectFrom('person_sessions')
    .select('person_id')
    .where('id', '=', session)
    .executeTakeFirstOrThrow();
  expect((await browser.get(`/api/members/${person}/sessions`)).status).toBe(403);
  expect((await browser.script('POST', '/api/people/invitations', { role: 'steward' })).status).toBe(403);
  expect((await browser.script('POST', `/api/members/${person}/link`, {})).status).toBe(403);
  expect(await (await asSteward('GET', `/api/members/${person}/sessions`)).json()).toHaveLength(1);
  expect((await asSteward('DELETE', `/api/members/${person}/sessions`)).status).toBe(200);
  expect(await whoIs(browser)).toBe(401);
  const link = (await (await asSteward('POST', `/api/members/${person}/link`, {})).json()) as { code: string };
  await browser.submit('/sign-in/code', { code: link.code });
  expect(await (await browser.get('/sign-in')).text()).toContain('Dot, signed in');
});
