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
import {
  IdlewildError,
  RAW,
  decodeManifest,
  matches,
  readLayout,
  type BlobStore,
  type Crypto,
  type FileLayout,
} from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import { createAudit } from '../audit/audit.ts';
import { MIGRATIONS } from '../db/migrate.ts';
import type { Database } from '../db/schema.ts';
import { transact } from '../db/transact.ts';
import type { ArchiveKind, ArchiveManifest } from './manifest.ts';
import type { Place, PlacePorts } from './place.ts';
import { checkArchive, damagedArchive, readArchive, type ArchiveFile, type ArchivePart } from './read-archive.ts';
import { loadPage } from './tables.ts';
import { openTarget, type Target } from './target.ts';

export interface RestoreOptions extends PlacePorts {
  readonly file: string;
  readonly kind: ArchiveKind;
  readonly place: Place;
  readonly passphrase?: string | undefined;
  readonly force?: boolean | undefined;
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
    else if (folder === 'secrets') await target.keepSecret(name, await part.whole());
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

/** A file with damaged leaves stays unfinished: publishing its model again sends what is missing. */
async function loadFile(store: BlobStore, root: CID, part: ArchivePart, crypto: Crypto): Promise<void> {
  const layout: FileLayout =
    root.code === RAW
      ? { root, bytes: part.bytes, leaves: [{ cid: root, bytes: part.bytes }] }
      : await readLayout(root, async (cid) => {
          const node = await store.get(cid);
          if (node !== undefined) return node;
          throw new IdlewildError('data_corrupt', `node ${cid.toString()} comes after the file that needs it`);
        });
  const assembly = await store.assemble(layout);
  const missing = new Set(assembly.missing());
  let index = 0;
  for await (const bytes of inLeaves(layout, part.chunks())) {
    const leaf = layout.leaves[index] as FileLayout['leaves'][number];
    if (missing.has(index) && (await matches(leaf.cid, bytes, crypto))) {
      await assembly.write(index, bytes);
      missing.delete(index);
    }
    index++;
  }
  if (missing.size === 0) await assembly.finish();
}

/** Cuts a stream at the ends of a file's leaves. */
async function* inLeaves({ leaves }: FileLayout, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let index = 0;
  let buffer = new Uint8Array(leaves[0]?.bytes ?? 0);
  let filled = 0;
  if (buffer.length === 0) yield buffer;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const taken = Math.min(buffer.length - filled, chunk.length - at);
      buffer.set(chunk.subarray(at, at + taken), filled);
      filled += taken;
      at += taken;
      if (filled < buffer.length) continue;
      yield buffer;
      buffer = new Uint8Array(leaves[++index]?.bytes ?? 0);
      filled = 0;
    }
  }
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
