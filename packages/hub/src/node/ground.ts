/**
 * What a hub stands on, opened in order and closed in the other: its database, secrets, blobs, bus, and its place among
 * the replicas that share them.
 *
 * Without a database of its own choice a hub has everything in its folder, under a lock, and is alone. With one, what
 * counts is in the database, and the folder holds what costs nothing to lose; then others may share it, if there is a
 * bus. Nothing is served before the register has let this replica in.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { newId, type BlobStore, type IdlewildError } from '@idlewild/protocol';
import { createDiskBlobStore, lockFolder, nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { createLocalBus } from '../bus/local-bus.ts';
import { createNatsBus } from '../bus/nats-bus.ts';
import type { NatsOptions } from '../bus/nats-connect.ts';
import type { Bus } from '../bus/port.ts';
import { createSealedBus } from '../bus/sealed-bus.ts';
import type { Buckets } from '../callers/buckets.ts';
import { openPostgres } from '../db/open-postgres.ts';
import { openDatabase, type OpenDatabase } from '../db/open.ts';
import { createDatabaseSecrets, readSealingKey } from '../identity/database-secrets.ts';
import { createDiskSecrets, ensureSecret, type Secrets } from '../identity/secrets.ts';
import type { Log } from '../log.ts';
import { createLoneRegister, createRegister, type Register, type ReplicaFacts } from '../replicas/register.ts';
import { openTries } from '../sign-in/sign-in.ts';
import { openBlockCache } from '../storage/block-cache.ts';
import { createCachedBlobStore } from '../storage/cached-blob-store.ts';
import { createDatabaseBlobStore } from '../storage/database-blob-store.ts';
import { HUB_VERSION } from '../version.ts';

const DEFAULT_QUOTA_BYTES = 200 * 2 ** 30;
/** Of a replica's disk: a few models' worth. */
const CACHE_BYTES = 20 * 2 ** 30;
const BUS_KEY = 'Idlewild bus key: seals what replicas tell each other.';
const BUS_KEY_BYTES = 32;

export interface GroundOptions {
  readonly data: string;
  /** `postgres://…`; absent: SQLite in the folder. */
  readonly database?: string | undefined;
  /** What replicas of one database talk over; absent: there is one. */
  readonly bus?: NatsOptions | undefined;
  /** A file with the key that seals secrets in the database. */
  readonly secretsKeyFile?: string | undefined;
  readonly quotaBytes?: number | undefined;
}

export interface GroundDeps {
  readonly log: Log;
  readonly address: () => string;
  readonly counts: ReplicaFacts['counts'];
  /** Another has this replica's place: it has to stop. */
  readonly onRefused: (error: IdlewildError) => void;
  /** Called with what undoes each step, as soon as it is taken. */
  readonly undo: (step: () => void | Promise<void>) => void;
}

export interface Ground {
  readonly id: string;
  readonly database: OpenDatabase;
  readonly secrets: Secrets;
  readonly store: BlobStore;
  readonly bus: Bus;
  readonly register: Register;
  /** Counts tries to sign in, of all territories together. */
  readonly tries: Buckets;
  /** There is no other replica, and never will be while this one runs. */
  readonly isAlone: boolean;
}

/** Throws `data_locked`, `data_corrupt`, `database_unavailable`, `bus_down`, `conflict` or `usage`. */
export async function openGround(options: GroundOptions, deps: GroundDeps): Promise<Ground> {
  const { log, undo } = deps;
  const lock = lockFolder(options.data, 'hub');
  undo(() => lock.release());
  const { database, secrets, store } =
    options.database === undefined ? await inFolder(options, deps) : await inDatabase(options.database, options, deps);
  const id = newId('rep', nodeRandom);
  const hasBus = options.bus !== undefined;
  const bus = await connect(options.bus, { id, secrets, database, ...deps });
  const replica = { id, version: HUB_VERSION, hasBus, address: deps.address, counts: deps.counts };
  const common = { database, replica, clock: systemClock, random: nodeRandom, log };
  const register =
    database.kind === 'sqlite' ? createLoneRegister(common) : createRegister({ ...common, onRefused: deps.onRefused });
  await register.admit();
  undo(() => register.stop());
  const tries = openTries(database, systemClock);
  return { id, database, secrets, store, bus, register, tries, isAlone: !hasBus };
}

type Kept = Pick<Ground, 'database' | 'secrets' | 'store'>;

async function inFolder({ data, quotaBytes = DEFAULT_QUOTA_BYTES }: GroundOptions, deps: GroundDeps): Promise<Kept> {
  const database = await openDatabase({ file: join(data, 'hub.db'), clock: systemClock });
  deps.undo(() => database.close());
  const store = await createDiskBlobStore({ folder: join(data, 'blobs'), quotaBytes, crypto: nodeCrypto });
  return { database, store, secrets: createDiskSecrets(data) };
}

async function inDatabase(url: string, options: GroundOptions, { log, undo }: GroundDeps): Promise<Kept> {
  const { data, secretsKeyFile, quotaBytes = DEFAULT_QUOTA_BYTES } = options;
  const sealing =
    secretsKeyFile === undefined
      ? undefined
      : { key: readSealingKey(secretsKeyFile), crypto: nodeCrypto, random: nodeRandom };
  const database = await openPostgres({ url, clock: systemClock, log });
  undo(() => database.close());
  const shared = createDatabaseBlobStore({ db: database.db, quotaBytes, crypto: nodeCrypto });
  const folder = join(data, 'cache');
  const cache = await openBlockCache({ folder, quotaBytes: CACHE_BYTES, crypto: nodeCrypto, log });
  const secrets = createDatabaseSecrets(database.db, sealing);
  return { database, secrets, store: createCachedBlobStore(shared, cache) };
}

async function connect(
  nats: NatsOptions | undefined,
  { id, secrets, database, log, undo }: Pick<Ground, 'id' | 'secrets' | 'database'> & GroundDeps,
): Promise<Bus> {
  const common = { clock: systemClock, random: nodeRandom, log };
  if (nats === undefined) return createLocalBus(common);
  const open = await createNatsBus({ ...common, name: id, ...nats });
  undo(() => open.close());
  const key = await ensureSecret(secrets, 'bus.key', () => nodeRandom.bytes(BUS_KEY_BYTES), BUS_KEY);
  // The same for all replicas of a database, and no other hub's on the same server.
  const prefix = `iw.${createHash('sha256').update('idlewild/v1/bus prefix\n').update(key).digest('hex').slice(0, 8)}`;
  log.info({ prefix }, 'connected to the bus; every subject of this hub begins with this prefix');
  // How old a message is, is judged by the time that all replicas share, not by two machines' clocks.
  return createSealedBus(open, { ...common, clock: database.clock, key, prefix, crypto: nodeCrypto });
}
