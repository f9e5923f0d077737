/**
 * One HTTP exchange with a hub: the address, the key, and every failure as an `IdlewildError`.
 *
 * It is handed `fetch` (the web standard's) and knows no platform. It neither retries nor waits: whether and when to
 * try again is the caller's to say, who also sets deadlines, through the signal.
 */
import {
  IdlewildError,
  asIdlewildError,
  codeOf,
  isErrorCode,
  type DataClass,
  type ErrorCode,
} from '@idlewild/protocol';

export type Fetch = typeof fetch;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  /**
   * Names a question for an answer: asked again under the same name, it is not answered twice but gives the same
   * answer, for ten minutes. Take a new one for each question. A stream without one is given one, which nobody else
   * knows: it is what lets a broken stream go on. One that you give lets you hang up and come again yourself.
   */
  readonly idempotencyKey?: string | undefined;
  /** How far the texts may go; absent: as the key is for. Never less delicate than that. */
  readonly dataClass?: DataClass | undefined;
  /** What it is for, as a slug such as `climate`: lenders may lend for it alone, or refuse it. */
  readonly purpose?: string | undefined;
}

export interface StreamOptions extends CallOptions {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Of the last event that is not to come again. */
  readonly lastEventId?: string | undefined;
}

export interface HubConnection {
  /** The address without a slash at its end. */
  readonly hub: string;
  /** Sends `body` as JSON, and reads JSON. */
  json<Result>(method: string, path: string, body?: unknown, options?: StreamOptions): Promise<Result>;
  put(path: string, bytes: Uint8Array, options?: CallOptions): Promise<void>;
  /** The response, once its status is a good one. */
  open(method: string, path: string, body: unknown, accept: string, options?: StreamOptions): Promise<Response>;
}

export function createHubConnection(hub: string, key: string | undefined, fetch: Fetch): HubConnection {
  const base = hubAddress(hub);

  const exchange = async (
    method: string,
    path: string,
    init: RequestInit,
    options: StreamOptions,
  ): Promise<Response> => {
    const headers = new Headers(init.headers);
    if (key !== undefined) headers.set('authorization', `Bearer ${key}`);
    const { signal, idempotencyKey, lastEventId, dataClass, purpose } = options;
    for (const [name, value] of Object.entries(options.headers ?? {})) headers.set(name, value);
    if (idempotencyKey !== undefined) headers.set('idempotency-key', idempotencyKey);
    if (lastEventId !== undefined) headers.set('last-event-id', lastEventId);
    if (dataClass !== undefined) headers.set('idlewild-data-class', dataClass);
    if (purpose !== undefined) headers.set('idlewild-purpose', purpose);
    let response: Response;
    try {
      // A hub that could send us on would have us ask, with a body, whatever can be reached from here.
      const how = { method, headers, redirect: 'manual' } as const;
      response = await fetch(base + path, { ...init, ...how, ...(signal === undefined ? {} : { signal }) });
    } catch (thrown) {
      throw faultOf(thrown, base, signal);
    }
    if (isRedirect(response)) throw redirected(base, response);
    if (!response.ok) throw await refusalOf(response, `${method} ${base}${path}`);
    return response;
  };

  const send = (
    method: string,
    path: string,
    body: unknown,
    accept: string,
    options: StreamOptions,
  ): Promise<Response> =>
    exchange(
      method,
      path,
      {
        headers: { accept, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      },
      options,
    );

  return {
    hub: base,
    open: (method, path, body, accept, options = {}) => send(method, path, body, accept, options),
    async json<Result>(method: string, path: string, body?: unknown, options: StreamOptions = {}) {
      const response = await send(method, path, body, 'application/json', options);
      const text = await response.text().catch((thrown: unknown) => {
        throw faultOf(thrown, base, options.signal);
      });
      return (text === '' ? undefined : parseAnswer(text, `${method} ${base}${path}`)) as Result;
    },
    async put(path, bytes, options = {}) {
      const headers = { 'content-type': 'application/octet-stream' };
      const response = await exchange('PUT', path, { headers, body: bytes as Uint8Array<ArrayBuffer> }, options);
      // A connection is free for the next request only when its answer has been read.
      await response.arrayBuffer().catch((thrown: unknown) => {
        throw faultOf(thrown, base, options.signal);
      });
    },
  };
}

/** Throws `usage` for what is not the address of a hub. */
export function hubAddress(text: string): string {
  const parsed = URL.parse(text.trim());
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
    throw new IdlewildError('usage', `"${text}" is not a hub's address; write it like http://127.0.0.1:7860`);
  }
  return (parsed.origin + parsed.pathname).replace(/\/+$/, '');
}

function parseAnswer(text: string, asked: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `${asked} was answered with something that is not JSON; is that address a hub?`;
    throw new IdlewildError('internal', message, { cause });
  }
}

/** What `fetch` or the reading of a body threw: the caller's own abort, or the network's fault. */
export function faultOf(thrown: unknown, hub: string, signal: AbortSignal | undefined): IdlewildError {
  if (signal?.aborted === true) return abortOf(signal);
  // A `fetch` of our own, such as one that pins keys, says itself what it saw.
  if (codeOf(thrown) !== undefined) return asIdlewildError(thrown, `calling ${hub}`);
  const reason = reasonOf(thrown);
  return new IdlewildError('hub_unreachable', `no hub answers at ${hub} (${reason})`, { cause: thrown });
}

export function abortOf(signal: AbortSignal): IdlewildError {
  const { reason } = signal as { reason: unknown };
  if ((reason as { name?: string } | undefined)?.name === 'TimeoutError') {
    return new IdlewildError('deadline_exceeded', 'the hub did not answer in time', { cause: reason });
  }
  if ((reason as { name?: string } | undefined)?.name !== 'AbortError') return asIdlewildError(reason, 'calling a hub');
  return new IdlewildError('cancelled', 'the call was cancelled', { cause: reason });
}

/** The words of the deepest cause: platforms wrap them as "fetch failed". */
function reasonOf(thrown: unknown): string {
  let deepest = thrown as { code?: string; message?: string; cause?: unknown; errors?: readonly unknown[] };
  for (let depth = 0; depth < 8; depth++) {
    const inner = deepest.cause ?? deepest.errors?.[0];
    if (typeof inner !== 'object' || inner === null) break;
    deepest = inner;
  }
  const known: Readonly<Record<string, string>> = {
    ECONNREFUSED: 'the connection was refused',
    ENOTFOUND: 'no such host',
    DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is its own, and its address was given without #pin=',
    EAI_AGAIN: 'its name could not be resolved',
    ECONNRESET: 'the connection was cut',
    ETIMEDOUT: 'it does not respond',
    EHOSTUNREACH: 'there is no way to that host',
    UND_ERR_CONNECT_TIMEOUT: 'it does not respond',
    UND_ERR_SOCKET: 'the connection was cut',
  };
  return (
    known[deepest.code ?? ''] ??
    (deepest.message === undefined || deepest.message === '' ? String(thrown) : deepest.message)
  );
}

const CODE_OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  400: 'invalid_request',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'not_found',
  409: 'conflict',
  413: 'body_too_large',
  415: 'unsupported_media_type',
  429: 'too_busy',
  502: 'hub_unreachable',
  503: 'hub_unreachable',
  504: 'deadline_exceeded',
};

/** Browsers say no more than that it is one. */
const isRedirect = ({ type, status }: Response): boolean =>
  type === 'opaqueredirect' || (status >= 300 && status < 400);

function redirected(hub: string, response: Response): IdlewildError {
  void response.body?.cancel();
  const to = response.headers.get('location');
  const where = to === null ? 'elsewhere' : `to ${to.slice(0, 200)}`;
  return new IdlewildError(
    'hub_untrusted',
    `${hub} sends us ${where}, and nobody goes there; give the hub's own address`,
  );
}

/** A response that is no success. Its body may come from something between us and the hub, and be anything. */
async function refusalOf(response: Response, asked: string): Promise<IdlewildError> {
  const text = await response.text().catch(() => '' /* the status alone says enough */);
  const error = errorIn(text);
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  const details = Number.isFinite(seconds) ? { retryAfterSeconds: seconds } : {};
  if (error !== undefined) return errorOfBody(error, details);
  const code = CODE_OF_STATUS[response.status] ?? (response.status < 500 ? 'invalid_request' : 'internal');
  const by = code === 'hub_unreachable' ? ' by what is before the hub, which finds none that is ready' : '';
  return new IdlewildError(code, `${asked} was answered with status ${response.status}${by}`, { details });
}

interface CarriedError {
  readonly message?: unknown;
  readonly code?: unknown;
  readonly param?: unknown;
  readonly details?: unknown;
}

function errorIn(text: string): CarriedError | undefined {
  try {
    const { error } = JSON.parse(text) as { error?: CarriedError };
    return typeof error === 'object' && typeof error.message === 'string' ? error : undefined;
  } catch {
    return undefined; // Not a hub's words: the status has to do.
  }
}

/** An error in OpenAI's shape, with its code kept. */
export function errorOfBody(error: CarriedError, more: Readonly<Record<string, unknown>> = {}): IdlewildError {
  const code = isErrorCode(error.code) ? error.code : 'internal';
  const said = typeof error.details === 'object' ? { ...error.details, ...more } : more;
  const details = typeof error.param === 'string' ? { ...said, param: error.param } : said;
  return new IdlewildError(code, String(error.message), { details });
}
