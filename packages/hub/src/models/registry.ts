/**
 * The models of a territory: a name for a manifest whose bytes are all here.
 *
 * A model is added once its manifest block and every file of it are in the blob store, so a device that is told to hold
 * it can fetch it. A territory gives a CID one name, and a name one CID. Bytes are shared by content: removing a model
 * deletes the files that no other model uses, in whichever territory. Adding and removing take turns, over all
 * replicas, so that a file is not deleted between being found and being referred to.
 */
import {
  IdlewildError,
  LIMITS,
  decodeManifest,
  manifestBytes,
  readLayout,
  type BlobStore,
  type Clock,
  type Manifest,
  type ManifestFile,
} from '@idlewild/protocol';
import { CID } from 'multiformats/cid';
import type { Audit } from '../audit/audit.ts';
import { inTurn as takeTurn, type StillMine } from '../db/one-at-a-time.ts';
import type { Database, DatabaseTransaction, ModelRow } from '../db/schema.ts';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]*$/;
const DAG_CBOR = 0x71;
/** Decoded manifests kept; a large one has 100,000 tensors, which take longer to parse than to look up. */
const DECODED_MAX = 64;
/** Missing files named in one message. */
const NAMED_MAX = 5;

export interface Model {
  readonly territory: string;
  readonly name: string;
  /** CID of the manifest. */
  readonly cid: string;
  readonly manifest: Manifest;
  /** Of all its files. */
  readonly bytes: number;
  readonly addedAtMs: number;
  /** Devices keep it whatever else is wanted. */
  readonly pinned: boolean;
}

export interface ModelOrder {
  readonly territory: string;
  readonly name: string;
  /** CID of the manifest. */
  readonly manifest: string;
  /** Takes a name away from the model that has it, and removes that one. */
  readonly replace?: boolean;
  readonly actor: string;
  /** Which bytes whoever adds it may use; absent: all that are here. */
  readonly from?: Pick<BlobStore, 'get' | 'hasFile'> | undefined;
}

export interface PinOrder {
  readonly territory: string;
  readonly name: string;
  readonly pinned: boolean;
  readonly actor: string;
}

export interface Models {
  /**
   * Adds a model; the same name and CID again change nothing. Throws `blob_not_found` naming what is not here,
   * `conflict` when the name or the CID is taken, `model_invalid` or `invalid_request`.
   */
  add(order: ModelOrder): Promise<Model>;
  /** Throws `model_not_found`. */
  remove(order: { readonly territory: string; readonly name: string; readonly actor: string }): Promise<void>;
  /** Pins or unpins. Throws `model_not_found`. */
  pin(order: PinOrder): Promise<Model>;
  /** By name. */
  list(territory: string): Promise<Model[]>;
  /** Throws `model_not_found`. */
  show(territory: string, name: string): Promise<Model>;
  /** What a request needs of a model. Throws `model_not_found`. */
  resolve(territory: string, name: string): Promise<Pick<Model, 'cid' | 'manifest' | 'bytes'>>;
}

interface Inserted {
  readonly row: ModelRow;
  readonly replaced?: ModelRow;
}

export interface ModelsDeps {
  readonly db: Database;
  readonly store: BlobStore;
  readonly clock: Clock;
  readonly audit: Audit;
}

export function createModels({ db, store, clock, audit }: ModelsDeps): Models {
  const manifestOf = createManifestCache();
  const inProcess = createTurns();
  const inTurn = <Result>(act: (stillMine: StillMine) => Promise<Result>): Promise<Result> =>
    inProcess(() => takeTurn(db, 'models', act));
  const modelOf = (row: ModelRow): Model => ({
    territory: row.territory_id,
    name: row.name,
    cid: row.cid,
    manifest: manifestOf(row.cid, row.manifest),
    bytes: row.bytes,
    addedAtMs: row.added_at_ms,
    pinned: row.pinned === 1,
  });

  async function show(territory: string, name: string): Promise<Model> {
    const row = await rowByName(db, territory, name);
    if (row === undefined) throw unknownModel(name);
    return modelOf(row);
  }

  /** Deletes what `row` used and no other model does. */
  async function deleteBlobs(row: ModelRow, stillMine: StillMine): Promise<void> {
    // Over all territories, for bytes are shared by content: the one place where the second wall has a door.
    const others = await db.selectFrom('models').select(['cid', 'manifest']).execute();
    const used = new Set(others.flatMap(({ cid, manifest }) => cidsOf(cid, manifestOf(cid, manifest))));
    const unused = cidsOf(row.cid, manifestOf(row.cid, row.manifest)).filter((cid) => !used.has(cid));
    for (const cid of unused) {
      await stillMine();
      await store.remove(CID.parse(cid));
    }
  }

  async function insert(order: ModelOrder, cid: string, block: Uint8Array): Promise<Inserted> {
    const { territory, name, actor } = order;
    return db.transaction().execute(async (transaction) => {
      const named = await rowByName(transaction, territory, name);
      const same = await rowByCid(transaction, territory, cid);
      if (same !== undefined && same.name === name) return { row: same };
      checkFree(order, cid, named, same);
      const row: ModelRow = {
        cid,
        territory_id: territory,
        name,
        manifest: block,
        bytes: manifestBytes(manifestOf(cid, block)),
        added_at_ms: clock.now(),
        pinned: named?.pinned ?? 0,
      };
      if (named !== undefined) await deleteRow(transaction, named);
      await transaction.insertInto('models').values(row).execute();
      const details = { name, bytes: row.bytes, ...(named === undefined ? {} : { replaced: named.cid }) };
      await audit.append(transaction, { territory, actor, action: 'addModel', subject: cid, details });
      return named === undefined ? { row } : { row, replaced: named };
    });
  }

  return {
    add: (order) =>
      inTurn(async (stillMine) => {
        checkName(order.name);
        const cid = parseCid(order.manifest);
        const { from = store } = order;
        const block = await from.get(cid);
        if (block === undefined) {
          const message = `the manifest ${order.manifest} is not here yet; upload it, then add the model again`;
          throw new IdlewildError('blob_not_found', message, { details: { missing: [order.manifest] } });
        }
        await checkFiles(manifestOf(cid.toString(), block).files, from);
        const { row, replaced } = await insert(order, cid.toString(), block);
        if (replaced !== undefined) await deleteBlobs(replaced, stillMine);
        return modelOf(row);
      }),
    remove: ({ territory, name, actor }) =>
      inTurn(async (stillMine) => {
        const removed = await db.transaction().execute(async (transaction) => {
          const row = await rowByName(transaction, territory, name);
          if (row === undefined) throw unknownModel(name);
          await deleteRow(transaction, row);
          const event = { territory, actor, action: 'removeModel', subject: row.cid, details: { name } };
          await audit.append(transaction, event);
          return row;
        });
        await deleteBlobs(removed, stillMine);
      }),
    pin: ({ territory, name, pinned, actor }) =>
      inTurn(() =>
        db.transaction().execute(async (transaction) => {
          const row = await rowByName(transaction, territory, name);
          if (row === undefined) throw unknownModel(name);
          const value = pinned ? 1 : 0;
          if (row.pinned === value) return modelOf(row);
          await transaction
            .updateTable('models')
            .set({ pinned: value })
            .where('territory_id', '=', territory)
            .where('cid', '=', row.cid)
            .execute();
          const action = pinned ? 'pinModel' : 'unpinModel';
          await audit.append(transaction, { territory, actor, action, subject: row.cid, details: { name } });
          return modelOf({ ...row, pinned: value });
        }),
      ),
    async list(territory) {
      const rows = await db
        .selectFrom('models')
        .selectAll()
        .where('territory_id', '=', territory)
        .orderBy('name')
        .execute();
      return rows.map(modelOf);
    },
    show,
    resolve: show,
  };
}

const rowByName = (db: Database, territory: string, name: string): Promise<ModelRow | undefined> =>
  db.selectFrom('models').selectAll().where('territory_id', '=', territory).where('name', '=', name).executeTakeFirst();

const rowByCid = (db: Database, territory: string, cid: string): Promise<ModelRow | undefined> =>
  db.selectFrom('models').selectAll().where('territory_id', '=', territory).where('cid', '=', cid).executeTakeFirst();

const deleteRow = async (transaction: DatabaseTransaction, { territory_id, cid }: ModelRow): Promise<void> => {
  await transaction.deleteFrom('models').where('territory_id', '=', territory_id).where('cid', '=', cid).execute();
};

const cidsOf = (cid: string, { files }: Manifest): string[] => [cid, ...files.map(({ file }) => file.toString())];

const unknownModel = (name: string): IdlewildError =>
  new IdlewildError('model_not_found', `there is no model "${name}" here; GET /v1/models lists those that there are`);

function checkName(name: string): void {
  if (NAME.test(name) && name.length <= LIMITS.nameCharactersMax) return;
  const shown = name.slice(0, LIMITS.nameCharactersMax);
  throw new IdlewildError(
    'invalid_request',
    `"${shown}" cannot be the name of a model: a name is 1 to ` +
      `${LIMITS.nameCharactersMax} letters, digits, ".", "_", ":" and "-", beginning with a letter or digit`,
  );
}

type MaybeRow = ModelRow | undefined;

function checkFree({ name, replace }: ModelOrder, cid: string, named: MaybeRow, same: MaybeRow): void {
  if (same !== undefined) {
    const message = `the model ${cid} is here already under the name "${same.name}"; remove that first`;
    throw new IdlewildError('conflict', message);
  }
  if (named === undefined || replace === true) return;
  throw new IdlewildError(
    'conflict',
    `another model has the name "${name}" (${named.cid}); choose another name, or ask to replace it`,
  );
}

/** The CID of a manifest, as it is written here: CIDv1, dag-cbor. */
function parseCid(text: string): CID {
  const refuse = (why: string, cause?: unknown): IdlewildError =>
    new IdlewildError('invalid_request', `"${text.slice(0, 128)}" is not the CID of a manifest: ${why}`, { cause });
  let cid: CID;
  try {
    cid = CID.parse(text);
  } catch (error) {
    throw refuse((error as Error).message, error);
  }
  if (cid.version !== 1 || cid.code !== DAG_CBOR) throw refuse('it must be a CIDv1 of a dag-cbor block');
  return cid;
}

/** Every file must be complete in the store, and as long as the manifest says. */
async function checkFiles(
  files: readonly ManifestFile[],
  store: Pick<BlobStore, 'get' | 'hasFile'>,
): Promise<void> {
  const missing: ManifestFile[] = [];
  for (const file of files) if (!(await store.hasFile(file.file))) missing.push(file);
  if (missing.length > 0) {
    const named = missing
      .slice(0, NAMED_MAX)
      .map(({ path, file }) => `${path} (${file.toString()})`)
      .join(', ');
    const more = missing.length > NAMED_MAX ? ` and ${missing.length - NAMED_MAX} more` : '';
    const message = `${missing.length} of ${files.length} files are not here yet: ${named}${more}; upload them first`;
    const details = { missing: missing.map(({ file }) => file.toString()) };
    throw new IdlewildError('blob_not_found', message, { details });
  }
  for (const { path, file, bytes } of files) {
    const layout = await readLayout(file, async (cid) => (await store.get(cid)) ?? gone(cid));
    if (layout.bytes === bytes) continue;
    const message = `the manifest says that ${path} has ${bytes} bytes; it has ${layout.bytes}`;
    throw new IdlewildError('model_invalid', message);
  }
}

function gone(cid: CID): never {
  throw new IdlewildError('blob_not_found', `block ${cid.toString()} is gone from the store; upload its file again`);
}

/** A manifest is what its CID says, for ever: it is decoded once. */
function createManifestCache(): (cid: string, block: Uint8Array) => Manifest {
  const decoded = new Map<string, Manifest>();
  return (cid, block) => {
    const manifest = decoded.get(cid) ?? decodeManifest(block);
    decoded.delete(cid);
    decoded.set(cid, manifest);
    if (decoded.size > DECODED_MAX) decoded.delete(decoded.keys().next().value as string);
    return manifest;
  };
}

/** Runs what it is given one after the other; a failure stops nobody else. */
function createTurns(): <Result>(act: () => Promise<Result>) => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  return (act) => {
    const mine = last.then(act, act);
    last = mine;
    return mine;
  };
}
