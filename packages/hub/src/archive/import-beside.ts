/**
 * A community comes to a hub that has others: its rows, its key and its files beside theirs, all or nothing.
 *
 * The archive is somebody else's. Whatever it says, nothing of another community changes: every row must be of the one
 * that its key names, and who is a person here already is not taken for the same one unless whoever runs the hub says
 * so: for people see and control their devices wherever they are lent. Replicas that run see all of it or nothing, and
 * serve it within a second or two. Bytes of models that came before something failed stay, and are nobody's.
 */
import { IdlewildError, decodeManifest, idOfKey, type Crypto } from '@idlewild/protocol';
import { lockFolder } from '@idlewild/protocol/node';
import { CID } from 'multiformats/cid';
import { createAudit } from '../audit/audit.ts';
import { MIGRATIONS, migrate } from '../db/migrate.ts';
import type { OpenDatabase } from '../db/open.ts';
import type { DatabaseTransaction } from '../db/schema.ts';
import { HOUSE_LIMITS } from '../house/limits.ts';
import { KEY_BYTES, secretsOf } from '../identity/secrets.ts';
import { loadFile } from './load-file.ts';
import type { ArchiveManifest } from './manifest.ts';
import { openDatabaseOf, secretsIn, type Place, type PlacePorts } from './place.ts';
import { readArchive, type ArchiveFile } from './read-archive.ts';

import { loadPage, readPage } from './tables.ts';
import { storeOf } from './target.ts';

export interface BesideOptions extends PlacePorts {
  readonly place: Place;
  readonly quotaBytes: number;
  /** People of the archive whose ids are known there are the same people. */
  readonly samePeople?: boolean | undefined;
}

/** Names of the files that found no place. Throws `conflict`, `data_corrupt`, `not_found`; then nothing was changed. */
export async function importBeside(
  archive: () => ArchiveFile,
  manifest: ArchiveManifest,
  options: BesideOptions,
): Promise<string[]> {
  const { place, clock } = options;
  checkVersion(manifest);
  const lock = place.database === undefined ? lockFolder(place.data, 'hub') : undefined;
  try {
    const database = await openDatabaseOf(place, clock, migrate);
    try {
      await checkPlace(database, manifest);
      const leftOut = await keepParts(archive(), database, manifest, options);
      await database.db.transaction().execute(async (transaction) => {
        await loadRows(archive(), transaction, manifest, options);
        const audit = createAudit({ db: database.db, crypto: options.crypto, clock: database.clock });
        const { id } = manifest.territory;
        const details = { takenAt: manifest.createdAt };
        const act = { territory: id, actor: 'command line', action: 'importTerritory', subject: id, details };
        await audit.append(transaction, act);
      });
      return leftOut;
    } finally {
      await database.close();
    }
  } finally {
    lock?.release();
  }
}

/** Rows go into tables as they are now, so they must be of tables that look the same. */
function checkVersion({ migrations, version }: ArchiveManifest): void {
  if (migrations.length === MIGRATIONS.length) return;
  throw new IdlewildError(
    'conflict',
    `the archive is of Idlewild ${version}, whose tables were others. Start its hub with this version once and ` +
      'export again; or import it into an empty place, start a hub there, and export from that',
  );
}

async function checkPlace({ db }: OpenDatabase, { territory: { id, name } }: ArchiveManifest): Promise<void> {
  const there = await db.selectFrom('territories').select(['id', 'name']).execute();
  if (there.length === 0)
    throw new IdlewildError('not_found', 'no hub has started there yet; import into the empty place without --beside');
  if (there.some((row) => row.id === id))
    throw new IdlewildError('conflict', `the community ${id} is there already, perhaps closed; nothing was changed`);
  if (there.some((row) => row.name === name))
    throw new IdlewildError('conflict', `another community there has the name "${name}"; nothing was changed`);
  if (there.length >= HOUSE_LIMITS.territoriesMax)
    throw new IdlewildError('conflict', `the hub has ${there.length} communities and holds no more`);
}

/** Bytes and keys: what counts for nothing until there are rows. */
async function keepParts(
  from: ArchiveFile,
  { db }: OpenDatabase,
  { territory: { id } }: ArchiveManifest,
  options: BesideOptions,
): Promise<string[]> {
  const { place, crypto } = options;
  const leftOut: string[] = [];
  async function keep(name: 'territory.key' | 'sign-in.key', key: Uint8Array): Promise<void> {
    if (key.length !== KEY_BYTES)
      throw new IdlewildError('data_corrupt', `${name} in the archive has ${key.length} bytes; nothing was changed`);
    const header = `Idlewild ${name}, restored from an archive. Keep it secret.`;
    await secretsOf(secretsIn(place, db, options), id).write(name, key, header);
  }
  const store = await storeOf(options, db);
  for await (const part of readArchive(from)) {
    const [folder = '', name = ''] = part.name.split('/');
    if (folder === 'blocks') await store.put(CID.parse(name), await part.whole());
    else if (folder === 'files') await loadFile(store, CID.parse(name), part, crypto);
    else if (folder === 'folder') leftOut.push(name);
    else if (folder === 'tables' && name.startsWith('models.')) {
      for (const { cid, manifest } of manifestsIn(await part.whole())) {
        decodeManifest(manifest);
        await store.put(CID.parse(cid), manifest);
      }
    } else if (part.name === 'secrets/sign-in.key') {
      // Secrets of its OpenID providers are sealed with it.
      await keep('sign-in.key', await part.whole());
    } else if (part.name === 'secrets/territory.key') {
      const seed = await part.whole();
      if ((await idOf(seed, crypto)) !== id)
        throw new IdlewildError('data_corrupt', `the key in the archive is not that of ${id}; nothing was changed`);
      await keep('territory.key', seed);
    }
  }
  return leftOut;
}

const idOf = async (seed: Uint8Array, crypto: Crypto): Promise<string> =>
  idOfKey('ter', (await crypto.signingKey(seed)).publicKey, crypto);

function manifestsIn(bytes: Uint8Array): { readonly cid: string; readonly manifest: Uint8Array }[] {
  const { columns, rows } = readPage('models', bytes);
  const [cid, manifest] = [columns.indexOf('cid'), columns.indexOf('manifest')];
  return rows.map((row) => ({ cid: String(row[cid]), manifest: row[manifest] as Uint8Array }));
}

async function loadRows(
  from: ArchiveFile,
  transaction: DatabaseTransaction,
  { territory: { id } }: ArchiveManifest,
  { samePeople = false }: BesideOptions,
): Promise<void> {
  const people = new Set<string>();
  for await (const part of readArchive(from)) {
    const [folder = '', name = ''] = part.name.split('/');
    if (folder !== 'tables') continue;
    const [table = ''] = name.split('.');
    const bytes = await part.whole();
    if (table === 'people') {
      for (const person of await loadPeople(transaction, bytes, samePeople)) people.add(person);
      continue;
    }
    checkRows(table, bytes, id, people);
    await loadPage(transaction, table, bytes);
  }
}

/** Who came along; those who are here already stay as they are. */
async function loadPeople(
  transaction: DatabaseTransaction,
  bytes: Uint8Array,
  samePeople: boolean,
): Promise<readonly string[]> {
  const { columns, rows } = readPage('people', bytes);
  const [id, name, createdAt] = ['id', 'name', 'created_at_ms'].map((column) => columns.indexOf(column)) as [
    number,
    number,
    number,
  ];
  const all = rows.map((row) => ({
    id: String(row[id]),
    name: String(row[name]),
    created_at_ms: Number(row[createdAt]),
  }));
  if (all.length === 0) return [];
  const ids = all.map((person) => person.id);
  const there = await transaction.selectFrom('people').select('id').where('id', 'in', ids).execute();
  if (there.length > 0 && !samePeople) {
    throw new IdlewildError(
      'conflict',
      `${there.length} of its people have the ids of people of this hub. If they are the same, as where a community ` +
        'comes back, say --same-people: they will have their devices and keys of all communities in one place',
    );
  }
  await transaction
    .insertInto('people')
    .values(all)
    .onConflict((on) => on.doNothing())
    .execute();
  return ids;
}

/** Every row must be of this territory and of people who came along. */
function checkRows(table: string, bytes: Uint8Array, territory: string, people: ReadonlySet<string>): void {
  const { columns, rows } = readPage(table, bytes);
  const at = columns.indexOf(table === 'territories' ? 'id' : 'territory_id');
  const person = columns.indexOf('person_id');
  for (const row of rows) {
    if (at !== -1 && row[at] === territory) {
      const who = person === -1 ? null : (row[person] as string | null);
      if (who === null || people.has(who)) continue;
      throw new IdlewildError('data_corrupt', `a row of ${table} is of a person who did not come along`);
    }
    throw new IdlewildError('data_corrupt', `a row of ${table} is not of ${territory}; nothing was changed`);
  }
}
