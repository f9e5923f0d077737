/**
 * The HTTP door: every request is authenticated, authorised and parsed before a handler sees it.
 *
 * A route names its action of the policy, or says `public` in so many words; one that does neither cannot be
 * registered. Handlers get a principal and trusted types. OpenAPI comes from the same schemas.
 */
import type { ServerOptions as TlsServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import swagger from '@fastify/swagger';
import {
  IdlewildError,
  codeOf,
  newId,
  type Clock,
  type ErrorCode,
  type MaybePromise,
  type Random,
} from '@idlewild/protocol';
import fastify, {
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type FastifyServerFactory,
} from 'fastify';
import {
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod';
import type { Decision } from '../audit/decisions.ts';
import type { Keys } from '../identity/keys.ts';
import type { Principal } from '../identity/principal.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { ClosedCommunities } from '../house/closed.ts';
import type { Log } from '../log.ts';
import { ACTIONS, isOfSuspended, type Action } from '../policy/actions.ts';
import type { Policy, Resource } from '../policy/port.ts';
import type { TicketHolders } from '../identity/ticket-holders.ts';
import type { Carried, CarriedRun } from './door/carried.ts';
import { isDialling } from './door/device-socket.ts';
import { sendError, translate } from './errors.ts';
import type { MeetOtherOrigins } from './door/other-origins.ts';
import { PATIENCE, patientServer, type Patience, type PatientServer } from './door/patience.ts';
import type { SignedInDoor } from './sign-in/signed-in.ts';
import { checkSaidOnce } from './door/said-once.ts';
import { checkTexts } from './door/whole-texts.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What the policy is asked; `public` routes tell nothing about the territory. */
    action?: Action | 'public';
    /**
     * On what: which one of its kind, and whatever else the path says of it. `later`: the handler asks again when it
     * knows. Needed where the action is on anything but the territory.
     */
    resource?: 'later' | ((request: FastifyRequest) => MaybePromise<Partial<Resource>>);
  }
  interface FastifyInstance {
    readonly routeTable: readonly TableRoute[];
  }
  interface FastifyRequest {
    principal: Principal | undefined;
    /** What this request carries out, where it came under an Idempotency-Key. */
    run: CarriedRun | undefined;
  }
}

/** A route and what it asks the policy, for whoever makes a table of them. */
export interface TableRoute {
  readonly method: string;
  readonly url: string;
  readonly action: Action | 'public';
  /** On the territory, on one thing that the path names, or on something that the handler asks about. */
  readonly on: 'territory' | 'thing' | 'later';
}

export type App = FastifyInstance;
/** For registering routes with schemas. */
export const typed = (app: App) => app.withTypeProvider<ZodTypeProvider>();

export type Watch = <Found>(request: FastifyRequest, secret: string, act: () => Promise<Found>) => Promise<Found>;

export interface ServerDeps {
  readonly keys: Keys;
  readonly policy: Pick<Policy, 'check'>;
  readonly announcePeople: () => void;
  readonly ticketHolders: TicketHolders;
  readonly territory: string;
  readonly carried: Carried;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly version: string;
  readonly tls: TlsServerOptions | undefined;
  /** With those who are slow; absent: as the limits have it. */
  readonly patience?: Patience | undefined;
  /** What listens in its place, where one door is in front of several; see `front.ts`. */
  readonly listener?: FastifyServerFactory | undefined;
  /** Who is signed in; absent: nobody signs in here. */
  readonly signedIn?: SignedInDoor | undefined;
  /** Pages of other origins that may ask; absent: none. */
  readonly meetOtherOrigins?: MeetOtherOrigins | undefined;
  /** Stands around finding out whose a secret is, and slows who guesses (`guesses.ts`); absent: nobody is watched. */
  readonly watch?: Watch | undefined;
  /** Of what is known nowhere here, whether it is of a closed community; absent: there are none. */
  readonly closed?: ClosedCommunities | undefined;
  /** Told whether who asks over a connection turned out to be somebody. */
  readonly onStanding?: ((socket: Socket, isKnown: boolean) => void) | undefined;
  /** Told of whoever used a route, and of what was refused. Waits for nothing and throws nothing. */
  readonly onDecision?: ((decision: Decision) => void) | undefined;
  /** Told of the code of every answer that was refused, for the statistics. */
  readonly onRefused?: ((code: ErrorCode) => void) | undefined;
  /** Nobody is to come again over the connection that he has. */
  readonly isLeaving: () => boolean;
  /** Why no more answers are begun at the moment. */
  readonly refusal: () => IdlewildError | undefined;
}

function serverOptions({ patience = PATIENCE, tls }: ServerDeps): PatientServer {
  const { http, https, ...rest } = patientServer(patience, tls);
  const upgrades = { shouldUpgradeCallback: isDialling };
  return https === undefined
    ? { ...rest, http: { ...http, ...upgrades } }
    : { ...rest, https: { ...https, ...upgrades } };
}

/** What is answered is for who asked: nothing between keeps it, and no browser takes it for a page. */
const NOBODYS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' } as const;

const BEARER = /^Bearer +(\S+)$/i;

export async function createServer(deps: ServerDeps, routes: readonly ((app: App) => void)[]): Promise<App> {
  const { log, random, carried } = deps;
  const app = fastify({
    bodyLimit: HUB_LIMITS.bodyBytesMax,
    // A run has the same on whichever replica it is carried out, for it is in the answer.
    genReqId: ({ headers }) => carried.of(headers)?.run.requestId ?? newId('req', random),
    logger: false,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
    ...serverOptions(deps),
    ...(deps.listener === undefined ? {} : { serverFactory: deps.listener }),
  }) as unknown as App;
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.decorateRequest('principal', undefined);
  app.decorateRequest('run', undefined);
  app.removeContentTypeParser('text/plain');
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  const routeTable: TableRoute[] = [];
  app.decorate('routeTable', routeTable);
  app.addHook('onRoute', (route) => {
    const named = `the route ${String(route.method)} ${route.url}`;
    const { action, resource } = route.config ?? {};
    if (action === undefined) throw new Error(`${named} names no action of the policy`);
    if (action !== 'public' && ACTIONS[action] !== 'Territory' && resource === undefined)
      throw new Error(`${named} does not say on which ${ACTIONS[action]} it acts`);
    if (action === 'public') route.bodyLimit ??= HUB_LIMITS.publicBodyBytesMax;
    const on = typeof resource === 'function' ? 'thing' : (resource ?? 'territory');
    // Fastify makes one for HEAD of each for GET.
    for (const method of [route.method].flat())
      if (method !== 'HEAD') routeTable.push({ method, url: route.url, action, on });
  });
  app.addHook('onRequest', async (request, reply) => {
    // First of all, so that refusals and streams carry it, too.
    reply.headers({ 'x-request-id': request.id, ...NOBODYS });
    if (deps.isLeaving()) reply.header('connection', 'close');
    checkSaidOnce(request.raw);
    if (deps.meetOtherOrigins?.(request, reply) === true) return reply.send();
    request.run = carried.of(request.headers)?.run;
    const action = request.routeOptions.config.action;
    if (action === undefined || action === 'public') return;
    // Before anything is asked or read. Who comes back to what runs costs little and is owed it; what this server gives
    // to itself was let in when it came.
    const isNew = action === 'answer' && request.headers['last-event-id'] === undefined && request.run === undefined;
    const refusal = isNew ? deps.refusal() : undefined;
    if (refusal !== undefined) throw refusal;
    request.principal = await principalOf(deps, request);
    const { resource } = request.routeOptions.config;
    const on = typeof resource === 'function' ? await resource(request) : {};
    await deps.policy.check(request.principal, action, { ...on, territory: deps.territory });
    deps.onDecision?.(decisionOf(request));
  });
  app.addHook('preValidation', (request, _reply, done) => {
    const { params, query, body, url } = request;
    if (!url.startsWith('/v1/')) for (const each of [params, query, body]) checkTexts(each);
    done();
  });
  // At once: a stream's headers are flushed right after it is handed over.
  app.addHook('onSend', (request, reply, payload, done) => {
    if (changesPeople(request) && reply.statusCode < 400) deps.announcePeople();
    done(null, payload);
  });
  app.setErrorHandler((thrown, request, reply) => {
    const error = translate(thrown, request);
    if (error.code === 'cancelled') return reply.hijack();
    if (request.routeOptions.config.action === 'answer') deps.onRefused?.(error.code);
    if (error.status === 401 || error.status === 403) deps.onDecision?.({ ...decisionOf(request), refusal: error });
    log.debug(
      { request: request.id, method: request.method, route: request.routeOptions.url, code: error.code },
      'refused',
    );
    sendError(reply, error, log, request.id);
  });
  app.setNotFoundHandler(async (request, reply) => {
    // Whoever has no key learns nothing, not even which routes there are.
    await principalOf(deps, request);
    sendError(
      reply,
      new IdlewildError(
        'not_found',
        `there is no ${request.method} ${request.url.split('?', 1)[0]}; see /api/openapi.json`,
      ),
      log,
      request.id,
    );
  });
  await app.register(swagger, {
    openapi: {
      info: {
        title: 'Idlewild hub',
        version: deps.version,
        description: 'AI from idle devices, for everyone who shares one.',
      },
      components: { securitySchemes: { key: { type: 'http', scheme: 'bearer' } } },
      security: [{ key: [] }],
    },
    transform: jsonSchemaTransform,
  });
  await app.register(async (scope) => {
    for (const register of routes) register(scope);
    // Made once: anybody may ask, and writing it takes a thousand times as long as sending it.
    let described: Buffer | undefined;
    scope.get('/api/openapi.json', { config: { action: 'public' }, schema: { hide: true } }, async (_, reply) => {
      described ??= Buffer.from(JSON.stringify(app.swagger()));
      return reply.type('application/json; charset=utf-8').send(described);
    });
  });
  await app.ready();
  return app;
}

/** Whoever reads what was just changed is to find it, and a right that was just taken is gone. */
function changesPeople({ method, routeOptions: { config, url = '' } }: FastifyRequest): boolean {
  if (method === 'GET' || method === 'HEAD' || url.startsWith('/v1/')) return false;
  return config.action !== 'uploadBlob';
}

function decisionOf(request: FastifyRequest): Decision {
  const { url = 'no such route', config } = request.routeOptions;
  const { id: on } = (request.params ?? {}) as { id?: unknown };
  return { principal: request.principal, route: `${request.method} ${url}`, action: config.action, on };
}

/** Throws `unauthenticated`, and `rate_limit_exceeded` for who guesses. */
async function principalOf(deps: ServerDeps, request: FastifyRequest): Promise<Principal> {
  const { authorization } = request.headers;
  // Beside a bearer no cookie counts, and of all cookies one.
  const shown =
    authorization === undefined
      ? (deps.signedIn?.shown(request) ?? deps.closed?.cookieFor(request.url, request.headers.cookie))
      : BEARER.exec(authorization)?.[1];
  const { socket } = request.raw;
  try {
    const found =
      deps.watch === undefined || shown === undefined
        ? await whoIs(deps, request, shown)
        : await deps.watch(request, shown, () => whoIs(deps, request, shown));
    deps.onStanding?.(socket, true);
    return found;
  } catch (thrown) {
    if (codeOf(thrown) === 'unauthenticated') deps.onStanding?.(socket, false);
    throw thrown;
  }
}

async function whoIs(deps: ServerDeps, request: FastifyRequest, shown: string | undefined): Promise<Principal> {
  try {
    return await whoShows(deps, request);
  } catch (thrown) {
    if (shown === undefined || deps.closed === undefined || codeOf(thrown) !== 'unauthenticated') throw thrown;
    throw (await deps.closed.refusalOf(shown)) ?? thrown;
  }
}

async function whoShows(deps: ServerDeps, request: FastifyRequest): Promise<Principal> {
  const { action } = request.routeOptions.config;
  const signedIn = await deps.signedIn?.find(request, 'script', isOfSuspended(action));
  if (signedIn !== undefined) return signedIn.principal;
  const bearer = BEARER.exec(request.headers.authorization ?? '')?.[1];
  const holder = bearer === undefined ? undefined : await deps.ticketHolders.holderOf(bearer);
  if (holder !== undefined) return { kind: 'device', deviceId: holder.device, territory: holder.territory };
  return deps.keys.authenticate(bearer);
}

/** The principal of an authorised request. */
export function principal(request: FastifyRequest): Principal {
  if (request.principal === undefined) throw new Error('a handler asked for the principal of a public route');
  return request.principal;
}

export type { FastifyReply, FastifyRequest };
