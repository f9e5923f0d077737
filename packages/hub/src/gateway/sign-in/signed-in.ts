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
  /** The session that its cookies hold, whether it is one or not. */
  shown(request: Pick<Sent, 'headers'>): string | undefined;
  /**
   * `undefined` where it carries no session. Throws `unauthenticated`, or `forbidden` for another site's.
   * `evenSuspended`: for what somebody who is suspended may still do.
   */
  find(request: Sent, how?: 'script' | 'form', evenSuspended?: boolean): Promise<SignedIn | undefined>;
  /** The same, and `undefined` for a session that is over: for pages that everybody may see. */
  look(request: Sent): Promise<SignedIn | undefined>;
}

export interface SignedInDeps {
  readonly sessions: Pick<SignIn['sessions'], 'authenticate'>;
  readonly cookies: Cookies;
  readonly place: () => Place;
}

const BEARER = /^Bearer +(iws_\S+)$/i;
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS']);

export function createSignedIn({ sessions, cookies, place }: SignedInDeps): SignedInDoor {
  const shown: SignedInDoor['shown'] = ({ headers }) => cookies.read(headers.cookie, 'session');
  return {
    shown,
    async find({ method, headers }, how = 'script', evenSuspended = false) {
      const { authorization } = headers;
      if (authorization !== undefined) {
        const bearer = BEARER.exec(authorization)?.[1];
        return bearer === undefined ? undefined : sessions.authenticate(bearer, evenSuspended);
      }
      const token = shown({ headers });
      if (token === undefined) return undefined;
      if (!SAFE.has(method)) (how === 'form' ? checkSameOrigin : checkScript)(place(), headers);
      return sessions.authenticate(token, evenSuspended);
    },
    async look({ headers }) {
      const token = shown({ headers });
      if (token === undefined) return undefined;
      try {
        return await sessions.authenticate(token);
      } catch (error) {
        if ((error as { code?: string }).code === 'unauthenticated') return undefined;
        throw error;
      }
    },
  };
}
