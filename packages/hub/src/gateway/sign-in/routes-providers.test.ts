/** Claims about signing in over HTTP with a provider, and about whoever tries too often. */
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest';
import { SIGN_IN_LIMITS } from '../../sign-in/limits.ts';
import { openSignInDoor, type SignInTestDoor } from '../../sign-in/testing/door.ts';
import { CLIENT_ID, CLIENT_SECRET, openProvider } from '../../sign-in/testing/provider.ts';
import { openTestDoor } from '../../testing/test-door.ts';

let door: SignInTestDoor;
beforeEach(async () => {
  door = await openSignInDoor(openTestDoor, fetch);
});
afterEach(() => door.close());

test('a browser comes back from a provider signed in; a member links an account by a form of the hub', async () => {
  const real = await openProvider(['http://localhost:1']);
  onTestFinished(() => real.close());
  real.accounts.set('uni', { email: 'uni@example.edu', email_verified: true, name: 'Uni' });
  const order = { name: 'Uni', issuer: real.issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  const made = await door.asSteward('POST', '/api/providers', { ...order, allowDomains: ['Example.EDU'] });
  expect(made.status).toBe(201);
  const said = await made.text();
  expect(said).not.toContain(CLIENT_SECRET);
  const { id, returnUrl } = JSON.parse(said) as { id: string; returnUrl: string };
  expect(returnUrl).toBe(`${door.url}/sign-in/back/${id}`);
  real.allowReturn(returnUrl.replace('127.0.0.1', 'localhost'));

  real.signInAs('uni');
  const browser = door.newBrowser();
  const came = await browser.follow(`/sign-in/with/${id}`);
  expect([came.url.pathname, came.url.search, came.answer?.status]).toEqual(['/sign-in', '', 200]);
  expect(await came.answer?.text()).toMatch(/Uni, signed in to/);

  // The answer that was meant for one browser signs no other in.
  const answered = await door
    .newBrowser()
    .follow(`/sign-in/with/${id}`, (next) => next.pathname.startsWith('/sign-in/back'));
  const stolen = await door.newBrowser().follow(answered.url.href);
  expect(stolen.answer?.status).toBe(400);

  const member = await door.signedIn('Lin');
  real.signInAs('lin');
  const leaving = await (await member.submit('/sign-in/link', { provider: id })).text();
  const [, url = ''] = /href="(http[^"]+)" rel="noreferrer"/.exec(leaving) ?? [];
  const linked = await member.follow(url.replaceAll('&amp;', '&'));
  expect(await linked.answer?.text()).toMatch(/Lin, signed in[\s\S]*linked account/);
  const other = door.newBrowser();
  const back = await other.follow(`/sign-in/with/${id}`);
  expect(await back.answer?.text()).toContain('Lin, signed in');
  for (const [param, wrong] of [
    ['issuer', 'http://169.254.169.254'],
    ['issuer', 'http://login.example'],
    ['issuer', 'file:///etc/passwd'],
    ['issuer', 'login.example'],
    ['issuer', ''],
    ['issuer', 'https://ada:secret@login.example'],
    ['allowDomains', ['not a domain']],
    ['allowClaims', ['no value']],
  ] as const) {
    const answer = await door.asSteward('POST', '/api/providers', { ...order, name: 'X', [param]: wrong });
    expect([wrong, answer.status, await answer.json()]).toMatchObject([wrong, 400, { error: { param } }]);
  }
  // An address, although nothing is fetched from it: what is there cannot be told from what does not answer.
  const inside = await door.asSteward('POST', '/api/providers', { ...order, name: 'X', issuer: 'https://10.0.0.1' });
  expect(inside.status).toBe(502);
});

test('whoever tries too often has to wait, with one code or with many', async () => {
  const browser = door.newBrowser();
  const tryOut = async (code: string): Promise<number> => {
    const answer = await browser.submit('/sign-in/code', { code });
    if (answer.status === 429) expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    return answer.status;
  };
  const one = `iwl_${'a'.repeat(52)}`;
  const { triesOnOnePerMinute, triesPerMinute } = SIGN_IN_LIMITS;
  for (let i = 0; i < triesOnOnePerMinute; i++) expect(await tryOut(one)).toBe(401);
  const statuses: number[] = [];
  // What comes back within the test is at most a few tries.
  for (let i = 0; i < 2 * triesPerMinute; i++) statuses.push(await tryOut(`iwl_${'b'.repeat(51)}${'abcdefgh'[i % 8]}`));
  expect(statuses[0]).toBe(401);
  expect(statuses.at(-1)).toBe(429);
  expect(statuses.filter((status) => status === 401).length).toBeLessThan(triesPerMinute);
  // Whoever is let in already is not shut out by it.
  expect((await door.asSteward('GET', '/api/people/invitations')).status).toBe(200);
});

test.each(['/api/sign-in/code/look', '/api/sign-in/code'])('%s counts each session that it is shown', async (path) => {
  const { sessionsShownPerMinute, sessionsElsewhereMax } = SIGN_IN_LIMITS;
  const invited = await door.asSteward('POST', '/api/people/invitations', {});
  const { code } = (await invited.json()) as { code: string };
  const heard = Math.floor(sessionsShownPerMinute / sessionsElsewhereMax);
  const statuses: number[] = [];
  for (let i = 0; i <= heard; i++) {
    const sessions = Array.from({ length: sessionsElsewhereMax }, (_, n) => `iws_${'abcdefgh'[n]}${'cdefghijk'[i]}`);
    const headers = { 'content-type': 'application/json' };
    const asked = { method: 'POST', headers, body: JSON.stringify({ code, sessions }) };
    statuses.push((await fetch(door.url + path, asked)).status);
  }
  const without = path.endsWith('look') ? 200 : 400;
  expect(statuses).toEqual([...Array.from({ length: heard }, () => without), 429]);
});
