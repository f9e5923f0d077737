/**
 * Where a hub's truth lies: a data folder, or a PostgreSQL database with a folder beside it for the few files that a
 * replica has. Opening a place to read it changes nothing there and needs no lock: the hub may be running.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IdlewildError, idOfKey, type Clock, type Crypto, type Random } from '@idlewild/protocol';
import { createAudit } from '../audit/audit.ts';
import { MIGRATIONS } from '../db/migrate.ts';
import { openPostgres } from '../db/open-postgres.ts';
import { openDatabase, type BringTables, type OpenDatabase } from '../db/open.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import { createDatabaseSecrets } from '../identity/database-secrets.ts';
import {
  SECRET_NAMES,
  SHARED_SECRETS,
  createDiskSecrets,
  furtherName,
  secretsOf,
  type SecretName,
  type Secrets,
} from '../identity/secrets.ts';
import { noteMoved } from '../identity/moved.ts';
import type { MovedTo } from '../session/sessions.ts';
import { createDatabaseBlobStore } from '../storage/database-blob-store.ts';
import { readerOfFolder, readerOfStore, type BlobReader } from './folder-blobs.ts';

/** A data folder with the hub's own database in it. */
export interface FolderPlace {
  readonly data: string;
  readonly database?: undefined;
}

export interface DatabasePlace {
  /** URL of a PostgreSQL database. */
  readonly database: string;
  /** What seals the secrets in that database, where they are sealed. */
  readonly secretsKey?: Uint8Array | undefined;
  /** The folder of a replica, of which only the files named below count; absent: they do not. */
  readonly data?: string | undefined;
}

export type Place = FolderPlace | DatabasePlace;

export interface PlacePorts {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly random: Random;
}

export const DATABASE_FILE = 'hub.db';
export const BLOBS_FOLDER = 'blobs';
/** Files of the folder that belong to the hub beside its secrets; what each is, `start-hub.ts` says. */
export const FOLDER_FILES = ['tls.crt', 'tls.key', 'steward.key'] as const;

/** A copy of a hub must not talk to the replicas of the one it is of, nor send its devices away as that one does. */
const SECRETS_NOT_ARCHIVED: ReadonlySet<SecretName> = new Set(['bus.key', 'moved.address']);
export const ARCHIVED_SECRETS: readonly SecretName[] = SECRET_NAMES.filter((name) => !SECRETS_NOT_ARCHIVED.has(name));

export interface OpenSource {
  readonly database: OpenDatabase;
  readonly blobs: BlobReader;
  /** Those of the hub and its first territory; with `further` those of another of its territories alone. */
  secrets(db: Database, further?: string): Promise<Map<SecretName, Uint8Array>>;
  folderFiles(): Promise<Map<string, Uint8Array>>;
}

const asItIs: BringTables = async () => [];

export async function openDatabaseOf(place: Place, clock: Clock, bring: BringTables): Promise<OpenDatabase> {
  if (place.database !== undefined) return openPostgres({ url: place.database, clock, bring });
  return openDatabase({ file: join(place.data, DATABASE_FILE), clock, bring });
}

/** Throws `not_found` where there is no hub, and `conflict` for a database of a newer version. */
export async function openSource(place: Place, ports: PlacePorts): Promise<OpenSource> {
  const { clock, crypto } = ports;
  if (place.database === undefined && !existsSync(join(place.data, DATABASE_FILE)))
    throw new IdlewildError('not_found', `no hub has its data in ${place.data}; name its folder with --data DIR`);
  const database = await openDatabaseOf(place, clock, asItIs);
  try {
    await migrationsOf(database.db);
    const blobs =
      place.database === undefined
        ? readerOfFolder(join(place.data, BLOBS_FOLDER), crypto)
        : readerOfStore(createDatabaseBlobStore({ db: database.db, quotaBytes: 0, crypto }));
    return {
      database,
      blobs,
      secrets: (db, further) => allOf(secretsIn(place, db, ports), further),
      folderFiles: () => filesOf(place.data),
    };
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Names of the migrations that a database has. Throws `not_found`, `conflict`, `data_corrupt`. */
export async function migrationsOf(db: Database): Promise<string[]> {
  const tables = new Set((await db.introspection.getTables()).map(({ name }) => name));
  if (!tables.has('migrations')) throw new IdlewildError('not_found', 'no hub has used this database yet');
  const rows = await db
    .withTables<{ migrations: { name: string } }>()
    .selectFrom('migrations')
    .select('name')
    .orderBy('name')
    .execute();
  const names = rows.map(({ name }) => name);
  const strange = names.find((name, index) => MIGRATIONS[index]?.name !== name);
  if (strange === undefined) return names;
  throw new IdlewildError(
    'conflict',
    `the database is of a newer Idlewild: it has the migration "${strange}"; use that version for it`,
  );
}

/** Of this place. */
export function secretsIn(place: Place, db: Database, { crypto, random }: PlacePorts): Secrets {
  if (place.database === undefined) return createDiskSecrets(place.data);
  const { secretsKey: key } = place;
  return createDatabaseSecrets(db, key === undefined ? undefined : { key, crypto, random });
}

async function allOf(secrets: Secrets, further: string | undefined): Promise<Map<SecretName, Uint8Array>> {
  const found = new Map<SecretName, Uint8Array>();
  for (const name of ARCHIVED_SECRETS) {
    if (further !== undefined && SHARED_SECRETS.has(name)) continue;
    const value = await secrets.read(further === undefined ? name : furtherName(further, name));
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/**
 * Tells the hubs there that their territory is at another address now, or with `undefined` that it is here again. `of`:
 * id or name of one of several; absent: the first.
 */
export async function setMovedAddress(
  place: Place,
  to: MovedTo | undefined,
  { of, ...ports }: PlacePorts & { readonly of?: string | undefined },
): Promise<void> {
  const source = await openSource(place, ports);
  try {
    const { db, clock } = source.database;
    const territory = await findTerritory(source, of, ports.crypto);
    const secrets = secretsIn(place, db, ports);
    await noteMoved(territory.isFirst ? secrets : secretsOf(secrets, territory.id), to);
    const audit = createAudit({ db, crypto: ports.crypto, clock });
    const act = { territory: territory.id, actor: 'command line', action: 'moveTerritory', subject: territory.id };
    const details = to === undefined ? {} : { url: to.url };
    await transact(db, (transaction) => audit.append(transaction, { ...act, details }));
  } finally {
    await source.database.close();
  }
}

export interface FoundTerritory {
  readonly id: string;
  readonly name: string;
  readonly isFirst: boolean;
}

/** By its id or name; without one the first. Throws `not_found`, and `usage` for a name that several have. */
export async function findTerritory(
  { database: { db }, secrets }: OpenSource,
  wanted: string | undefined,
  crypto: Crypto,
): Promise<FoundTerritory> {
  const rows = await db.selectFrom('territories').select(['id', 'name']).orderBy('id').execute();
  if (rows.length === 0)
    throw new IdlewildError('not_found', 'no hub has started on this database yet, so there is nothing here');
  const seed = (await secrets(db)).get('territory.key');
  // Without its key the only one is still the first; the key is asked for where it is needed.
  const first =
    seed === undefined ? rows[0]?.id : await idOfKey('ter', (await crypto.signingKey(seed)).publicKey, crypto);
  const meant = rows.filter(({ id, name }) => (wanted === undefined ? id === first : id === wanted || name === wanted));
  const [one, another] = meant;
  if (one !== undefined && another === undefined) return { ...one, isFirst: one.id === first };
  const all = rows.map(({ id, name }) => `"${name}" (${id})`).join(', ');
  if (one === undefined)
    throw new IdlewildError('not_found', `there is no community "${wanted ?? first}" here; there is ${all}`);
  throw new IdlewildError('usage', `"${wanted}" is the name of several communities; say which by its id: ${all}`);
}

async function filesOf(folder: string | undefined): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  if (folder === undefined) return found;
  for (const name of FOLDER_FILES)
    if (existsSync(join(folder, name))) found.set(name, await readFile(join(folder, name)));
  return found;
}
