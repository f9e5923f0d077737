/** A real OpenID provider on loopback, whose people sign in by being named: for tests of whoever trusts one. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Provider, type Context } from 'oidc-provider';

export interface Account {
  readonly email?: string;
  readonly email_verified?: boolean;
  readonly name?: string;
  readonly groups?: readonly string[];
}

export interface TestProvider {
  readonly issuer: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Who is at the keyboard, by `sub`. */
  signInAs(subject: string): void;
  readonly accounts: Map<string, Account>;
  /** People may come back there, too: a hub gives the address once it knows the provider. */
  allowReturn(url: string): void;
  close(): Promise<void>;
}

export const CLIENT_ID = 'idlewild';
export const CLIENT_SECRET = 'a secret that nobody guesses, of a client';

export async function openProvider(returnUrls: readonly string[]): Promise<TestProvider> {
  const known = [...returnUrls];
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const server: Server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const accounts = new Map<string, Account>();
  let subject = '';
  let provider: Provider | undefined;
  const open = (): Provider => (provider ??= new Provider(issuer, configurationOf(known, accounts, privateKey)));
  server.on('request', (request, response) => {
    const { url = '' } = request;
    if (!url.startsWith('/interaction/')) return open().callback()(request, response);
    return void open().interactionFinished(request, response, { login: { accountId: subject } });
  });
  return {
    issuer,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    accounts,
    allowReturn(url) {
      known.push(url);
      provider = undefined;
    },
    signInAs: (named) => {
      subject = named;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

const configurationOf = (
  returnUrls: readonly string[],
  accounts: ReadonlyMap<string, Account>,
  key: KeyObject,
): object => ({
  clients: [
    {
      client_id: CLIENT_ID,
      client_secret: CLIENT_SECRET,
      redirect_uris: returnUrls,
      grant_types: ['authorization_code'],
      response_types: ['code'],
      token_endpoint_auth_method: 'client_secret_post',
    },
  ],
  jwks: { keys: [{ ...key.export({ format: 'jwk' }), use: 'sig' }] },
  cookies: { keys: ['a key for cookies'] },
  pkce: { required: () => true },
  ttl: { Interaction: 600, Grant: 600, Session: 600, AccessToken: 600, IdToken: 600 },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_context: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
  findAccount: (_context: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) }),
  // Nobody is asked whether the hub may know them.
  loadExistingGrant: async ({ oidc }: Context) => {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope('openid profile email');
    await grant.save();
    return grant;
  },
});
