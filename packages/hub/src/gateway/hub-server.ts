/** The hub's doors put together: all routes on one server, over a hub that is wired already. */
import type { ServerOptions as TlsServerOptions } from 'node:https';
import { ERRORS, encodeInvite, type Clock, type ErrorCode, type IdlewildError, type Random } from '@idlewild/protocol';
import type { Hub } from '../hub.ts';
import type { Log } from '../log.ts';
import type { Register } from '../replicas/register.ts';
import { HUB_VERSION } from '../version.ts';
import { callerAddress } from './door/caller-address.ts';
import { callerHooks } from './asking/caller-hooks.ts';
import { createCarried } from './door/carried.ts';
import type { Metrics } from './metrics.ts';
import { createOtherOrigins } from './door/other-origins.ts';
import { apiRoutes } from './routes/api.ts';
import { auditRoutes } from './routes/audit.ts';
import { blobRoutes } from './routes/blobs.ts';
import { callerRoutes } from './routes/callers.ts';
import { embeddingsRoutes } from './routes/embeddings.ts';
import { createGuesses, type Guesses } from './door/guesses.ts';
import { healthRoutes } from './routes/health.ts';
import { projectRoutes } from './routes/projects.ts';
import { policyRoutes } from './routes/policy.ts';
import { runRoutes } from './routes/runs.ts';
import { signInPageRoutes } from './sign-in/routes-pages.ts';
import { signInStewardRoutes } from './sign-in/routes-stewards.ts';
import { signInRoutes } from './sign-in/routes.ts';
import { sealedRoutes } from './routes/sealed.ts';
import { spendingRoutes } from './routes/spending.ts';
import { territoryRoute } from './routes/territory.ts';
import { territoryRoutes, type TerritoryRoutesDeps } from './routes/territories.ts';
import { trustRoutes } from './routes/trust.ts';
import { useRoutes } from './routes/use.ts';
import { v1Routes } from './routes/v1.ts';
import { wellKnownRoutes } from './routes/well-known.ts';
import { pathOfTerritory } from './door/territory-path.ts';
import { createServer, type App, type ServerDeps, type Watch } from './server.ts';
import { isSecure, type Place } from './door/same-origin.ts';
import { createSignInDoor } from './sign-in/sign-in-door.ts';
import { createClosedCommunities } from '../house/closed.ts';

export interface HubServerDeps {
  readonly hub: Hub;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly tls: TlsServerOptions | undefined;
  readonly listener?: ServerDeps['listener'];
  readonly onStanding?: ServerDeps['onStanding'];
  /** Of the whole process; absent: this server counts for itself. */
  readonly guesses?: Guesses | undefined;
  /** Where this is the first territory of a hub that can have others. */
  readonly territories?: TerritoryRoutesDeps | undefined;
  /** Another territory of this process, for lenders whose devices are there; absent: there is none. */
  readonly elsewhere?: ((territory: string) => Pick<Hub, 'sessions'> | undefined) | undefined;
  /** Origins whose web pages may ask with a key, `*` for all; absent: none (`other-origins.ts`). */
  readonly otherOrigins?: readonly string[] | undefined;
  /** Replicas that share the database. */
  readonly register: Pick<Register, 'list'>;
  /** Whether balancers are to send anything here. */
  readonly isReady: () => Promise<boolean>;
  /** Nobody is to come again over the connection that he has. */
  readonly isLeaving: () => boolean;
  /** Why no more answers are begun at the moment. */
  readonly refusal: () => IdlewildError | undefined;
  /**
   * Where devices reach this hub, once it listens; the pin where they reach its own TLS, `session` where something
   * between them and the hub ends TLS.
   */
  readonly address: () => { readonly url: string; readonly pin?: Uint8Array; readonly session?: boolean };
}

const placeOf = ({ url, session }: ReturnType<HubServerDeps['address']>): Place => ({
  url,
  isBehindBalancer: session === true,
});

/** Where the territory is reached, as its invites and its paths say. */
function addressesOf({ territory: { id, publicKey } }: Hub, address: HubServerDeps['address']) {
  const own = pathOfTerritory(id);
  return {
    base: () => (address().url.endsWith(own) ? own : ''),
    inviteToken(secret: Uint8Array) {
      const reached = address();
      return { url: reached.url, token: encodeInvite({ ...reached, secret, territory: publicKey }) };
    },
  };
}

/** With the name that it has by now. */
const namedTerritory = ({ territory }: Hub) => ({
  id: territory.id,
  get name() {
    return territory.name;
  },
});

function watchOf(territory: string, guesses: Guesses, address: HubServerDeps['address']): Watch {
  return ({ raw }, secret, act) => {
    const from = callerAddress(raw, address().session === true);
    return guesses.watch({ territory, address: from, secret }, act);
  };
}

export async function createHubServer({
  hub,
  metrics,
  territories,
  elsewhere,
  otherOrigins: origins = [],
  register,
  isReady,
  address,
  ...shell
}: HubServerDeps): Promise<App> {
  const { clock, random, log } = shell;
  const { base, inviteToken } = addressesOf(hub, address);
  const territory = namedTerritory(hub);
  const carried = createCarried(random);
  const watch = watchOf(territory.id, shell.guesses ?? createGuesses(shell), address);
  const door = createSignInDoor({ ...hub, territory, clock, place: () => placeOf(address()), watch });
  return createServer(
    {
      ...hub,
      ...shell,
      territory: territory.id,
      version: HUB_VERSION,
      signedIn: door.signedIn,
      watch,
      // What is known to no community that is served is asked of the first.
      closed: territories && createClosedCommunities({ ...hub, clock, isSecure: () => isSecure(placeOf(address())) }),
      carried,
      meetOtherOrigins: createOtherOrigins({ origins, place: () => placeOf(address()) }),
      onRefused: (code) => countRefused(hub, code),
    },
    [
      callerHooks({ ...hub, carried, clock, log }),
      v1Routes({ ...hub, territory, hub: hub.id, clock, random }),
      runRoutes(hub),
      embeddingsRoutes({ ...hub, territory, hub: hub.id, clock }),
      sealedRoutes({ ...hub, territory, clock }),
      apiRoutes({
        ...hub,
        territory,
        hub: hub.id,
        version: HUB_VERSION,
        replicas: () => register.list(),
        startedAtMs: clock.now(),
        nowMs: () => clock.now(),
        onModelsChanged: () => hub.announceModels(),
        inviteToken,
        invitePlace: () => ({ ...address(), territory: hub.territory.publicKey }),
        sessionsIn: (id) => (id === territory.id ? hub : elsewhere?.(id))?.sessions,
      }),
      auditRoutes(hub),
      useRoutes({ ...hub, territory }),
      trustRoutes({ ...hub, territory }),
      callerRoutes({ ...hub, territory, nowMs: () => clock.now() }),
      projectRoutes({ ...hub, territory, nowMs: () => clock.now() }),
      spendingRoutes({ ...hub, territory, nowMs: () => clock.now() }),
      policyRoutes({ ...hub, territory, clock }),
      territoryRoute(hub),
      blobRoutes({ store: hub.held, blobs: hub.blobs }),
      signInRoutes(door),
      signInStewardRoutes(door),
      signInPageRoutes(door),
      healthRoutes({ metrics, isReady }),
      ...(territories === undefined ? [] : [territoryRoutes(territories)]),
      wellKnownRoutes({ hub: hub.id, version: HUB_VERSION, territory: hub.territory, pin: () => address().pin, base }),
    ],
  );
}

/** What the rules of use refused is counted where it is kept; faults of requests are no refusals. */
function countRefused({ refusals }: Hub, code: ErrorCode): void {
  if (code !== 'use_refused' && [401, 402, 403, 429, 503].includes(ERRORS[code].status)) refusals.count(code);
}
