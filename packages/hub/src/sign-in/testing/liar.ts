/** A provider that does as a test tells it, on loopback: its description, tokens and answers may all be lies. */
import { createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Lies {
  /** Over the honest description; `undefined` takes a field away. */
  description?: Record<string, unknown>;
  /** Over the honest claims. */
  claims?: Record<string, unknown>;
  /** Makes the token of its claims. */
  token?: (claims: Record<string, unknown>, keys: Keys) => string;
  /** Answers in place of the honest one; by path. */
  answers?: Record<string, (request: IncomingMessage, response: ServerResponse) => void>;
  userinfo?: Record<string, unknown>;
}

export interface Keys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

export interface Liar {
  readonly issuer: string;
  lies: Lies;
  /** What the browser was sent to it with: the nonce goes into tokens. */
  noteNonce(nonce: string): void;
  /** Paths that were asked for. */
  readonly asked: string[];
  close(): Promise<void>;
}

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export function signedToken(claims: object, key: KeyObject, header: object = { alg: 'RS256', kid: 'one' }): string {
  const signed = `${part(header)}.${part(claims)}`;
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}
export const unsignedToken = (claims: object): string => `${part({ alg: 'none' })}.${part(claims)}.`;
export function symmetricToken(claims: object, secret: string | Buffer): string {
  const signed = `${part({ alg: 'HS256', kid: 'one' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

/** `nowMs`: wall time, which is in tokens. */
export async function openLiar(clientId: string, nowMs: () => number): Promise<Liar> {
  const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const asked: string[] = [];
  let nonce = '';
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    asked.push(path);
    request.resume();
    const told = liar.lies.answers?.[path];
    if (told !== undefined) return told(request, response);
    const say = (value: unknown): void => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    if (path === '/.well-known/openid-configuration') return say({ ...description(issuer), ...liar.lies.description });
    if (path === '/keys')
      return say({ keys: [{ ...keys.publicKey.export({ format: 'jwk' }), kid: 'one', alg: 'RS256', use: 'sig' }] });
    if (path === '/userinfo') return say({ sub: 'ada', name: 'Ada', ...liar.lies.userinfo });
    if (path === '/token') {
      const now = Math.floor(nowMs() / 1_000);
      const honest = { iss: issuer, aud: clientId, sub: 'ada', nonce, iat: now, exp: now + 300 };
      const claims = { ...honest, ...liar.lies.claims };
      const token = (liar.lies.token ?? ((all, { privateKey }) => signedToken(all, privateKey)))(claims, keys);
      return say({ access_token: 'access', token_type: 'Bearer', expires_in: 300, id_token: token });
    }
    return void response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const liar: Liar = {
    issuer,
    lies: {},
    asked,
    noteNonce: (said) => {
      nonce = said;
    },
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
  return liar;
}

const description = (issuer: string): object => ({
  issuer,
  authorization_endpoint: `${issuer}/authorize`,
  token_endpoint: `${issuer}/token`,
  jwks_uri: `${issuer}/keys`,
  userinfo_endpoint: `${issuer}/userinfo`,
  response_types_supported: ['code'],
  subject_types_supported: ['public'],
  id_token_signing_alg_values_supported: ['RS256'],
  code_challenge_methods_supported: ['S256'],
  authorization_response_iss_parameter_supported: true,
});
