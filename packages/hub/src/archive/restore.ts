/**
 * Restoring an archive into an empty place, of the same kind of database as it came from or of the other.
 *
 * All of the archive is read and held against its sums before the place is touched. Tables are made as they were,
 * filled, and then brought to this version. Every block is held against its CID as it enters. Whatever goes wrong on
 * the way empties the place again; a process that is killed leaves a mark at which hubs refuse to start.
 *
 * Requests that were open stay as they are, their prompts sealed: no replica is alive that has them, so the first hub
 * that starts ends them as failed.
 */
import { IdlewildError, decodeManifest } from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import { createAudit } from '../audit/audit.ts';
import { MIGRATIONS } from '../db/migrate.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { ArchiveKind, ArchiveManifest } from './manifest.ts';
import type { Place, PlacePorts } from './place.ts';
import { loadFile } from './load-file.ts';
import { checkArchive, damagedArchive, readArchive, type ArchiveFile } from './read-archive.ts';
import { importBeside } from './import-beside.ts';
import { loadPage } from './tables.ts';
import { openTarget, type Target } from './target.ts';

export interface RestoreOptions extends PlacePorts {
  readonly file: string;
  readonly kind: ArchiveKind;
  readonly place: Place;
  readonly passphrase?: string | undefined;
  readonly force?: boolean | undefined;
  /** A territory only: into a hub that has others. */
  readonly beside?: boolean | undefined;
  /** People of the archive whose ids are known there are the same people. */
  readonly samePeople?: boolean | undefined;
  readonly quotaBytes: number;
  readonly signal: AbortSignal;
  /** Bytes of the archive, which is read twice: first checked, then restored. */
  onProgress?(step: 'checking' | 'restoring', done: number, total: number): void;
}

const NAMES = { backup: 'a backup', territory: 'a territory' } as const;
const COMMANDS = { backup: 'idlewild restore', territory: 'idlewild territory import' } as const;

export interface Restored extends ArchiveManifest {
  /** Files of a data folder for which there was no place. */
  readonly leftOut: readonly string[];
}

/** Throws `usage`, `conflict`, `data_corrupt`, `disk_full`, `cancelled`; then the place is as it was. */
export async function restore(options: RestoreOptions): Promise<Restored> {
  const { file, passphrase, signal, onProgress } = options;
  const archive = (step: 'checking' | 'restoring'): ArchiveFile => ({
    file,
    passphrase,
    signal,
    onProgress: (done, total) => onProgress?.(step, done, total),
  });
  const manifest = await checkArchive(archive('checking'));
  checkFit(manifest, options);
  if (options.beside === true)
    return { ...manifest, leftOut: await importBeside(() => archive('restoring'), manifest, options) };
  const target = await openTarget({ ...options, force: options.force === true, migrations: manifest.migrations });
  try {
    const leftOut = await load(archive('restoring'), target, options);
    await target.finish((db) => noteAct(db, manifest, options));
    return { ...manifest, leftOut };
  } catch (error) {
    // Where even that fails, the mark stays, and what is there is known as half of something.
    await target.undo().catch(() => undefined);
    throw error;
  }
}

function checkFit(manifest: ArchiveManifest, { file, kind }: RestoreOptions): void {
  if (manifest.kind !== kind)
    throw new IdlewildError(
      'usage',
      `${file} is ${NAMES[manifest.kind]}, not ${NAMES[kind]}; use ${COMMANDS[manifest.kind]}`,
    );
  const strange = manifest.migrations.find((name, index) => MIGRATIONS[index]?.name !== name);
  if (strange !== undefined)
    throw new IdlewildError(
      'conflict',
      `${file} was written by Idlewild ${manifest.version}, which is newer: it has the migration "${strange}"; ` +
        'update Idlewild',
    );
  if (!manifest.parts.some(({ name }) => name === 'secrets/territory.key'))
    throw damagedArchive({ file }, 'the key of the territory is not in it');
}

/** Names of the files that found no place. */
async function load(from: ArchiveFile, target: Target, { crypto }: RestoreOptions): Promise<string[]> {
  const leftOut: string[] = [];
  const { store, database } = target;
  for await (const part of readArchive(from)) {
    const [folder = '', name = ''] = part.name.split('/');
    if (folder === 'blocks') await store.put(CID.parse(name), await part.whole());
    else if (folder === 'files') await loadFile(store, CID.parse(name), part, crypto);
    else if (folder === 'secrets' || folder === 'territories') await target.keepSecret(name, await part.whole());
    else if (folder === 'folder') {
      if (!(await target.keepFile(name, await part.whole()))) leftOut.push(name);
    } else if (folder === 'tables') {
      const page = await part.whole();
      const [table = ''] = name.split('.');
      await transact(database.db, (transaction) => loadPage(transaction, table, page));
    }
  }
  // Devices fetch a manifest as a block; in the archive it is in its model's row.
  const models = await database.db.selectFrom('models').select(['cid', 'manifest']).execute();
  for (const { cid, manifest } of models) {
    decodeManifest(manifest);
    await store.put(CID.parse(cid), manifest);
  }
  return leftOut;
}

async function noteAct(
  db: Database,
  manifest: ArchiveManifest,
  { clock, crypto, kind }: RestoreOptions,
): Promise<void> {
  const audit = createAudit({ db, crypto, clock });
  const { id } = manifest.territory;
  const details = { takenAt: manifest.createdAt, ...(manifest.hub === undefined ? {} : { hub: manifest.hub }) };
  const action = kind === 'backup' ? 'restore' : 'importTerritory';
  await transact(db, (transaction) =>
    audit.append(transaction, { territory: id, actor: 'command line', action, subject: id, details }),
  );
}
