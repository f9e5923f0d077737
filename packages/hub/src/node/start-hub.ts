/**
 * The hub as a process: a locked data folder, a database file, a listening socket.
 *
 *   DATA/  lock · hub.db · blobs/ · territory.key, hub.key, journal.key, scope.key, steward.key (0600)
 *          tls.crt, tls.key off loopback
 *
 * Off loopback it speaks TLS only. Everything it knows is in that folder; killed at any moment, it starts again from
 * there.
 */
import { writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { IdlewildError, type ChannelBinding } from '@idlewild/protocol';
import { createDiskBlobStore, lockFolder, nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import type { DefaultLimits } from '../callers/limits.ts';
import { openDatabase } from '../db/open.ts';
import { attachDeviceSocket } from '../gateway/device-socket.ts';
import { createMetrics } from '../gateway/metrics.ts';
import { createHubServer } from '../gateway/hub-server.ts';
import { countStates } from '../gateway/routes-api.ts';
import type { App } from '../gateway/server.ts';
import { createHub, type Hub } from '../hub.ts';
import { createDiskSecrets } from '../identity/secrets.ts';
import { silentLog, type Log } from '../log.ts';
import { HUB_VERSION } from '../version.ts';
import { ownTls, readTls, spkiPinOf, type TlsFiles } from './tls.ts';

const DEFAULT_QUOTA_BYTES = 200 * 2 ** 30;

export interface HubOptions {
  readonly data: string;
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
  readonly quotaBytes?: number | undefined;
  /** For keys that have no limit of their own; absent: they have none. */
  readonly limits?: DefaultLimits | undefined;
  readonly log?: Log | undefined;
}

export interface RunningHub {
  readonly id: string;
  readonly version: string;
  readonly url: string;
  /** Only at the first start; also in `stewardKeyFile`. */
  readonly stewardKey?: string;
  readonly stewardKeyFile: string;
  readonly territory: { readonly id: string; readonly name: string; readonly publicKey: Uint8Array };
  readonly spkiPin?: Uint8Array;
  stop(): Promise<void>;
}

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

/** Throws `data_locked`, `data_corrupt`, `port_in_use` or `usage`. */
export async function startHub(options: HubOptions): Promise<RunningHub> {
  const log = options.log ?? silentLog;
  const lock = lockFolder(options.data, 'hub');
  const undo: (() => void | Promise<void>)[] = [() => lock.release()];
  const unwind = async (): Promise<void> => {
    for (const step of undo.toReversed()) await step();
    undo.length = 0;
  };
  try {
    const tls = await tlsFor(options);
    const spkiPin = tls === undefined ? undefined : spkiPinOf(tls.cert);
    const database = await openDatabase({ file: join(options.data, 'hub.db'), clock: systemClock });
    undo.push(() => database.close());
    const store = await createDiskBlobStore({
      folder: join(options.data, 'blobs'),
      quotaBytes: options.quotaBytes ?? DEFAULT_QUOTA_BYTES,
      crypto: nodeCrypto,
    });
    const metrics = createMetrics(() => ({
      devicesByState: () => countStates(hub.sessions, 0),
      answers: () => hub.answers.counts(),
    }));
    const hub: Hub = await createHub({
      database,
      store,
      clock: systemClock,
      random: nodeRandom,
      crypto: nodeCrypto,
      secrets: createDiskSecrets(options.data),
      meter: metrics.meter,
      onBlobServed: metrics.blob,
      limits: options.limits,
      log,
    });
    undo.push(() => hub.stop());
    const address = { url: '', ...(spkiPin === undefined ? {} : { pin: spkiPin }) };
    const { publicUrl } = options;
    const server = await createHubServer({
      hub,
      store,
      metrics,
      clock: systemClock,
      random: nodeRandom,
      log,
      tls,
      address: () => (publicUrl === undefined ? address : { url: publicUrl, session: true }),
    });
    undo.push(() => server.close());
    address.url = await listen(server, options, tls !== undefined);
    const binding: ChannelBinding = spkiPin === undefined ? { kind: 'loopback' } : { kind: 'tls', spki: spkiPin };
    const sockets = attachDeviceSocket(server.server, {
      binding,
      clock: systemClock,
      crypto: nodeCrypto,
      accept: (channel) => hub.sessions.accept(channel),
    });
    undo.push(() => sockets.close());
    const stewardKeyFile = join(options.data, 'steward.key');
    const stewardKey = await firstStewardKey(hub, stewardKeyFile);
    log.info({ url: address.url, territory: hub.territory.id }, 'hub ready');
    return {
      id: hub.id,
      version: HUB_VERSION,
      url: address.url,
      stewardKeyFile,
      territory: hub.territory,
      ...(stewardKey === undefined ? {} : { stewardKey }),
      ...(spkiPin === undefined ? {} : { spkiPin }),
      stop: async () => {
        // First the farewells, while there are still sockets to carry them.
        await hub.stop();
        await unwind();
      },
    };
  } catch (error) {
    await unwind();
    throw error;
  }
}

async function tlsFor(options: HubOptions): Promise<TlsFiles | undefined> {
  if (options.tls !== undefined) return readTls(options.tls.cert, options.tls.key);
  return isLoopback(options.host) ? undefined : ownTls(options.data, systemClock.now());
}

/**
 * A hub without a steward's key makes one: at its first start, or after the last was revoked. Who moved the file away
 * keeps the key.
 */
async function firstStewardKey(hub: Hub, file: string): Promise<string | undefined> {
  const nowMs = systemClock.now();
  const live = (await hub.keys.list(hub.territory.id)).some(
    (key) =>
      key.role === 'steward' &&
      key.revokedAtMs === undefined &&
      (key.expiresAtMs === undefined || key.expiresAtMs > nowMs),
  );
  if (live) return undefined;
  const keep = (key: string): void => writeFileSync(file, `${key}\n`, { mode: 0o600, flush: true });
  const { key } = await hub.keys.create({
    territory: hub.territory.id,
    role: 'steward',
    name: 'first steward',
    actor: hub.id,
    keep,
  });
  return key;
}

/** The address that others can reach: a wildcard host is told as this machine's own address. */
function reachable(host: string): string {
  if (host !== '0.0.0.0' && host !== '::') return host;
  const external = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find((entry) => !entry.internal && entry.family === 'IPv4');
  return external?.address ?? hostname();
}

async function listen(server: App, { host, port }: HubOptions, secure: boolean): Promise<string> {
  try {
    await server.listen({ host, port });
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
  const name = reachable(host);
  return `${secure ? 'https' : 'http'}://${name.includes(':') ? `[${name}]` : name}:${bound}`;
}
