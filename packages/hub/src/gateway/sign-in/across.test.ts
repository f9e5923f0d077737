/**
 * Claims about browsers and programs of people who are in several communities of one hub: as whom an invitation lets
 * them in, what a planted cookie does, and where a new passkey counts.
 */
import { createMemoryBlobStore } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { openDatabase, type OpenDatabase } from '../../db/open.ts';
import { createHub, type Hub } from '../../hub.ts';
import { createMemorySecrets, secretsOf } from '../../identity/secrets.ts';
import { insertTerritory, makeTerritoryKey } from '../../identity/territory.ts';
import { silentLog } from '../../log.ts';
import { createAuthenticator, type Authenticator } from '../../sign-in/testing/authenticator.ts';
import { createTestBrowser, type TestBrowser } from '../../sign-in/testing/browser.ts';
import { CLIENT_ID, CLIENT_SECRET, openProvider } from '../../sign-in/testing/provider.ts';
import { walled } from '../../testing/territory-wall.ts';
import { aloneAt, testMetrics } from '../../testing/test-door.ts';
import { createHubServer } from '../hub-server.ts';

interface Place {
  readonly hub: Hub;
  readonly url: string;
  readonly key: string;
}

let database: OpenDatabase;
let library: Place;
let choir: Place;
const closing: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  database = await walled(await openDatabase({ file: ':memory:', clock: systemClock, sync: 'off' }));
  const store = createMemoryBlobStore({ crypto: nodeCrypto, quotaBytes: 2 ** 20 });
  const secrets = createMemorySecrets();
  const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto, log: silentLog };
  /** Each behind a door of its own; cookies know no ports, so a browser of one has those of the other. */
  async function open(territory?: string): Promise<Place> {
    let url = '';
    const metrics = testMetrics(() => hub);
    const hub: Hub = await createHub({ ...ports, database, store, secrets, meter: metrics.meter, territory });
    const app = await createHubServer({ ...aloneAt(hub, database, () => url), ...ports, metrics, hub });
    url = await app.listen({ host: '127.0.0.1', port: 0 });
    const { key } = await hub.keys.create({ territory: hub.territory.id, role: 'steward', actor: 'test' });
    closing.push(
      () => hub.stop(),
      () => app.close(),
    );
    return { hub, url, key };
  }
  library = await open();
  const made = await makeTerritoryKey(ports, (id) => secretsOf(secrets, id));
  const audit = { ...ports, audit: library.hub.audit };
  await database.db
    .transaction()
    .execute((transaction) => insertTerritory(transaction, audit, { ...made, name: 'The <choir>' }, 'test'));
  choir = await open(made.id);
});
afterAll(async () => {
  for (const close of closing) await close();
  await database.close();
});

const post = (url: string, body: unknown, key?: string): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
    body: JSON.stringify(body),
  });
async function invitation({ url, key }: Place, name?: string): Promise<string> {
  const made = await post(`${url}/api/people/invitations`, { role: 'lender', ...(name ? { name } : {}) }, key);
  return ((await made.json()) as { code: string }).code;
}
async function linkFor({ url, key }: Place, person: string): Promise<string> {
  return ((await (await post(`${url}/api/members/${person}/link`, {}, key)).json()) as { code: string }).code;
}

const browserAt = ({ url }: Place): TestBrowser => createTestBrowser(url.replace('127.0.0.1', 'localhost'), fetch);
/** The same browser, at the other address. */
function goOn(from: TestBrowser, to: Place): TestBrowser {
  const browser = browserAt(to);
  browser.plant(from.cookies());
  return browser;
}
async function signedIn(place: Place, name: string): Promise<TestBrowser> {
  const browser = browserAt(place);
  expect((await browser.submit('/sign-in/code', { code: await invitation(place, name) })).status).toBe(303);
  return browser;
}
interface Self {
  readonly person: string;
  readonly name: string;
  readonly communities: readonly { readonly name: string; readonly called: string }[];
}
const me = async (browser: TestBrowser): Promise<Self> => (await (await browser.get('/api/me')).json()) as Self;

async function addPasskey(browser: TestBrowser, everywhere: boolean): Promise<Authenticator> {
  const authenticator = createAuthenticator({ origin: browser.origin });
  const begun = await browser.script('POST', '/api/passkeys/begin', {});
  const options = (await begun.json()) as Parameters<Authenticator['create']>[0];
  const response = authenticator.create(options);
  expect((await browser.script('POST', '/api/passkeys', { response, everywhere })).status).toBe(201);
  return authenticator;
}

test('who is signed in to one community is asked as whom to join another, and joins as herself', async () => {
  const ada = await signedIn(library, 'Ada');
  const { person } = await me(ada);
  const there = goOn(ada, choir);
  const code = await invitation(choir);
  const asked = await there.submit('/sign-in/code', { code });
  expect([asked.status, there.session()]).toEqual([200, ada.session()]);
  const page = await asked.text();
  expect(page).toMatch(/signed in as\s+<strong>Ada<\/strong>/);
  expect(page).toContain('Join as somebody new');
  expect(page).toContain(`name="as" value="${person}"`);
  expect(page).not.toContain('The <choir>');
  expect((await there.submit('/sign-in/code', { code, as: person, name: 'Countess' })).status).toBe(303);
  const self = await me(there);
  expect(self).toMatchObject({ person, name: 'Countess' });
  // Without a passkey each session speaks for its own community.
  expect(self.communities.map(({ called }) => called)).toEqual(['Countess']);
  expect((await me(goOn(there, library))).name).toBe('Ada');
  // Nobody can be in twice, and the page says so before.
  const again = await there.submit('/sign-in/code', { code: await invitation(choir) });
  expect(await again.text()).toMatch(/You are a member here already/);

  // What she adds now counts in both, and then she is seen as one.
  expect(await (await there.get('/sign-in')).text()).toMatch(/also for home/);
  await addPasskey(there, true);
  const listed = await goOn(there, library).get('/api/passkeys');
  expect(await listed.json()).toHaveLength(1);
});

async function withPasskey(browser: TestBrowser, authenticator: Authenticator): Promise<number> {
  const begun = await browser.script('POST', '/api/sign-in/passkey/begin', {});
  const options = (await begun.json()) as Parameters<Authenticator['get']>[0];
  // Both are at one address, but for the port that a test gives each.
  const answer = authenticator.get(options, { origin: browser.origin });
  return (await browser.script('POST', '/api/sign-in/passkey', answer)).status;
}

test('a passkey comes along with whoever joins by it, signs in to both, and shows both', async () => {
  const first = await signedIn(library, 'Ann');
  const authenticator = await addPasskey(first, false);
  const { person } = await me(first);
  const ann = browserAt(library);
  expect(await withPasskey(browserAt(choir), authenticator)).toBe(401);
  expect(await withPasskey(ann, authenticator)).toBe(200);
  const there = goOn(ann, choir);
  await there.submit('/sign-in/code', { code: await invitation(choir), as: person, name: 'Anna' });
  const anywhere = browserAt(choir);
  expect(await withPasskey(anywhere, authenticator)).toBe(200);
  for (const browser of [there, anywhere])
    expect((await me(browser)).communities.map(({ called }) => called).sort()).toEqual(['Ann', 'Anna']);
});

test('the page of an invitation sends somebody of another community there first', async () => {
  const hint = /in another community of this hub already\? Sign in there first/;
  const fresh = await (await browserAt(choir).get('/sign-in')).text();
  expect(fresh).toMatch(hint);
  // Which communities there are is for nobody to read here.
  expect(fresh).not.toContain(library.hub.territory.id);
  const iva = await signedIn(library, 'Iva');
  // Signed out, her browser still knows where she was.
  const was = browserAt(choir);
  was.plant(`idlewild-${library.hub.territory.id}-session=iws_${'a'.repeat(52)}`);
  was.plant(`idlewild-ter_${'z'.repeat(26)}-session=iws_${'a'.repeat(52)}`);
  const page = await (await was.get('/sign-in')).text();
  expect(page).toMatch(hint);
  expect(page).toContain(`<a href="/t/${library.hub.territory.id}/sign-in">Sign in to home</a>`);
  expect(page.match(/Sign in to home/g)).toHaveLength(1);
  expect(page).not.toContain('zzz');
  expect(await (await goOn(iva, library).get('/sign-in')).text()).not.toMatch(hint);
});

test('as somebody new is somebody new, and so is whoever has no other session', async () => {
  const bess = await signedIn(library, 'Bess');
  const { person } = await me(bess);
  const there = goOn(bess, choir);
  const answer = await there.submit('/sign-in/code', { code: await invitation(choir), as: 'new', name: 'Nobody' });
  expect(answer.status).toBe(303);
  expect((await me(there)).person).not.toBe(person);
  // Nor is anybody who she says she is.
  const stranger = browserAt(choir);
  const tried = await stranger.submit('/sign-in/code', { code: await invitation(choir, 'Eve'), as: person });
  expect([tried.status, stranger.session()]).toEqual([401, undefined]);
  stranger.plant(`idlewild-${library.hub.territory.id}-session=iws_${'a'.repeat(52)}`);
  const planted = await stranger.submit('/sign-in/code', { code: await invitation(choir, 'Eva'), as: person });
  expect(planted.status).toBe(401);
});

test('a session that a steward made by a link shows and joins nothing elsewhere, and the page says why', async () => {
  const cyn = await signedIn(library, 'Cyn');
  const { person } = await me(cyn);
  const there = goOn(cyn, choir);
  await there.submit('/sign-in/code', { code: await invitation(choir, 'Cyn'), as: person });

  const mallory = browserAt(choir);
  expect((await mallory.submit('/sign-in/code', { code: await linkFor(choir, person) })).status).toBe(303);
  expect((await me(mallory)).communities.map(({ name }) => name)).toEqual(['The <choir>']);
  expect(await me(mallory)).toMatchObject({ shows: 'here' });
  expect(await (await mallory.get('/sign-in')).text()).toMatch(/by a link that somebody made for you/);
  // A link leads to its member at once; there is nothing to choose.
  const atLibrary = goOn(mallory, library);
  const asked = await atLibrary.submit('/sign-in/code', { code: await invitation(library, 'Cyn too') });
  expect(await asked.text()).toMatch(/You are a member here already/);
  expect((await atLibrary.get('/api/me')).status).toBe(401);
});

test('a program joins as the person whose sessions it has, and as nobody else', async () => {
  const { url } = choir;
  const first = await post(`${library.url}/api/sign-in/code`, { code: await invitation(library, 'Dora') });
  const { token, person } = (await first.json()) as { token: string; person: string };
  const other = await post(`${library.url}/api/sign-in/code`, { code: await invitation(library, 'Emma') });
  const emma = ((await other.json()) as { token: string }).token;

  const code = await invitation(choir);
  const looked = await post(`${url}/api/sign-in/code/look`, { code, sessions: [token, emma] });
  expect(await looked.json()).toEqual({
    kind: 'invitation',
    community: 'The <choir>',
    name: '',
    people: [
      { person, name: 'Dora', communities: ['home'], refusal: null },
      { person: expect.any(String), name: 'Emma', communities: ['home'], refusal: null },
    ],
  });
  expect((await post(`${url}/api/sign-in/code`, { code, sessions: [token, emma] })).status).toBe(400);
  expect((await post(`${url}/api/sign-in/code`, { code, sessions: ['iws_x'] })).status).toBe(400);
  const joined = await post(`${url}/api/sign-in/code`, { code, sessions: [token] });
  expect([joined.status, await joined.json()]).toEqual([201, expect.objectContaining({ person })]);
  // It is used now, and looking at it says so.
  expect((await post(`${url}/api/sign-in/code/look`, { code })).status).toBe(401);
  const link = await linkFor(choir, person);
  const seen = await post(`${url}/api/sign-in/code/look`, { code: link, sessions: [token] });
  expect(await seen.json()).toMatchObject({ kind: 'link', people: [] });
});

test('another site’s form makes nobody join', async () => {
  const fay = await signedIn(library, 'Fay');
  const { person } = await me(fay);
  const there = goOn(fay, choir);
  const body = new URLSearchParams({ code: await invitation(choir, 'Fay'), as: person }).toString();
  const foreign = { origin: 'https://evil.test', 'content-type': 'application/x-www-form-urlencoded' };
  expect((await there.raw('POST', '/sign-in/code', foreign, body)).status).toBe(403);
  expect((await there.get('/api/me')).status).toBe(401);
});

/** The same provider, trusted by both; each says by itself whom it lets in. */
async function providerOfBoth(): Promise<ReadonlyMap<Place, string>> {
  const real = await openProvider(['http://localhost:1']);
  onTestFinished(() => real.close());
  real.accounts.set('hal', { email: 'hal@example.edu', email_verified: true, name: `Hal ${'x'.repeat(9_000)}` });
  const order = { name: 'Uni', issuer: real.issuer, clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };
  const ids = new Map<Place, string>();
  for (const place of [library, choir]) {
    const made = await post(`${place.url}/api/providers`, { ...order, allowDomains: ['example.edu'] }, place.key);
    const { id, returnUrl } = (await made.json()) as { id: string; returnUrl: string };
    real.allowReturn(returnUrl.replace('127.0.0.1', 'localhost'));
    ids.set(place, id);
  }
  real.signInAs('hal');
  return ids;
}

test('one account with a provider of two communities is two people, unless he says in both who he is', async () => {
  const ids = await providerOfBoth();
  const hal = browserAt(library);
  await hal.follow(`/sign-in/with/${ids.get(library)}`);
  const { person } = await me(hal);
  // Whoever runs the choir runs what its provider says; that makes nobody of the library of it.
  const mallory = browserAt(choir);
  const came = await mallory.follow(`/sign-in/with/${ids.get(choir)}`);
  expect(came.answer?.status).toBe(200);
  const self = await me(mallory);
  expect(self.person).not.toBe(person);
  expect((await mallory.script('POST', '/api/me/leave', { name: self.name })).status).toBe(200);

  const there = goOn(hal, choir);
  const asked = await there.follow(`/sign-in/with/${ids.get(choir)}`);
  expect(await asked.answer?.text()).toMatch(/You will be called Hal x+ here/);
  expect((await there.get('/api/me')).status).toBe(401);
  // What is to be joined with is in his browser, and nothing is in another's.
  const other = browserAt(choir);
  expect((await other.submit('/sign-in/join', { as: 'new' })).status).toBe(400);
  expect((await there.submit('/sign-in/join', { as: 'per_nobody' })).status).toBe(401);
  expect((await there.submit('/sign-in/join', { as: person })).status).toBe(303);
  expect((await me(there)).person).toBe(person);
  expect((await there.submit('/sign-in/join', { as: 'new' })).status).toBe(400);
  // From now on the choir's provider signs him in there, and shows what is there.
  const again = browserAt(choir);
  await again.follow(`/sign-in/with/${ids.get(choir)}`);
  expect(await me(again)).toMatchObject({ person, communities: [{ name: 'The <choir>' }] });
});

test('who leaves one community stays in the other, and of who leaves the last one nothing is left', async () => {
  const { db } = database;
  const gus = await signedIn(library, 'Gus Gone');
  const authenticator = await addPasskey(gus, false);
  const { person } = await me(gus);
  const recent = browserAt(library);
  await withPasskey(recent, authenticator);
  const there = goOn(recent, choir);
  await there.submit('/sign-in/code', { code: await invitation(choir, 'Gus Gone'), as: person });
  expect((await me(there)).communities).toHaveLength(2);

  expect((await there.script('POST', '/api/me/leave', { name: 'Gus' })).status).toBe(400);
  expect((await there.script('POST', '/api/me/leave', { name: 'Gus Gone' })).status).toBe(200);
  expect((await there.get('/api/me')).status).toBe(401);
  expect(await withPasskey(browserAt(choir), authenticator)).toBe(401);
  expect((await me(goOn(there, library))).communities.map(({ called }) => called)).toEqual(['Gus Gone']);
  const people = (): Promise<unknown[]> => db.selectFrom('people').selectAll().where('id', '=', person).execute();
  expect(await people()).toHaveLength(1);
  // Let in again, he is the same person, by the same passkey.
  await there.submit('/sign-in/code', { code: await invitation(choir, 'Gus Gone'), as: person });
  expect(await me(there)).toMatchObject({ person, communities: [{}, {}] });

  for (const browser of [there, goOn(there, library)])
    expect((await browser.script('POST', '/api/me/leave', { name: 'Gus Gone' })).status).toBe(200);
  expect(await people()).toEqual([]);
  for (const table of [
    'members',
    'passkeys',
    'bindings',
    'person_sessions',
    'sign_in_links',
    'sign_in_approvals',
  ] as const) {
    const rows = await db.selectFrom(table).selectAll().execute();
    expect(JSON.stringify(rows), table).not.toContain('Gus');
    if (table !== 'person_sessions') expect(JSON.stringify(rows), table).not.toContain(person);
  }
  // Each log says of its own community what happened there.
  for (const { hub } of [library, choir]) {
    const entries = await hub.audit.list({ territory: hub.territory.id });
    const of = entries.filter(({ subject }) => subject === person).map(({ action, actor }) => `${action} ${actor}`);
    expect(of).toContain(`removeMember ${person}`);
  }
});

test('the last steward does not leave', async () => {
  const chief = browserAt(choir);
  const made = await post(`${choir.url}/api/people/invitations`, { role: 'steward', name: 'Chief' }, choir.key);
  const { code } = (await made.json()) as { code: string };
  await chief.submit('/sign-in/code', { code });
  const keys = await database.db
    .selectFrom('keys')
    .select('id')
    .where('territory_id', '=', choir.hub.territory.id)
    .execute();
  for (const { id } of keys) await choir.hub.keys.revoke({ territory: choir.hub.territory.id, id, actor: 'test' });
  expect((await chief.script('POST', '/api/me/leave', { name: 'Chief' })).status).toBe(409);
});
