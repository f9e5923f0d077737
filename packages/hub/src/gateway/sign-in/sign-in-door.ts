/**
 * What all routes of signing in share: who is signed in in a browser, how often an address may try, where passkeys
 * work, and the cookie of a session that was just opened.
 */
import { IdlewildError, asIdlewildError, codeOf, type Clock } from '@idlewild/protocol';
import { SIGN_IN_LIMITS } from '../../sign-in/limits.ts';
import type { RelyingParty } from '../../sign-in/passkeys.ts';
import type { PersonElsewhere, SignedInElsewhere } from '../../sign-in/elsewhere.ts';
import type { NewSession, SignedIn } from '../../sign-in/sessions.ts';
import type { SignIn } from '../../sign-in/sign-in.ts';
import { browserLabel } from './browser-label.ts';
import { callerAddress } from '../door/caller-address.ts';
import { createCookies, type Cookies } from './cookies.ts';
import { isOnLoopback, isSecure, originOf, type Place } from '../door/same-origin.ts';
import type { FastifyReply, FastifyRequest, Watch } from '../server.ts';
import { pathOfTerritory } from '../door/territory-path.ts';
import { createSignedIn, type Sent, type SignedInDoor } from './signed-in.ts';

export interface Attempt {
  readonly via: 'link' | 'passkey' | 'provider';
  /** The secret or the name that is tried. */
  readonly what: string;
  /** Tries of the address that it took to get here, this one among them. */
  readonly steps?: number;
}

export interface SignInDoorDeps {
  readonly signIn: SignIn;
  readonly territory: { readonly id: string; readonly name: string };
  readonly clock: Pick<Clock, 'now'>;
  readonly place: () => Place;
  /** Stands around finding out whose a session is; absent: nobody is watched. */
  readonly watch?: Watch | undefined;
}

export interface SignInDoor extends SignInDoorDeps {
  readonly cookies: Cookies;
  /** For who watches those who guess; routes use the functions below, which are watched. */
  readonly signedIn: SignedInDoor;
  /** Who is signed in, if anybody is: for pages that everybody may see. */
  look(request: FastifyRequest): Promise<SignedIn | undefined>;
  /** Path in front of everything of the territory. */
  base(): string;
  labelOf(request: FastifyRequest): string;
  addressOf(request: FastifyRequest): string;
  /** Where passkeys can be used, or where they could. */
  party(request: FastifyRequest): RelyingParty | undefined;
  elsewhere(request: FastifyRequest): string | undefined;
  /** Throws `conflict` where the browser is at an address that has no passkeys. */
  partyOrThrow(request: FastifyRequest): RelyingParty;
  /** A try to sign in: counted, and written down if it fails. `what` is tried, besides by this address. */
  attempt<Result>(request: FastifyRequest, { via, what, steps }: Attempt, act: () => Promise<Result>): Promise<Result>;
  /** The browser holds the session from now on; the one that it held before is ended. */
  letIn(request: FastifyRequest, reply: FastifyReply, session: NewSession): Promise<void>;
  /** Throws `unauthenticated` unless somebody is signed in; `forbidden` if that was a while ago. */
  recently(request: FastifyRequest, how?: 'script' | 'form'): Promise<SignedIn>;
  mustBeSignedIn(request: FastifyRequest, how?: 'script' | 'form'): Promise<SignedIn>;
  isRecent(who: Pick<SignedIn, 'session'>): boolean;
  /** Who is signed in to other communities in the same browser. */
  peopleElsewhere(request: FastifyRequest): Promise<PersonElsewhere[]>;
  /** Other communities in which this browser was signed in; `undefined` in a hub of one community. */
  placesElsewhere(request: FastifyRequest): Promise<readonly LinkedCommunity[] | undefined>;
  /** Whose these sessions of other communities are, which a program shows; each is counted. */
  shownElsewhere(request: FastifyRequest, tokens: readonly string[]): Promise<PersonElsewhere[]>;
  /** Where the same person signed in lately, too. */
  sameElsewhere(request: FastifyRequest, who: SignedIn): Promise<readonly SignedInElsewhere[]>;
}

export interface LinkedCommunity {
  readonly name: string;
  /** Path of its sign-in page. */
  readonly path: string;
}

/** What is told of tries that failed. */
const FAILURES = new Set(['unauthenticated', 'forbidden', 'conflict', 'not_found']);
const IS_ADDRESS = /^(?:\[|\d+\.\d+\.\d+\.\d+$)/;

export function createSignInDoor(deps: SignInDoorDeps): SignInDoor {
  const { signIn, territory, clock, place } = deps;
  const cookies = createCookies(territory.id, () => isSecure(place()));
  const signedIn = createSignedIn({ sessions: signIn.sessions, cookies, place });
  /** Read once for each address that the hub has: it has none before it listens. */
  let read: { readonly url: string; readonly isLocal: boolean; readonly base: string } | undefined;
  function known(): { readonly isLocal: boolean; readonly base: string } {
    const { url } = place();
    if (read?.url !== url)
      read = { url, isLocal: isOnLoopback(place()), base: new URL(url).pathname.replace(/\/$/, '') };
    return read;
  }
  const addressOf = (request: FastifyRequest): string => {
    // Needed by whatever connects to providers.
    signIn.place.isOnLoopback = known().isLocal;
    return callerAddress(request.raw, place().isBehindBalancer);
  };
  const isRecent: SignInDoor['isRecent'] = ({ session }) =>
    clock.now() - session.signedInAtMs <= SIGN_IN_LIMITS.recentMs;

  /** Whoever makes up sessions is to find this slow wherever they are looked up. */
  async function watched(request: FastifyRequest, sent: Sent, how?: 'script' | 'form'): Promise<SignedIn | undefined> {
    const shown = signedIn.shown(sent);
    const find = (): Promise<SignedIn | undefined> => signedIn.find(sent, how);
    return shown === undefined || deps.watch === undefined ? find() : deps.watch(request, shown, find);
  }
  const orNobody = (thrown: unknown): undefined => {
    if (codeOf(thrown) !== 'unauthenticated') throw thrown;
  };
  const inBrowser = ({ headers }: FastifyRequest): Sent => ({ method: 'GET', headers: { cookie: headers.cookie } });

  async function mustBeSignedIn(request: FastifyRequest, how?: 'script' | 'form'): Promise<SignedIn> {
    const who = await watched(request, request, how);
    if (who === undefined)
      throw new IdlewildError('unauthenticated', 'this is for somebody who is signed in; sign in first');
    return who;
  }

  function party({ headers }: FastifyRequest): RelyingParty | undefined {
    const origin = originOf(place(), headers);
    const { hostname } = new URL(origin);
    // Browsers have passkeys for names only, and only over TLS or on this machine.
    if (IS_ADDRESS.test(hostname) || !(isSecure(place()) || hostname === 'localhost')) return undefined;
    return { id: hostname, origin, name: territory.name };
  }

  const peopleElsewhere: SignInDoor['peopleElsewhere'] = async (request) => {
    const tokens = cookies.sessionsElsewhere(request.headers.cookie);
    if (tokens.length === 0) return [];
    const looks = Math.min(tokens.length, SIGN_IN_LIMITS.sessionsElsewhereMax);
    await signIn.throttle.check('askers', addressOf(request), SIGN_IN_LIMITS.asksPerMinute, looks);
    return signIn.elsewhere.people(tokens);
  };

  return {
    ...deps,
    cookies,
    signedIn,
    look: (request) => watched(request, inBrowser(request)).catch(orNobody),
    addressOf,
    isRecent,
    mustBeSignedIn,
    party,
    peopleElsewhere,
    async placesElsewhere(request) {
      const places = await signIn.elsewhere.places(cookies.territoriesElsewhere(request.headers.cookie));
      const { base } = known();
      const own = pathOfTerritory(territory.id);
      const root = base.endsWith(own) ? base.slice(0, -own.length) : base;
      return places?.map(({ id, name }) => ({ name, path: `${root}${pathOfTerritory(id)}/sign-in` }));
    },
    async shownElsewhere(request, tokens) {
      const { sessionsShownPerMinute } = SIGN_IN_LIMITS;
      await signIn.throttle.check('sessions', addressOf(request), sessionsShownPerMinute, tokens.length);
      return signIn.elsewhere.people(tokens);
    },
    async sameElsewhere(request, { session }) {
      const same = (await peopleElsewhere(request)).find(({ person }) => person === session.person);
      return (same?.sessions ?? []).filter(isRecent);
    },
    base: () => known().base,
    labelOf: ({ headers }) => browserLabel(headers['user-agent'] ?? ''),
    elsewhere(request) {
      const url = new URL(place().url);
      if (party(request) !== undefined || !isOnLoopback(place())) return undefined;
      url.hostname = 'localhost';
      return `${url.href.replace(/\/$/, '')}/sign-in`;
    },
    partyOrThrow(request) {
      const found = party(request);
      if (found !== undefined) return found;
      throw new IdlewildError('conflict', 'passkeys need a hub that is reached by a name, over TLS or as localhost');
    },
    async attempt(request, { via, what, steps = 1 }, act) {
      const address = addressOf(request);
      await signIn.throttle.check('address', address, SIGN_IN_LIMITS.triesPerMinute);
      await signIn.throttle.check('secret', `${via} ${what.slice(0, 256)}`, SIGN_IN_LIMITS.triesOnOnePerMinute);
      try {
        const done = await act();
        await signIn.throttle.giveBack('address', address, SIGN_IN_LIMITS.triesPerMinute, steps);
        return done;
      } catch (thrown) {
        if (FAILURES.has(codeOf(thrown) ?? ''))
          await signIn.noteFailure(asIdlewildError(thrown, 'signing in'), { address, via });
        throw thrown;
      }
    },
    async letIn(request, reply, session) {
      const before = await signedIn.find(inBrowser(request)).catch(orNobody);
      if (before !== undefined) {
        const { personId: person } = before.principal;
        await signIn.sessions.end({ actor: person, person, id: before.session.id });
      }
      void reply.header('set-cookie', cookies.set('session', session.token, session.expiresAtMs - clock.now()));
    },
    async recently(request, how) {
      const who = await mustBeSignedIn(request, how);
      if (isRecent(who)) return who;
      throw new IdlewildError('forbidden', 'to change how you sign in, sign in once more: it was a while ago');
    },
  };
}
