/**
 * The hub as a process: what it stands on (`ground.ts`), a listening socket, and how it comes and goes.
 *
 *   DATA/  lock · hub.db · blobs/ · territory.key, hub.key, journal.key, scope.key,
 *          sign-in.key, steward.key (0600)
 *          tls.crt, tls.key off loopback; with a database elsewhere only lock, cache/, steward.key and tls.*
 *
 * Off loopback it speaks TLS only. Everything it knows is in that folder, or in the database that it shares; killed at
 * any moment, it starts again from there. Told to go, it lets what is open finish or move (`leave.ts`).
 */
import { writeFileSync } from 'node:fs';
import { lookup } from 'node:dns/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { IdlewildError, messageOf, type ChannelBinding } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { DefaultLimits } from '../callers/limits.ts';
import { createConnections, type Connections } from '../gateway/door/connections.ts';
import { createCrowd, type Crowd } from '../gateway/door/crowd.ts';
import { attachDeviceSocket } from '../gateway/door/device-socket.ts';
import { createFront, type Front } from '../gateway/door/front.ts';
import { createGuesses, type Guesses } from '../gateway/door/guesses.ts';
import { readOrigins } from '../gateway/door/other-origins.ts';
import type { App } from '../gateway/server.ts';
import { pathOfTerritory } from '../gateway/door/territory-path.ts';
import { createHosting } from '../house/hosting.ts';
import { openHouse, type House } from '../house/house.ts';
import type { Hub } from '../hub.ts';
import { firstStewardKey } from '../identity/first-steward.ts';
import { HUB_LIMITS } from '../limits.ts';
import { silentLog, type Log } from '../log.ts';
import type { ReplicaStanding } from '../replicas/register.ts';
import { HUB_VERSION } from '../version.ts';
import { openGround, type Ground, type GroundOptions } from './ground.ts';
import { openFirstHome, openFurtherHome, type Home, type HomeDeps } from './home.ts';
import { drainHub, drainTimes, type DrainTimes } from './leave.ts';
import { createLoad } from './load.ts';
import { crowdBounds, openFilesMax, type StrangersMax } from './open-files.ts';
import { ownTls, readTls, spkiPinOf, type TlsFiles } from './tls.ts';

export interface HubOptions extends GroundOptions {
  /** What the first community is called where this start makes it; absent: home. */
  readonly name?: string | undefined;
  /** HOST or HOST:PORT where OpenID providers may be in a private network. */
  readonly privateProviders?: readonly string[] | undefined;
  /** Origins whose web pages may ask with a key, `*` for all; absent: none. */
  readonly otherOrigins?: readonly string[] | undefined;
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  /**
   * Where devices and callers reach this hub, when that is another address than its own: a balancer that ends TLS.
   * Invites carry it, and have devices seal their sessions.
   */
  readonly publicUrl?: string | undefined;
  /** Paths of PEM files; off loopback, absent means the hub's own certificate. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** For keys that have no limit of their own; absent: they have none. */
  readonly limits?: DefaultLimits | undefined;
  /** Devices that this replica takes. */
  readonly devicesMax?: number | undefined;
  /** Connections of which nobody knows whose they are; absent: as the limits have it. */
  readonly strangers?: StrangersMax | undefined;
  readonly drain?: Partial<DrainTimes> | undefined;
  readonly log?: Log | undefined;
}

export interface RunningHub {
  readonly id: string;
  /** Of this process, `rep_…`. */
  readonly replica: string;
  readonly version: string;
  readonly url: string;
  /** Only at the first start; also in `stewardKeyFile`. */
  readonly stewardKey?: string;
  readonly stewardKeyFile: string;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  /** Told of every other name of it from now on. */
  onRenamed(listener: (name: string) => void): void;
  readonly spkiPin?: Uint8Array;
  /** All that share the database, as it has them. */
  replicas(): Promise<readonly ReplicaStanding[]>;
  /** Resolves when this replica has to stop: it was paused for so long that another has its place. */
  readonly lost: Promise<IdlewildError>;
  /** Takes nothing new, and lets what is open finish or move; within a bound. */
  drain(): Promise<void>;
  stop(): Promise<void>;
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** What is known of the process while it comes up. */
interface Shell {
  readonly options: HubOptions;
  readonly log: Log;
  readonly address: { url: string; pin?: Uint8Array };
  house?: House<Home>;
  /** Of the first territory, which is there before the house is. */
  first?: Home;
  isLeaving: boolean;
  readonly undo: (step: () => void | Promise<void>) => void;
}

/** In front of all territories. */
interface Door {
  readonly front: Front;
  readonly connections: Connections;
  readonly guesses: Guesses;
  readonly counts: Crowd['counts'];
}

/** Those that are served, the first one first. */
const homesOf = ({ house, first }: Shell): readonly Home[] => house?.list() ?? (first === undefined ? [] : [first]);

/**
 * Throws `data_locked`, `data_corrupt`, `port_in_use`, `database_unavailable`, `bus_down`, `usage`, or `conflict` where
 * another hub has the database.
 */
export async function startHub(options: HubOptions): Promise<RunningHub> {
  readOrigins(options.otherOrigins ?? []);
  const log = options.log ?? silentLog;
  const steps: (() => void | Promise<void>)[] = [];
  const unwind = async (): Promise<void> => {
    for (const step of steps.splice(0).toReversed()) {
      try {
        await step();
      } catch (error) {
        // The others are still to be done.
        log.error({ why: messageOf(error) }, 'a part of the hub did not stop as it should');
      }
    }
  };
  const undo: Shell['undo'] = (step) => void steps.push(step);
  const shell: Shell = { options, log, address: { url: plannedUrl(options) }, isLeaving: false, undo };
  const lost = Promise.withResolvers<IdlewildError>();
  try {
    const ground = await openGround(options, {
      log,
      address: () => shell.address.url,
      counts: () => ({
        devices: homesOf(shell).reduce((sum, { hub }) => sum + hub.local.count(), 0),
        answers: homesOf(shell).reduce((sum, { hub }) => sum + hub.answers.counts().open, 0),
      }),
      onRefused: lost.resolve,
      undo,
    });
    const crowd = createCrowd({
      clock: systemClock,
      log,
      bounds: crowdBounds(options.strangers ?? {}, openFilesMax()),
      onDropped: (why) => shell.first?.metrics.dropped(why),
    });
    undo(() => crowd.stop());
    const isBehindBalancer = options.publicUrl !== undefined;
    const connections = createConnections({ crowd, isBehindBalancer });
    const guesses = createGuesses({ clock: systemClock, log });
    const front = createFront({
      db: ground.database.db,
      clock: systemClock,
      log,
      behind: () => homesOf(shell),
      find: (territory) => shell.house?.get(territory),
      connections,
      guesses: { ofAll: guesses, isBehindBalancer },
    });
    const door: Door = { front, connections, guesses, counts: crowd.counts };
    const { hub, app } = await openHomes(shell, ground, door);
    await openDoor(shell, app, door);
    const { address } = shell;
    const stewardKeyFile = join(options.data, 'steward.key');
    const stewardKey = await firstKeyIn(stewardKeyFile, hub, ground);
    log.info({ url: address.url, territory: hub.territory.id, replica: ground.id }, 'hub ready');
    return {
      id: hub.id,
      replica: ground.id,
      version: HUB_VERSION,
      url: address.url,
      stewardKeyFile,
      territory: hub.territory,
      onRenamed: (listener) => hub.naming.onChange(listener),
      ...(stewardKey === undefined ? {} : { stewardKey }),
      ...(address.pin === undefined ? {} : { spkiPin: address.pin }),
      lost: lost.promise,
      replicas: () => ground.register.list(),
      async drain() {
        shell.isLeaving = true;
        const leaving = {
          hubs: homesOf(shell).map((home) => home.hub),
          server: app.server,
          register: ground.register,
          isAlone: ground.isAlone,
          clock: systemClock,
          log,
        };
        await drainHub(leaving, drainTimes(options.drain, ground.isAlone));
      },
      stop: unwind,
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}

/** The first territory and all others that the database has. */
async function openHomes(shell: Shell, ground: Ground, door: Door): Promise<Home> {
  const { log, options, undo, address } = shell;
  const { register, database, bus, isAlone } = ground;
  const { devicesMax, publicUrl, limits, name, privateProviders, otherOrigins } = options;
  const tls = await tlsFor(options);
  if (tls !== undefined) address.pin = spkiPinOf(tls.cert);
  const load = createLoad({
    register,
    devicesMax,
    metrics: { shed: (what) => shell.first?.metrics.shed(what) },
    log,
    locals: () => homesOf(shell).map(({ hub }) => hub.local),
  });
  undo(() => load.stop());
  const deps: HomeDeps = {
    ground,
    name,
    privateProviders,
    otherOrigins,
    connections: door.connections,
    guesses: door.guesses,
    limits,
    log,
    address: () => (publicUrl === undefined ? address : { url: publicUrl, session: true }),
    isLeaving: () => shell.isLeaving,
    requestRefusal: (territory) => load.requestRefusal(territory),
    joinRefusal: () => load.joinRefusal(),
    elsewhere: (territory) => homesOf(shell).find(({ hub }) => hub.territory.id === territory)?.hub,
  };
  undo(() => stopHomes(shell));
  const first = await openFirstHome(deps, {
    tls,
    listener: door.front.listener,
    counts: door.counts,
    homes: () => homesOf(shell),
    territories: {
      hosting: () => hosting,
      addressOf: (territory) =>
        deps.address().url + (territory === first.hub.territory.id ? '' : pathOfTerritory(territory)),
    },
  });
  shell.first = first;
  undo(() => first.app.close());
  const { db } = database;
  const open = (territory: string): Promise<Home> => openFurtherHome(deps, territory, first.metrics);
  const house = await openHouse(first, { db, bus, isAlone, clock: systemClock, log, open });
  shell.house = house;
  const { secrets } = ground;
  const ports = { crypto: nodeCrypto, random: nodeRandom, clock: database.clock };
  const hosting = createHosting({ ...ports, db, house, secrets, audit: first.hub.audit });
  return first;
}

/** Listens, for callers and devices of all territories. */
async function openDoor(shell: Shell, app: App, { front, connections }: Door): Promise<void> {
  const { options, address, undo } = shell;
  const { pin } = address;
  address.url = await listen(app, options, pin !== undefined);
  if (options.host === 'localhost') await listenEverywhere(app.server, front, undo);
  const binding: ChannelBinding = pin === undefined ? { kind: 'loopback' } : { kind: 'tls', spki: pin };
  const sockets = attachDeviceSocket(app.server, {
    binding,
    clock: systemClock,
    crypto: nodeCrypto,
    accept: front.accept,
    connections,
  });
  undo(() => sockets.close());
  // First of all the farewells, while there are still sockets to carry them.
  undo(() => stopHomes(shell));
}

async function stopHomes({ house, first }: Shell): Promise<void> {
  await (house ?? first)?.stop();
}

async function tlsFor(options: HubOptions): Promise<TlsFiles | undefined> {
  if (options.tls !== undefined) return readTls(options.tls.cert, options.tls.key);
  return isLoopback(options.host) ? undefined : ownTls(options.data, systemClock.now());
}

/** The text of a first steward's key, which is in the file before it counts; see `identity/first-steward.ts`. */
async function firstKeyIn(file: string, hub: Hub, { database }: Ground): Promise<string | undefined> {
  const keep = (key: string): void => writeFileSync(file, `${key}\n`, { mode: 0o600, flush: true });
  const order = { territory: hub.territory.id, actor: hub.id, keep };
  return (await firstStewardKey({ ...hub, clock: database.clock }, order))?.key;
}

/** Where this replica will be, as far as that is known before it listens. */
function plannedUrl({ host, port, tls }: HubOptions): string {
  const scheme = tls === undefined && isLoopback(host) ? 'http' : 'https';
  return urlOf(scheme, reachable(host), port);
}

const urlOf = (scheme: string, name: string, port: number): string =>
  `${scheme}://${name.includes(':') ? `[${name}]` : name}:${port}`;

/** The address that others can reach: a wildcard host is told as this machine's own address. */
function reachable(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const external = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find((entry) => !entry.internal && entry.family === 'IPv4');
  return external?.address ?? hostname();
}

/** `localhost` is two addresses on many machines, and people's programs try either first. */
async function listenEverywhere(main: Server, front: Front, undo: Shell['undo']): Promise<void> {
  const { address: bound, port } = main.address() as AddressInfo;
  for (const { address: host } of await lookup('localhost', { all: true })) {
    if (host === bound) continue;
    const server = front.another();
    server.on('upgrade', (...upgrade) => main.emit('upgrade', ...upgrade));
    main.once('close', () => server.close());
    undo(() => server.closeAllConnections());
    // One that this machine does not have is no loss.
    await new Promise<void>((resolve) => server.once('error', () => resolve()).listen({ host, port }, resolve));
  }
}

async function listen(server: App, { host, port }: HubOptions, secure: boolean): Promise<string> {
  try {
    await server.listen({ host, port, backlog: HUB_LIMITS.connectionsWaitingMax });
  } catch (cause) {
    const code = (cause as { code?: string }).code;
    if (code === 'EADDRINUSE') {
      throw new IdlewildError(
        'port_in_use',
        `port ${port} on ${host} is in use; stop the program that listens there, or give another --port`,
        { cause },
      );
    }
    if (code === 'EACCES' || code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
      throw new IdlewildError('usage', `cannot listen on ${host}:${port}: ${(cause as Error).message}`, { cause });
    }
    throw cause;
  }
  const bound = (server.server.address() as AddressInfo).port;
  return urlOf(secure ? 'https' : 'http', reachable(host), bound);
}
