/**
 * `fetch` for addresses that somebody else chose: an issuer that a steward typed, and what its description names.
 *
 * HTTPS only, public addresses only, and the connection goes to the very address that was looked at: a name is resolved
 * once, so one that answers differently the second time gains nothing. No redirects, no proxy, no cookies, no
 * compression; bodies and time are bounded. Where the hub itself is on loopback, plain HTTP to loopback is allowed. Who
 * runs the hub may name hosts whose addresses may be private, for HTTPS and with their port; no steward can. It knows
 * nothing of OpenID.
 */
import { lookup as lookUp } from 'node:dns/promises';
import { request as httpRequest, type ClientRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { isIP } from 'node:net';
import { IdlewildError, messageOf, type Clock } from '@idlewild/protocol';
import { SIGN_IN_LIMITS } from '../limits.ts';
import { isLoopbackAddress, isPrivateAddress, isPublicAddress } from './public-addresses.ts';

export interface GuardedRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

export type GuardedFetch = (url: string, request: GuardedRequest) => Promise<Response>;

export interface Address {
  readonly address: string;
  readonly family: number;
}

export interface GuardedFetchDeps {
  readonly clock: Pick<Clock, 'after'>;
  /** Whether this hub is reached over loopback only. */
  readonly isOnLoopback: () => boolean;
  /** Hosts with their ports, as `privatePlace` writes them, which may be in a private network. */
  readonly privatePlaces?: ReadonlySet<string> | undefined;
  /** All addresses of a name; absent: the system's. */
  readonly resolve?: ((host: string) => Promise<readonly Address[]>) | undefined;
}

const systemResolve = (host: string): Promise<readonly Address[]> => lookUp(host, { all: true, order: 'verbatim' });

export function createGuardedFetch(deps: GuardedFetchDeps): GuardedFetch {
  const { clock, isOnLoopback, privatePlaces, resolve = systemResolve } = deps;
  /** The address to connect to. One that may not be is enough to refuse the name: it is not what it says it is. */
  async function addressOf(url: URL): Promise<Address> {
    const host = url.hostname.replace(/^\[|\]$/g, '');
    const literal = isIP(host);
    const found = literal === 0 ? await resolve(host) : [{ address: host, family: literal }];
    const mayBePrivate = privatePlaces?.has(placeOf(url)) === true;
    const isAllowed = ({ address }: Address): boolean =>
      isPublicAddress(address) ||
      (isOnLoopback() && isLoopbackAddress(address)) ||
      (mayBePrivate && isPrivateAddress(address));
    const [first] = found;
    if (first === undefined) throw refused(url, 'has no address');
    if (!found.every(isAllowed)) {
      const isWithin = !mayBePrivate && found.every(({ address }) => isPrivateAddress(address));
      const hint = isWithin ? `; whoever runs the hub can allow it: idlewild up --oidc-private ${placeOf(url)}` : '';
      throw refused(url, `leads to an address that is not of the public internet${hint}`);
    }
    if (url.protocol === 'http:' && !found.every(({ address }) => isLoopbackAddress(address)))
      throw refused(url, 'is not https');
    return first;
  }

  return async (text, { method, headers, body, signal }) => {
    const url = checkedUrl(text, isOnLoopback());
    const deadline = new AbortController();
    const timer = clock.after(SIGN_IN_LIMITS.providerMsMax, () => deadline.abort());
    const signals = AbortSignal.any(signal === undefined ? [deadline.signal] : [deadline.signal, signal]);
    try {
      const address = await orAborted(addressOf(url), signals);
      const answer = await exchange(url, address, { method, headers, body: bodyText(body), signal: signals });
      return await collect(url, answer);
    } catch (error) {
      if (deadline.signal.aborted)
        throw refused(url, `did not answer within ${SIGN_IN_LIMITS.providerMsMax / 1_000} s`);
      if (error instanceof IdlewildError) throw error;
      throw refused(url, `does not answer: ${messageOf(error) || 'no connection'}`, error);
    } finally {
      timer.cancel();
    }
  };
}

/** Throws `source_unreachable` for what nothing is fetched from, whatever it resolves to. */
export function checkedUrl(text: string, isOnLoopback: boolean): URL {
  const url = URL.parse(text);
  const shown = text.slice(0, 200);
  if (url === null) throw new IdlewildError('source_unreachable', `${shown} is no address`);
  if (url.username !== '' || url.password !== '') throw refused(url, 'holds a name or a password');
  const isLocal =
    isOnLoopback && (url.hostname === 'localhost' || isLoopbackAddress(url.hostname.replace(/^\[|\]$/g, '')));
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLocal)) throw refused(url, 'is not https');
  return url;
}

const placeOf = ({ hostname, port }: URL): string => `${hostname}:${port === '' ? '443' : port}`;

/** HOST or HOST:PORT, which is 443 unless it is said, as it is compared. Throws `usage` for anything else. */
export function privatePlace(text: string): string {
  const url = URL.parse(`https://${text}`);
  if (url === null || text.includes('@') || `${url.pathname}${url.search}${url.hash}` !== '/' || /[/?#\\]/.test(text))
    throw new IdlewildError(
      'usage',
      `--oidc-private takes HOST or HOST:PORT, as in login.example.edu:8443, not ${text}`,
    );
  return placeOf(url);
}

const refused = (url: URL, why: string, cause?: unknown): IdlewildError =>
  new IdlewildError('source_unreachable', `${url.origin === 'null' ? url.protocol : url.origin} ${why}`, { cause });

function bodyText(body: unknown): string | undefined {
  if (body === undefined || body === null) return undefined;
  if (typeof body === 'string') return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new TypeError('only texts and forms are sent');
}

/** A lookup of the system cannot be broken off; nobody waits for it any more. */
function orAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new Error('given up'));
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}

interface Exchange {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

/** One answer from that address, as soon as its head is there. */
function exchange(url: URL, to: Address, { method, headers, body, signal }: Exchange): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const lookup: RequestOptions['lookup'] = (_host, options, done) => {
      if (options.all === true) done(null, [{ address: to.address, family: to.family }]);
      else done(null, to.address, to.family);
    };
    const options: RequestOptions = {
      method,
      headers: { ...headers, 'accept-encoding': 'identity', 'user-agent': 'idlewild' },
      signal,
      lookup,
      // No connection of an earlier request, which another name may have opened.
      agent: false,
      maxHeaderSize: SIGN_IN_LIMITS.providerHeaderBytesMax,
    };
    const sent: ClientRequest = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options);
    sent.once('response', resolve);
    sent.once('error', reject);
    sent.end(body);
  });
}

async function collect(url: URL, answer: IncomingMessage): Promise<Response> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of answer as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > SIGN_IN_LIMITS.providerBytesMax)
        throw refused(url, `says more than ${SIGN_IN_LIMITS.providerBytesMax} bytes`);
      chunks.push(chunk);
    }
  } finally {
    answer.destroy();
  }
  const status = answer.statusCode ?? 0;
  if (status < 200) throw refused(url, `answers with the status ${status}`);
  const headers = new Headers();
  for (const [name, value] of Object.entries(answer.headers)) if (typeof value === 'string') headers.set(name, value);
  const isEmpty = status === 204 || status === 205 || status === 304;
  return new Response(isEmpty ? null : Buffer.concat(chunks), { status, headers });
}
