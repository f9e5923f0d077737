/**
 * Who is signed in, of a request: by `Authorization: Bearer iws_…`, which programs send, or by a browser's cookie.
 *
 * What comes by cookie and could change something must come from a page of this hub (`same-origin.ts`). A request with
 * a key carries no session, whatever cookies it has.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { SignIn } from '../../sign-in/sign-in.ts';
import type { SignedIn } from '../../sign-in/sessions.ts';
import type { Cookies } from './cookies.ts';
import { checkSameOrigin, checkScript, type Place } from '../door/same-origin.ts';

/** What of a request says who sends it. */
export interface Sent {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
}

export interface SignedInDoor {
  /** The session that its cookies hold, or a program sends, whether it is one or not. */
  shown(request: Pick<Sent, 'headers'>): string | undefined;
  /**
   * `undefined` where it carries no session. Throws `unauthenticated`, or `forbidden` for another site's.
   * `evenSuspended`: for what somebody who is suspended may still do.
   */
  find(request: Sent, how?: 'script' | 'form', evenSuspended?: boolean): Promise<SignedIn | undefined>;
}

export interface SignedInDeps {
  readonly sessions: Pick<SignIn['sessions'], 'authenticate'>;
  readonly cookies: Cookies;
  readonly place: () => Place;
}

const BEARER = /^Bearer +(iws_\S+)$/i;
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

export function createSignedIn({ sessions, cookies, place }: SignedInDeps): SignedInDoor {
  const shown: SignedInDoor['shown'] = ({ headers: { authorization, cookie } }) =>
    authorization === undefined ? cookies.read(cookie, 'session') : BEARER.exec(authorization)?.[1];
  return {
    shown,
    async find({ method, headers }, how = 'script', evenSuspended = false) {
      const token = shown({ headers });
      if (token === undefined) return undefined;
      if (headers.authorization === undefined && !SAFE.has(method))
        (how === 'form' ? checkSameOrigin : checkScript)(place(), headers);
      return sessions.authenticate(token, evenSuspended);
    },
  };
}
