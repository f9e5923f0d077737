/** Claims about signing in with a provider: an honest one (`oidc-provider`), and ones that lie about everything. */
import { generateKeyPairSync } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { codeOf, type IdlewildError } from '@idlewild/protocol';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openDatabase } from '../../db/open.ts';
import { createTestBrowser } from '../testing/browser.ts';
import { openLiar, signedToken, symmetricToken, unsignedToken, type Liar, type Lies } from '../testing/liar.ts';
import { CLIENT_ID, CLIENT_SECRET, openProvider, type TestProvider } from '../testing/provider.ts';
import { openWorld, type World } from '../testing/world.ts';
import { SIGN_IN_LIMITS } from '../limits.ts';
import type { SignedIn } from '../sessions.ts';
import type { Admission, Provider } from './providers.ts';

const BACK = 'http://127.0.0.1:1/sign-in/back';
const NOBODY: Admission = { domains: [], claims: [] };
const label = 'a browser';

async function newWorld(): Promise<World> {
  const world = await openWorld(async (clock) => openDatabase({ file: ':memory:', clock, sync: 'off' }));
  world.signIn.place.isOnLoopback = true;
  return world;
}

const trust = (
  world: World,
  issuer: string,
  admission: Admission = NOBODY,
  name = 'the university',
): Promise<Provider> =>
  world.signIn.providers.add({
    name,
    issuer,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    admission,
    role: 'member',
    actor: 'test',
  });

const refusal = async (promise: Promise<unknown>): Promise<IdlewildError> =>
  promise.then(
    () => {
      throw new Error('let in');
    },
    (error: unknown) => error as IdlewildError,
  );

describe('a real provider', () => {
  let real: TestProvider;
  beforeAll(async () => {
    real = await openProvider([BACK]);
    real.accounts.set('ada', { email: 'ada@example.edu', email_verified: true, name: 'Ada' });
    real.accounts.set('unverified', { email: 'eve@example.edu', email_verified: false, name: 'Eve' });
    real.accounts.set('outside', { email: 'eve@evil.test', email_verified: true, name: 'Ada', groups: ['staff'] });
    real.accounts.set('trick', { email: 'eve@example.edu.evil.test', email_verified: true, name: 'Eve' });
  });
  afterAll(() => real.close());

  /** A browser goes there and comes back. */
  async function come(world: World, provider: Provider, subject: string, who?: SignedIn) {
    const { url, step } = await world.signIn.accounts.begin(provider.id, BACK, who);
    real.signInAs(subject);
    const browser = createTestBrowser(real.issuer, fetch);
    const { url: came } = await browser.follow(url.href, (next) => next.href.startsWith(BACK));
    return { came, step };
  }
  async function signIn(world: World, provider: Provider, subject: string) {
    const { came, step } = await come(world, provider, subject);
    return world.signIn.accounts.finish({ provider: provider.id, came, step, label, present: undefined });
  }

  test('whose people may join by themselves lets them in, and knows them again', async () => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer, { domains: ['example.edu'], claims: [] });
    const first = await signIn(world, provider, 'ada');
    expect(await world.sessions.authenticate(first.token)).toMatchObject({ name: 'Ada', session: { via: 'provider' } });
    const second = await signIn(world, provider, 'ada');
    expect(second.person).toBe(first.person);
    const members = await world.db.selectFrom('members').selectAll().execute();
    expect(members).toHaveLength(1);
    expect(await world.acts()).toEqual(expect.arrayContaining(['addMember', 'linkAccount', 'signIn']));
  });

  test.each(['unverified', 'outside', 'trick'])('lets %s in under no e-mail address', async (subject) => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer, { domains: ['example.edu'], claims: [] });
    expect(await refusal(signIn(world, provider, subject))).toMatchObject({ code: 'forbidden' });
    expect(await world.db.selectFrom('members').selectAll().execute()).toEqual([]);
  });

  test('admits by a claim, and nobody where nothing was said', async () => {
    const world = await newWorld();
    const staff = await trust(world, real.issuer, { domains: [], claims: [{ name: 'groups', value: 'staff' }] });
    await signIn(world, staff, 'outside');
    expect(codeOf(await refusal(signIn(world, staff, 'ada')))).toBe('forbidden');
    const closed = await trust(world, real.issuer, NOBODY, 'closed');
    expect(codeOf(await refusal(signIn(world, closed, 'ada')))).toBe('forbidden');
  });

  test('an account of the same e-mail address is not the same person', async () => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer, { domains: ['example.edu'], claims: [] });
    const ada = await signIn(world, provider, 'ada');
    real.accounts.set('hijack', { email: 'ada@example.edu', email_verified: true, name: 'Ada' });
    const other = await signIn(world, provider, 'hijack');
    expect(other.person).not.toBe(ada.person);
    expect((await world.sessions.authenticate(other.token)).name).toBe('Ada 2');
  });

  test('an account that a member links signs that member in, and no other can be linked over it', async () => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer);
    const { session, signedIn } = await world.member('Ada');
    const there = await come(world, provider, 'ada', signedIn);
    const finish = { provider: provider.id, ...there, label };
    // Whoever came back without that session, or with another, links nothing.
    const eve = await world.member('Eve');
    expect(codeOf(await refusal(world.signIn.accounts.finish({ ...finish, present: undefined })))).toBe(
      'unauthenticated',
    );
    expect(codeOf(await refusal(world.signIn.accounts.finish({ ...finish, present: eve.signedIn })))).toBe(
      'unauthenticated',
    );
    const renewed = await world.signIn.accounts.finish({ ...finish, present: signedIn });
    expect(renewed.id).not.toBe(session.id);
    expect((await signIn(world, provider, 'ada')).person).toBe(session.person);
    const again = await come(world, provider, 'ada', eve.signedIn);
    const stolen = world.signIn.accounts.finish({ provider: provider.id, ...again, label, present: eve.signedIn });
    expect(await refusal(stolen)).toMatchObject({ code: 'conflict' });
    expect(await world.signIn.providers.identities(session.person)).toEqual([
      expect.objectContaining({ provider: provider.id, subject: 'ada' }),
    ]);
    expect(await world.elsewhere.providers.identities(session.person)).toEqual([]);
    await world.signIn.providers.unlink({ person: session.person, provider: provider.id, actor: 'test' });
    expect(codeOf(await refusal(signIn(world, provider, 'ada')))).toBe('forbidden');
  });

  test('what came back is good once, with the step of the browser that began', async () => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer, { domains: ['example.edu'], claims: [] });
    const mine = await come(world, provider, 'ada');
    const theirs = await come(world, provider, 'ada');
    const finish = (came: URL, step: string | undefined) =>
      world.signIn.accounts.finish({ provider: provider.id, came, step, label, present: undefined });
    expect(codeOf(await refusal(finish(mine.came, theirs.step)))).toBe('unauthenticated');
    expect(codeOf(await refusal(finish(mine.came, undefined)))).toBe('invalid_request');
    await finish(mine.came, mine.step);
    await refusal(finish(mine.came, mine.step));
    await world.clock.advance(SIGN_IN_LIMITS.stepMs);
    expect((await refusal(finish(theirs.came, theirs.step))).message).toMatch(/took too long/);
  });

  test('a provider is of one community, and its secret is sealed', async () => {
    const world = await newWorld();
    const provider = await trust(world, real.issuer);
    expect(await world.signIn.providers.secretOf(provider.id)).toBe(CLIENT_SECRET);
    const rows = await world.db.selectFrom('oidc_providers').selectAll().execute();
    expect(Buffer.from(rows[0]?.client_secret ?? []).toString('latin1')).not.toContain(CLIENT_SECRET);
    const { providers, accounts } = world.elsewhere;
    expect(await providers.list()).toEqual([]);
    for (const act of [
      providers.get(provider.id),
      providers.secretOf(provider.id),
      providers.remove({ id: provider.id, actor: 'x' }),
      providers.unlink({ person: 'per_x', provider: provider.id, actor: 'x' }),
      accounts.begin(provider.id, BACK),
    ])
      expect(await refusal(act)).toMatchObject({ code: 'not_found' });
    expect(await providers.personOf(world.db, provider.id, 'ada')).toBeUndefined();
    await expect(trust(world, real.issuer)).rejects.toMatchObject({ code: 'conflict' });
    await world.signIn.providers.remove({ id: provider.id, actor: 'test' });
    expect(await refusal(signIn(world, provider, 'ada'))).toMatchObject({ code: 'not_found' });
  });
});

describe('a provider that lies', () => {
  async function setUp(lies: Lies = {}): Promise<{ world: World; liar: Liar; provider: Provider }> {
    const world = await newWorld();
    const liar = await openLiar(CLIENT_ID, () => Date.now());
    onTestFinished(() => liar.close());
    liar.lies = lies;
    const claims = [{ name: 'sub', value: 'ada' }];
    return { world, liar, provider: await trust(world, liar.issuer, { domains: [], claims }) };
  }
  async function signIn(
    { world, liar, provider }: Awaited<ReturnType<typeof setUp>>,
    over: Readonly<Record<string, string | undefined>> = {},
  ) {
    const { url, step } = await world.signIn.accounts.begin(provider.id, BACK);
    liar.noteNonce(url.searchParams.get('nonce') ?? '');
    const came = new URL(BACK);
    const honest = { code: 'code', state: url.searchParams.get('state') ?? '', iss: liar.issuer };
    for (const [name, value] of Object.entries({ ...honest, ...over }))
      if (value !== undefined) came.searchParams.set(name, value);
    return world.signIn.accounts.finish({ provider: provider.id, came, step, label, present: undefined });
  }

  test('lets people in as long as it does not', async () => {
    const { world, ...rest } = await setUp();
    const { token } = await signIn({ world, ...rest });
    expect((await world.sessions.authenticate(token)).name).toBe('Ada');
  });

  const evil = generateKeyPairSync('rsa', { modulusLength: 2048 });
  test.each<[string, Lies]>([
    ['names another issuer', { claims: { iss: 'https://accounts.example' } }],
    ['means another client', { claims: { aud: 'somebody-else' } }],
    ['means several clients, and us not first', { claims: { aud: [CLIENT_ID, 'other'], azp: 'other' } }],
    ['is of another sign-in', { claims: { nonce: 'replayed' } }],
    ['has no nonce', { claims: { nonce: undefined } }],
    ['is over', { claims: { iat: 1, exp: 2 } }],
    ['names nobody', { claims: { sub: undefined } }],
    ['names nobody at length', { claims: { sub: 'a'.repeat(256) }, userinfo: { sub: 'a'.repeat(256) } }],
    ['is not signed', { token: (claims) => unsignedToken(claims) }],
    ['is signed with our own secret', { token: (claims) => symmetricToken(claims, CLIENT_SECRET) }],
    [
      'is signed with its public key, as if that were a secret',
      { token: (claims, { publicKey }) => symmetricToken(claims, publicKey.export({ type: 'spki', format: 'pem' })) },
    ],
    ['is signed by another key', { token: (claims) => signedToken(claims, evil.privateKey) }],
    [
      'brings its own key along',
      {
        token: (claims) =>
          signedToken(claims, evil.privateKey, { alg: 'RS256', jwk: evil.publicKey.export({ format: 'jwk' }) }),
      },
    ],
    ['is of somebody else than the rest of what it says', { userinfo: { sub: 'grace' } }],
  ])('lets nobody in with a token that %s', async (_, lies) => {
    const set = await setUp(lies);
    expect(await refusal(signIn(set))).toMatchObject({ code: 'unauthenticated' });
    expect(await set.world.db.selectFrom('members').selectAll().execute()).toEqual([]);
  });

  test.each<[string, Readonly<Record<string, string | undefined>>]>([
    ['of another provider', { iss: 'https://accounts.example' }],
    ['that does not say whose it is, though it promised to', { iss: undefined }],
    ['of another browser', { state: 'other' }],
    ['without a state', { state: undefined }],
    ['that is an error', { code: undefined, error: 'access_denied', error_description: '<b>no</b>\r\nX: y' }],
  ])('lets nobody in with an answer %s', async (_, over) => {
    const set = await setUp();
    expect(await refusal(signIn(set, over))).toMatchObject({ code: 'unauthenticated' });
  });

  const hop = (location: string) => ({
    '/.well-known/openid-configuration': (_: unknown, response: ServerResponse) =>
      void response.writeHead(302, { location }).end(),
  });
  test.each<[string, Lies]>([
    ['is of another issuer', { description: { issuer: 'https://accounts.example' } }],
    ['redirects', { answers: hop('http://169.254.169.254/') }],
    ['sends people to a script', { description: { authorization_endpoint: 'javascript:alert(1)' } }],
    ['sends people over plain HTTP', { description: { authorization_endpoint: 'http://idp.example/authorize' } }],
    ['has no door', { description: { authorization_endpoint: undefined } }],
    [
      'is endless',
      {
        answers: {
          '/.well-known/openid-configuration': (_, response) => void response.end(Buffer.alloc(70_000, 0x20)),
        },
      },
    ],
    ['is no JSON', { answers: { '/.well-known/openid-configuration': (_, response) => void response.end('<html>') } }],
  ])('sends nobody anywhere by a description that %s', async (_, lies) => {
    const { world, provider, liar } = await setUp(lies);
    const { code } = await refusal(world.signIn.accounts.begin(provider.id, BACK));
    expect(['unauthenticated', 'source_unreachable']).toContain(code);
    expect(new Set(liar.asked)).toEqual(new Set(['/.well-known/openid-configuration']));
  });

  test.each(['token_endpoint', 'jwks_uri', 'userinfo_endpoint'])(
    'does not make the hub ask a machine of its own network by its %s',
    async (endpoint) => {
      for (const target of ['http://169.254.169.254/latest', 'https://10.0.0.1/', 'file:///etc/passwd']) {
        const set = await setUp({ description: { [endpoint]: target } });
        const { code } = await refusal(signIn(set));
        expect(['unauthenticated', 'source_unreachable']).toContain(code);
        expect(await set.world.db.selectFrom('members').selectAll().execute()).toEqual([]);
      }
    },
  );
});
