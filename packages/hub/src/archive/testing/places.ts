/** Hubs in places that archives are taken from and restored to: in a folder, or in a PostgreSQL database. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { storeFile, type BlobStore } from '@idlewild/protocol';
import { createDiskBlobStore, nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { createAudit } from '../../audit/audit.ts';
import { migrate } from '../../db/migrate.ts';
import type { OpenDatabase } from '../../db/open.ts';
import { createDatabaseBlobStore } from '../../storage/database-blob-store.ts';
import type { SharedPostgres } from '../../testing/shared-postgres.ts';
import { openTestDoor, type TestDoor } from '../../testing/test-door.ts';
import { BLOBS_FOLDER, openDatabaseOf, secretsIn, type Place } from '../place.ts';

export type PlaceKind = 'folder' | 'PostgreSQL';
const PORTS = { clock: systemClock, crypto: nodeCrypto, random: nodeRandom };
export const QUOTA_BYTES = 2 ** 30;

export type TestPlace = Place & { readonly data: string };

/** An empty one. */
export async function makePlace(
  kind: PlaceKind,
  home: string,
  postgres: SharedPostgres | undefined,
): Promise<TestPlace> {
  const data = mkdtempSync(join(home, 'place-'));
  return kind === 'folder' ? { data } : { data, database: (await postgres?.createDatabase()) ?? '' };
}

export interface HubInPlace {
  readonly place: TestPlace;
  readonly database: OpenDatabase;
  readonly store: BlobStore;
  readonly door: TestDoor;
  close(): Promise<void>;
}

/** Starts a hub there, with a model called `jacobean`. */
export async function startIn(place: TestPlace): Promise<HubInPlace> {
  const database = await openDatabaseOf(place, systemClock, migrate);
  const { db } = database;
  const store =
    place.database === undefined
      ? await createDiskBlobStore({
          folder: join(place.data, BLOBS_FOLDER),
          quotaBytes: QUOTA_BYTES,
          crypto: nodeCrypto,
        })
      : createDatabaseBlobStore({ db, quotaBytes: QUOTA_BYTES, crypto: nodeCrypto });
  const door = await openTestDoor('jacobean', { database, store, secrets: secretsIn(place, db, PORTS) });
  return { place, database, store, door, close: () => door.close() };
}

/** A model whose file has several leaves and so a tree above them; returns the model's CID. */
export async function publishLarge({ store, door }: HubInPlace, name: string, seed: number): Promise<string> {
  const bytes = createSeededRandom(seed).bytes(3 * 2 ** 20 + 7);
  const { root } = await storeFile(store, () => [bytes], nodeCrypto);
  return door.publish(name, { files: [{ path: 'model.onnx', file: root, bytes: bytes.length }] });
}

/** What must hold of a hub's data wherever it is; throws what does not. */
export async function checkWhole({ database, store, door }: HubInPlace): Promise<void> {
  const { db, clock } = database;
  const verdict = await createAudit({ db, crypto: nodeCrypto, clock }).verify(door.hub.territory.id);
  if (!verdict.intact) throw new Error(verdict.why);
  for (const { name, manifest } of await door.hub.models.list(door.hub.territory.id))
    for (const { file, bytes } of manifest.files)
      if ((await store.read(file, 0, bytes)).length !== bytes) throw new Error(`${name} is not whole`);
  const sum = async (table: 'usage' | 'requests'): Promise<unknown> =>
    db
      .selectFrom(table)
      .select((eb) => [eb.fn.sum<number>('answer_tokens').as('tokens'), eb.fn.sum<number>('device_ms').as('ms')])
      .executeTakeFirst();
  const [usage, requests] = [JSON.stringify(await sum('usage')), JSON.stringify(await sum('requests'))];
  if (usage !== requests) throw new Error(`usage says ${usage}, requests say ${requests}`);
}

/** A file of the folder that no database has. */
export const putTlsKey = ({ place }: HubInPlace): void =>
  writeFileSync(join(place.data, 'tls.key'), 'a key', { mode: 0o600 });
