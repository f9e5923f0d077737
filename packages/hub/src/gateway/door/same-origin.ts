/**
 * Where browsers reach this hub, and whether a request comes from a page of its own.
 *
 * A browser sends a session's cookie also with what another site makes it send. What changes something therefore has to
 * be shown to come from here: by `Sec-Fetch-Site` and `Origin`, which no page can set, and where a script sends it, by
 * a header that another origin's script may not send unasked. A browser that says neither is too old to be believed.
 * Requests with a bearer need none of it: no browser adds one by itself.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { IdlewildError } from '@idlewild/protocol';

export interface Place {
  /** Where the hub tells others that it is, `https://host[:port][/t/…]`. */
  readonly url: string;
  /** Something between browsers and the hub ends TLS and may rewrite `Host`. */
  readonly isBehindBalancer: boolean;
}

/** What a script of ours sends with every request that changes something. */
export const SCRIPT_HEADER = 'x-idlewild-request';

const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost'];

/** Over loopback a hub has three names. */
function ownOrigins({ url }: Place): string[] {
  const { origin, protocol, hostname, port } = new URL(url);
  if (!LOOPBACK.includes(hostname)) return [origin];
  return LOOPBACK.map((name) => new URL(`${protocol}//${name}${port === '' ? '' : `:${port}`}`).origin);
}

export const isOnLoopback = ({ url }: Place): boolean => LOOPBACK.includes(new URL(url).hostname);
export const isSecure = ({ url }: Place): boolean => url.startsWith('https:');

/** The origin that this browser sees, if it is one of ours; else the one that we tell. */
export function originOf(place: Place, headers: IncomingHttpHeaders): string {
  const origins = ownOrigins(place);
  const seen = `${new URL(place.url).protocol}//${headers.host ?? ''}`;
  return origins.find((origin) => origin === seen) ?? new URL(place.url).origin;
}

/** Throws `forbidden` for what another site may have made a browser send. */
export function checkSameOrigin(place: Place, headers: IncomingHttpHeaders): void {
  const { origin } = headers;
  const site = headers['sec-fetch-site'];
  if (site !== undefined && site !== 'same-origin' && site !== 'none') throw foreign(`Sec-Fetch-Site: ${site}`);
  if (origin === undefined) {
    if (site === undefined) throw foreign('neither Origin nor Sec-Fetch-Site');
    return;
  }
  if (!isOwnOrigin(place, headers)) throw foreign(`Origin: ${origin}`);
}

/** Whether it was sent by a page that is here, by what its `Origin` says. */
export function isOwnOrigin(place: Place, { origin, host }: IncomingHttpHeaders): boolean {
  if (origin === undefined) return false;
  if (ownOrigins(place).includes(origin)) return true;
  // By another name of this machine. A cookie goes to the host that set it and to no other.
  return !place.isBehindBalancer && origin === `${new URL(place.url).protocol}//${host ?? ''}`;
}

/** The same for what a script sends. */
export function checkScript(place: Place, headers: IncomingHttpHeaders): void {
  checkSameOrigin(place, headers);
  if (headers[SCRIPT_HEADER] === undefined) throw foreign(`no ${SCRIPT_HEADER}`);
}

const foreign = (seen: string): IdlewildError =>
  new IdlewildError(
    'forbidden',
    `this request does not come from a page of this hub (${seen.slice(0, 200)}); open its sign-in page and try there`,
  );
