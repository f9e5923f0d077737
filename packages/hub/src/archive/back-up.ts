/**
 * Writing a hub, or its territory, into an archive, while the hub runs.
 *
 * Blobs first: they never change, and nothing needs to stand still for them. Then the rows, all of one moment, in one
 * transaction that reads. If a model has come meanwhile, the transaction is given up, its files follow, and the rows
 * are read again; so the archive is of the moment at its end, and every model in it has its files. A model that was
 * removed meanwhile leaves files that nobody needs. A file that is damaged at its hub does not stop a backup: the
 * model is named, and its good leaves are kept.
 */
import {
  IdlewildError,
  RAW,
  decodeManifest,
  idOfKey,
  readLayout,
  type Crypto,
  type FileLayout,
  type Manifest,
} from '@idlewild/protocol';
import { sql } from 'kysely';
import type { CID } from 'multiformats/cid';
import { createAudit } from '../audit/audit.ts';
import type { Database, DatabaseTransaction } from '../db/schema.ts';
import { isPostgres, transact } from '../db/transact.ts';
import type { SecretName } from '../identity/secrets.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { BlobReader } from './folder-blobs.ts';
import type { ArchiveKind, ArchiveManifest } from './manifest.ts';
import {
  findTerritory,
  migrationsOf,
  openSource,
  type FoundTerritory,
  type OpenSource,
  type Place,
  type PlacePorts,
} from './place.ts';
import { dumpTables } from './tables.ts';
import { writeArchive, type PartWriter } from './write-archive.ts';

export interface BackUpOptions extends PlacePorts {
  readonly place: Place;
  readonly file: string;
  readonly kind: ArchiveKind;
  /** Id or name of the territory that moves; absent: the first of the hub. */
  readonly territory?: string | undefined;
  /** Of a territory only; a backup always has them. */
  readonly withBlobs?: boolean;
  readonly passphrase?: string | undefined;
  readonly signal: AbortSignal;
  /** Bytes of models. */
  onProgress?(done: number, total: number): void;
}

/** What a territory takes to another hub; the rest are secrets of the hub that it leaves. */
const MOVING_SECRETS = new Set<SecretName>(['territory.key', 'sign-in.key']);
const MOVING_FILES = new Set(['tls.crt', 'tls.key']);

/** Throws `not_found`, `conflict`, `data_corrupt`, `disk_full`, `cancelled`, `usage`; then there is no file. */
export async function backUp(options: BackUpOptions): Promise<ArchiveManifest> {
  const { place, kind } = options;
  const source = await openSource(place, options);
  try {
    const territory = await findTerritory(source, kind === 'territory' ? options.territory : undefined, options.crypto);
    const writing = { file: options.file, kind, nowMs: source.database.clock.now(), random: options.random };
    return await writeArchive(
      { ...writing, passphrase: options.passphrase, signal: options.signal },
      async (writer) => {
        await noteAct(source, territory.id, options);
        return fill(writer, source, territory, options);
      },
    );
  } finally {
    await source.database.close();
  }
}

/** Who can do this has the database and its secrets anyway; the log says when it was done. */
async function noteAct({ database }: OpenSource, territory: string, { kind, crypto }: BackUpOptions): Promise<void> {
  const { db, clock } = database;
  const action = kind === 'backup' ? 'backUp' : 'exportTerritory';
  const audit = createAudit({ db, crypto, clock });
  await transact(db, (transaction) =>
    audit.append(transaction, { territory, actor: 'command line', action, subject: territory }),
  );
}

async function fill(
  writer: PartWriter,
  source: OpenSource,
  territory: FoundTerritory,
  options: BackUpOptions,
): Promise<Omit<ArchiveManifest, 'format' | 'kind' | 'version' | 'createdAt' | 'parts'>> {
  const { kind, crypto } = options;
  const { db } = source.database;
  const { id, name, isFirst } = territory;
  const only = kind === 'territory' ? id : undefined;
  const withBlobs = kind === 'backup' || options.withBlobs === true;
  const models = createModelWriter(writer, source.blobs, options);
  for (;;) {
    if (withBlobs) await models.write(await modelsIn(db, only));
    const rows = await inSnapshot(db, async (snapshot) => {
      const now = await modelsIn(snapshot, only);
      if (withBlobs && models.lackAny(now)) return undefined;
      // What is of the hub it keeps, its address too, where a community moves that is not its own.
      const secrets = await source.secrets(snapshot, isFirst ? undefined : id);
      const files = isFirst ? await source.folderFiles() : new Map<string, Uint8Array>();
      if (!secrets.has('territory.key'))
        throw new IdlewildError(
          'data_corrupt',
          'the key of the territory is missing; without it there is no use in this',
        );
      const { hub } = await writeSecrets(writer, secrets, files, kind, crypto);
      const further = kind === 'backup' ? await writeFurther(writer, source, snapshot, id) : {};
      const migrations = await migrationsOf(snapshot);
      const written = {
        migrations,
        rows: await writeRows(writer, snapshot, kind, id),
        incomplete: models.incomplete(now),
      };
      return { ...written, ...further, ...(hub === undefined ? {} : { hub }) };
    });
    if (rows !== undefined) return { territory: { id, name }, ...rows, withBlobs };
  }
}

/** All that `act` reads is of one moment. */
function inSnapshot<Result>(db: Database, act: (snapshot: DatabaseTransaction) => Promise<Result>): Promise<Result> {
  const reading = db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only');
  return reading.execute(async (snapshot) => {
    // It holds nobody up, and what it reads may go to a slow disk in between.
    const idleMs = sql.lit(HUB_LIMITS.turnIdleMsMax);
    if (isPostgres(db)) await sql`set local idle_in_transaction_session_timeout = ${idleMs}`.execute(snapshot);
    return act(snapshot);
  });
}

interface ModelInRow {
  readonly name: string;
  readonly cid: string;
  readonly bytes: number;
  readonly manifest: Uint8Array;
}

function modelsIn(db: Database, only: string | undefined): Promise<ModelInRow[]> {
  const all = db.selectFrom('models').select(['name', 'cid', 'bytes', 'manifest']).orderBy('name');
  return (only === undefined ? all : all.where('territory_id', '=', only)).execute();
}

/** Keys and certificates of the territories beside the first. */
async function writeFurther(
  writer: PartWriter,
  source: OpenSource,
  snapshot: Database,
  first: string,
): Promise<Pick<ArchiveManifest, 'further'>> {
  const further = await snapshot.selectFrom('territories').select(['id', 'name']).where('id', '!=', first).execute();
  for (const { id } of further)
    for (const [name, bytes] of await source.secrets(snapshot, id))
      await writer.part(`territories/${id}.${name}`, bytes);
  return further.length === 0 ? {} : { further };
}

async function writeSecrets(
  writer: PartWriter,
  secrets: ReadonlyMap<SecretName, Uint8Array>,
  files: ReadonlyMap<string, Uint8Array>,
  kind: ArchiveKind,
  crypto: Crypto,
): Promise<{ readonly hub?: string }> {
  for (const [name, bytes] of secrets)
    if (kind === 'backup' || MOVING_SECRETS.has(name)) await writer.part(`secrets/${name}`, bytes);
  for (const [name, bytes] of files)
    if (kind === 'backup' || MOVING_FILES.has(name)) await writer.part(`folder/${name}`, bytes);
  const seed = secrets.get('hub.key');
  if (seed === undefined) return {};
  return { hub: await idOfKey('hub', (await crypto.signingKey(seed)).publicKey, crypto) };
}

async function writeRows(
  writer: PartWriter,
  snapshot: DatabaseTransaction,
  kind: ArchiveKind,
  territory: string,
): Promise<Record<string, number>> {
  const rows: Record<string, number> = {};
  const pages: Record<string, number> = {};
  for await (const { table, rows: count, page } of dumpTables(snapshot, kind, territory)) {
    const number = (pages[table] = (pages[table] ?? 0) + 1);
    rows[table] = (rows[table] ?? 0) + count;
    await writer.part(`tables/${table}.${String(number).padStart(6, '0')}`, page);
  }
  return rows;
}

interface ModelWriter {
  write(models: readonly ModelInRow[]): Promise<void>;
  lackAny(models: readonly ModelInRow[]): boolean;
  /** Names of those of which files are missing or damaged. */
  incomplete(models: readonly ModelInRow[]): string[];
}

function createModelWriter(writer: PartWriter, blobs: BlobReader, { onProgress }: BackUpOptions): ModelWriter {
  /** CIDs of models. */
  const models = new Set<string>();
  const writtenNodes = new Set<string>();
  const writtenFiles = new Set<string>();
  /** CIDs of files and models. */
  const broken = new Set<string>();
  let done = 0;

  /** `false` where a node of its tree is missing: then nothing of it can be kept. */
  const writeFile = async (layout: FileLayout, tick: (bytes: number) => void): Promise<boolean> => {
    let isWhole = true;
    async function* chunks(): AsyncGenerator<Uint8Array> {
      let index = 0;
      for await (const leaf of blobs.leaves(layout)) {
        const { bytes } = layout.leaves[index++] as FileLayout['leaves'][number];
        isWhole &&= leaf !== undefined;
        yield leaf ?? new Uint8Array(bytes);
        tick(bytes);
      }
    }
    await writer.longPart(`files/${layout.root.toString()}`, layout.bytes, chunks());
    return isWhole;
  };
  const nodesFirst = async (file: Manifest['files'][number]): Promise<FileLayout | undefined> => {
    if (file.file.code === RAW) return singleLeaf(file.file, file.bytes);
    const nodes = new Map<string, Uint8Array>();
    try {
      const layout = await readLayout(file.file, async (cid) => {
        const bytes = await blobs.node(cid);
        if (bytes === undefined) throw new IdlewildError('blob_not_found', `node ${cid.toString()} is gone`);
        nodes.set(cid.toString(), bytes);
        return bytes;
      });
      for (const [cid, bytes] of nodes)
        if (!writtenNodes.has(cid)) {
          writtenNodes.add(cid);
          await writer.part(`blocks/${cid}`, bytes);
        }
      return layout;
    } catch (error) {
      if ((error as { code?: string }).code === 'blob_not_found') return undefined;
      throw error;
    }
  };

  return {
    lackAny: (all) => all.some(({ cid }) => !models.has(cid)),
    incomplete: (all) => all.filter(({ cid }) => broken.has(cid)).map(({ name }) => name),
    async write(all) {
      const total = all.reduce((sum, { cid, bytes }) => (models.has(cid) ? sum : sum + bytes), done);
      for (const { cid, manifest } of all) {
        if (models.has(cid)) continue;
        models.add(cid);
        for (const file of decodeManifest(manifest).files) {
          const root = file.file.toString();
          const tick = (bytes: number): void => onProgress?.((done += bytes), Math.max(total, done));
          if (writtenFiles.has(root)) tick(file.bytes);
          else {
            writtenFiles.add(root);
            const layout = await nodesFirst(file);
            if (layout === undefined || !(await writeFile(layout, tick))) broken.add(root);
          }
          if (broken.has(root)) broken.add(cid);
        }
      }
    },
  };
}

const singleLeaf = (root: CID, bytes: number): FileLayout => ({ root, bytes, leaves: [{ cid: root, bytes }] });
