/**
 * GET over HTTP and HTTPS: through the proxies that the environment names, along redirects, given up when it stalls.
 *
 * The token goes to the endpoint's origin and to no other, however a redirect leads there, and nothing that began over
 * TLS goes on without it. What the answers on the way say of the file (X-Linked-Etag, X-Repo-Commit) is kept, for the
 * last one, a content network's, does not know it.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { proxiesOf, type Environment, type Settings } from './settings.ts';

/** Silence after which a connection is given up. */
const STALL_MS = 30_000;
const REDIRECTS_MAX = 8;
const CONNECTIONS_MAX = 8;

export interface Answer {
  readonly status: number;
  /** Of the last answer, and of those before it what begins with `x-`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Ends with `source_unreachable` when it stalls or breaks. To be read to its end or `drop`ped. */
  readonly body: AsyncIterable<Uint8Array>;
  drop(): void;
}

export interface Web {
  readonly settings: Settings;
  /** `path` begins with a slash. Throws `source_unreachable`, or `cancelled`. */
  get(path: string, options: { readonly headers?: Record<string, string>; signal: AbortSignal }): Promise<Answer>;
  close(): void;
}

export interface WebOptions {
  readonly settings: Settings;
  /** For HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY. */
  readonly env: Environment;
  readonly clock: Clock;
  readonly stallMs?: number;
}

export function createWeb({ settings, env, clock, stallMs = STALL_MS }: WebOptions): Web {
  const options = { keepAlive: true, maxSockets: CONNECTIONS_MAX, proxyEnv: proxiesOf(env) };
  const agents = { http: new HttpAgent(options), https: new HttpsAgent(options) };
  const endpoint = new URL(settings.endpoint);

  /** One answer to one request, as soon as its head is there. */
  function ask(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === 'https:';
      const send = secure ? httpsRequest : httpRequest;
      const sent = send(url, { headers, signal, agent: secure ? agents.https : agents.http });
      const timer = clock.after(stallMs, () => sent.destroy(silent(url, stallMs)));
      sent.once('response', (answer) => {
        timer.cancel();
        resolve(answer);
      });
      sent.once('error', (error) => {
        timer.cancel();
        reject(unreachable(url, error, signal));
      });
      sent.end();
    });
  }

  return {
    settings,
    async get(path, { headers = {}, signal }) {
      let url = new URL(`${settings.endpoint}${path}`);
      const seen: Record<string, string> = {};
      for (let hop = 0; hop <= REDIRECTS_MAX; hop++) {
        const plain = { ...headers, 'user-agent': 'idlewild', 'accept-encoding': 'identity' };
        const signed =
          settings.token !== undefined && url.origin === endpoint.origin
            ? { ...plain, authorization: `Bearer ${settings.token}` }
            : plain;
        const answer = await ask(url, signed, signal);
        const own = plainHeaders(answer.headers);
        const status = answer.statusCode ?? 500;
        const target = status >= 301 && status <= 308 && status !== 304 ? answer.headers.location : undefined;
        if (target === undefined) {
          const body = bodyOf(answer, { url, signal, clock, stallMs });
          return { status, headers: { ...seen, ...own }, body, drop: () => void answer.destroy() };
        }
        answer.resume();
        Object.assign(seen, Object.fromEntries(Object.entries(own).filter(([name]) => name.startsWith('x-'))));
        url = nextUrl(url, target);
      }
      throw new IdlewildError('source_unreachable', `${endpoint.host} redirects in circles`);
    },
    close() {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

function nextUrl(from: URL, target: string): URL {
  const url = URL.parse(target, from.href);
  const allowed =
    url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && from.protocol === 'http:'));
  if (allowed) return url;
  throw new IdlewildError(
    'source_unreachable',
    `${from.host} redirects to where nothing is fetched from: ${target.slice(0, 200)}`,
  );
}

function plainHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  const plain: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) if (typeof value === 'string') plain[name] = value;
  return plain;
}

interface Reading {
  readonly url: URL;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly stallMs: number;
}

/** The clock runs only while we wait for the other side, not while it waits for us. */
async function* bodyOf(answer: IncomingMessage, reading: Reading): AsyncGenerator<Uint8Array> {
  const { url, signal, clock, stallMs } = reading;
  const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  try {
    for (;;) {
      const timer = clock.after(stallMs, () => answer.destroy(silent(url, stallMs)));
      const next = await chunks.next().finally(() => timer.cancel());
      if (next.done === true) return;
      yield next.value;
    }
  } catch (error) {
    throw unreachable(url, error, signal);
  } finally {
    answer.destroy();
  }
}

const silent = (url: URL, stallMs: number): Error =>
  new Error(`no byte in ${Math.round(stallMs / 1_000)} s from ${url.host}`);

/** Most likely a wrong address or no network, which does not pass in half a minute. */
const NOBODY_THERE: ReadonlySet<string> = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ENETUNREACH']);

function unreachable(url: URL, cause: unknown, signal: AbortSignal): IdlewildError {
  if (signal.aborted) return new IdlewildError('cancelled', 'interrupted', { cause });
  if (cause instanceof IdlewildError) return cause;
  const { message, code } = cause as NodeJS.ErrnoException;
  // An AggregateError of several addresses has no message of its own.
  const details = NOBODY_THERE.has(code ?? '') ? { nobodyThere: true } : {};
  return new IdlewildError('source_unreachable', `${url.host}: ${message || code || 'no connection'}`, {
    cause,
    details,
  });
}
