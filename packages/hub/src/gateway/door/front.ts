/**
 * One door for all territories of a process: says whose each request and each device is, and hands it on. What they
 * may is decided behind it, by the territory's own server; nothing is looked at here but the address, the bearer and
 * the territory that a device pins.
 *
 *   /t/<territory id>/…  ──► that territory's server, which sees the rest of the path
 *   no such prefix ──► the territory of the key, session or ticket ──► the first territory where there is neither
 *
 * A key is known in its own territory only, so a prefix and a key that disagree are refused like a key that nobody
 * ever had. A prefix of no territory here is a path that the first territory does not have. With one territory nothing
 * is looked up at all.
 */
import { hash } from 'node:crypto';
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, type ServerOptions as TlsServerOptions } from 'node:https';
import {
  LIMITS,
  SECRET_PREFIXES,
  equalBytes,
  messageOf,
  parseToHub,
  type Channel,
  type Clock,
  type MaybePromise,
} from '@idlewild/protocol';
import type { FastifyServerFactory } from 'fastify';
import type { Database } from '../../db/schema.ts';
import { HOUSE_LIMITS } from '../../house/limits.ts';
import { claimedTerritory } from '../../identity/tickets.ts';
import { HUB_LIMITS } from '../../limits.ts';
import type { Log } from '../../log.ts';
import type { DialledChannel } from '../../session/port.ts';
import type { Connections } from './connections.ts';
import type { Accept } from './device-socket.ts';
import { callerAddress } from './caller-address.ts';
import type { Guesses } from './guesses.ts';
import { territoryIn } from './territory-path.ts';

/** A territory behind the door. */
export interface Behind {
  readonly territory: { readonly id: string; readonly publicKey: Uint8Array };
  readonly serve: RequestListener;
  accept(channel: DialledChannel): void;
}

export interface FrontDeps {
  readonly db: Database;
  readonly clock: Pick<Clock, 'after'>;
  readonly log: Log;
  /** All that are served, the first one first; nothing before there is any. */
  readonly behind: () => readonly Behind[];
  readonly find: (territory: string) => Behind | undefined;
  /** Bounds those that are open; absent: nothing does. */
  readonly connections?: Pick<Connections, 'watch'>;
  /** Of a request that is refused as a guess it is not looked up whose it is; absent: of none. */
  readonly guesses?: { readonly ofAll: Pick<Guesses, 'isRefused'>; readonly isBehindBalancer: boolean };
}

export interface Front {
  /** For the server of the first territory, which listens for all. */
  readonly listener: FastifyServerFactory;
  /** One more, for a further address of the same name; it is there once `listener` was used. */
  another(): Server;
  readonly accept: Accept;
}

export function createFront(deps: FrontDeps): Front {
  const { find, behind, log } = deps;
  const territoryOf = createBearers(deps);

  function dispatch(first: RequestListener, request: IncomingMessage, response: ServerResponse): void {
    const { url = '', socket } = request;
    // It had to go; what it sent with its last bytes is not begun.
    if (socket.destroyed) return;
    if (url.startsWith('/t/')) {
      const { territory, rest } = territoryIn(url);
      const named = territory === undefined ? undefined : find(territory);
      if (named === undefined) return first(request, response);
      request.url = rest;
      return named.serve(request, response);
    }
    if (behind().length <= 1) return first(request, response);
    const { authorization } = request.headers;
    const handOn = (territory: string | undefined): void => {
      const home = territory === undefined ? undefined : find(territory);
      (home?.serve ?? first)(request, response);
    };
    const territory = authorization === undefined ? undefined : territoryOf(authorization, request);
    if (!(territory instanceof Promise)) return handOn(territory);
    return void territory.then(handOn, (error: unknown) => {
      log.error({ why: messageOf(error) }, 'whose a key is could not be read');
      // It asks the same of the database, and says what is wrong.
      handOn(undefined);
    });
  }

  let make = (): Server => createServer();
  return {
    listener: (handler, options) => {
      const listen: RequestListener = (request, response) => dispatch(handler, request, response);
      make = () => {
        const server = serverWith(options as unknown as ListenerOptions, listen);
        deps.connections?.watch(server);
        return server;
      };
      return make();
    },
    another: () => make(),
    accept: createAccept(deps),
  };
}

/** What fastify hands to whoever makes its server. */
interface ListenerOptions {
  readonly http?: ServerOptions;
  readonly https?: TlsServerOptions | null;
  readonly keepAliveTimeout: number;
  readonly requestTimeout: number;
  readonly connectionTimeout: number;
}

/** As fastify makes its own. */
function serverWith(options: ListenerOptions, listen: RequestListener): Server {
  const { http = {}, https } = options;
  const server = https ? createTlsServer(https, listen) : createServer(http, listen);
  server.keepAliveTimeout = options.keepAliveTimeout;
  server.requestTimeout = options.requestTimeout;
  server.setTimeout(options.connectionTimeout);
  return server;
}

const BEARER = /^Bearer +(\S+)$/i;
/** What is longer is no key, no ticket, and nothing to be hashed. */
const BEARER_CHARACTERS_MAX = 512;

/** Which territory's a bearer is; by its hash, and remembered, for that never changes. */
function createBearers({
  db,
  guesses,
}: FrontDeps): (authorization: string, request: IncomingMessage) => MaybePromise<string | undefined> {
  const known = new Map<string, string>();

  async function read(digest: string, isSession: boolean): Promise<string | undefined> {
    // No territory here: this is where it is found out.
    const table = isSession ? 'person_sessions' : 'keys';
    const row = await db.selectFrom(table).select('territory_id').where('hash', '=', digest).executeTakeFirst();
    // Unknown ones are not remembered: guessing must not push known ones out.
    if (row !== undefined) remember(digest, row.territory_id);
    return row?.territory_id;
  }
  function remember(digest: string, territory: string): void {
    known.set(digest, territory);
    if (known.size > HOUSE_LIMITS.bearersMax) known.delete(known.keys().next().value as string);
  }

  const isRefused = (secret: string, request: IncomingMessage): boolean => {
    if (guesses === undefined) return false;
    return guesses.ofAll.isRefused({ secret, address: callerAddress(request, guesses.isBehindBalancer) });
  };

  return (authorization, request) => {
    if (authorization.length > BEARER_CHARACTERS_MAX) return undefined;
    const bearer = BEARER.exec(authorization)?.[1];
    if (bearer === undefined) return undefined;
    const isSession = bearer.startsWith(SECRET_PREFIXES.session);
    if (!isSession && !bearer.startsWith(SECRET_PREFIXES.key)) return claimedTerritory(bearer);
    const digest = hash('sha256', bearer);
    const territory = known.get(digest);
    if (territory !== undefined || isRefused(bearer, request)) return territory;
    return read(digest, isSession);
  };
}

/** Devices whose address names no territory are listened to until they say which they want. */
function createAccept({ behind, find, clock }: FrontDeps): Accept {
  let waiting = 0;

  function byHello(channel: DialledChannel): void {
    if (waiting >= HUB_LIMITS.handshakesMax) return channel.close('too many devices are joining; try again');
    waiting++;
    let handlers: Parameters<Channel['listen']>[0] | undefined;
    let isDecided = false;
    const decide = (): void => {
      isDecided = true;
      waiting--;
      late.cancel();
    };
    const late = clock.after(LIMITS.handshakeMs, () => {
      decide();
      channel.close('nothing was said');
    });
    channel.listen({
      onFrame(frame) {
        if (handlers !== undefined) return handlers.onFrame(frame);
        if (isDecided) return;
        decide();
        const home = wanted(frame) ?? behind()[0];
        if (home === undefined) return channel.close('the hub is stopping');
        home.accept({
          ...channel,
          listen(given) {
            handlers = given;
            given.onFrame(frame);
          },
        });
      },
      onClose(reason) {
        if (!isDecided) decide();
        handlers?.onClose(reason);
      },
    });
  }

  /** Whoever speaks otherwise is told so by the first territory. */
  function wanted(frame: Uint8Array): Behind | undefined {
    try {
      const message = parseToHub(frame, LIMITS.handshakeFrameBytesMax);
      if (message.t !== 'hello') return undefined;
      return behind().find(({ territory }) => equalBytes(territory.publicKey, message.territory));
    } catch {
      // Garbage; it is refused where handshakes are.
      return undefined;
    }
  }

  return (channel, territory) => {
    const all = behind();
    const named = territory === undefined ? undefined : find(territory);
    if (named !== undefined) return named.accept(channel);
    const [only] = all;
    if (territory !== undefined || only === undefined) {
      channel.listen({ onFrame: () => {}, onClose: () => {} });
      return channel.close('no such community is here; ask a steward of yours whether it was closed or moved');
    }
    return all.length === 1 ? only.accept(channel) : byHello(channel);
  };
}
