/**
 * Who may use a port on this machine: whoever has its token, asks for it by a name of this machine, and is no web page.
 *
 * Any page in a browser here can send requests to loopback, and make its own name resolve to it (DNS rebinding), so
 * the Host header has to be one that this port was opened under, and a request that comes from a page is refused.
 * Other people on the same machine are kept out by the token.
 */
import { IdlewildError, equalBytes, utf8 } from '@idlewild/protocol';

export interface GuardOptions {
  readonly token: string;
  /** Names under which it may be asked for besides loopback's: what it was told to listen on. */
  readonly host: string;
}

const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]']);
const ANY: ReadonlySet<string> = new Set(['0.0.0.0', '::', '[::]']);

export const isLoopbackName = (host: string): boolean =>
  LOOPBACK.has(host) || host === '::1' || host.startsWith('127.');

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** Throws `forbidden` or `unauthenticated`. */
export function createGuard({ token, host }: GuardOptions): (request: { readonly headers: Headers }) => void {
  const expected = utf8(token);
  return ({ headers }) => {
    const asked = nameIn(headers.host);
    // Whoever told it to listen on every address has told it to be asked for under any.
    const isOwn = LOOPBACK.has(asked) || asked === host.toLowerCase() || asked === `[${host}]` || ANY.has(host);
    if (!isOwn)
      throw new IdlewildError('forbidden', `this port is not ${asked || 'without a name'}; ask it as 127.0.0.1`);
    const site = headers['sec-fetch-site'];
    if (headers.origin !== undefined || (site !== undefined && site !== 'none'))
      throw new IdlewildError('forbidden', 'web pages may not use this port; programs on this machine may');
    const bearer = /^Bearer +(\S+)$/i.exec(String(headers.authorization ?? ''))?.[1] ?? '';
    if (!equalBytes(utf8(bearer), expected))
      throw new IdlewildError('unauthenticated', 'this port has a token of its own; `idlewild proxy` prints it');
  };
}

/** Without its port. */
const nameIn = (host: string | string[] | undefined): string =>
  String(host ?? '')
    .toLowerCase()
    .replace(/:\d+$/, '');
