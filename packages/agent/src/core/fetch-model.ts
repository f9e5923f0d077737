/**
 * The bytes of a model, from sources into the store and out of it again. Everything that enters the store is verified
 * there against its CID; a source that gives wrong bytes is passed over and the next one asked.
 */
import { CID } from 'multiformats/cid';
import {
  IdlewildError,
  decodeManifest,
  fetchBlock,
  fetchFile,
  manifestBytes,
  type Blame,
  type BlobSource,
  type BlobStore,
  type Clock,
  type FileAssembly,
  type FileLayout,
  type Manifest,
} from '@idlewild/protocol';
import type { ModelFolders } from './model-folders.ts';

interface Ports {
  readonly clock: Clock;
  readonly store: BlobStore;
  readonly folders: ModelFolders;
}

export interface ModelTransfer {
  readonly sources: readonly BlobSource[];
  readonly signal: AbortSignal;
  readonly onBlame: (blame: Blame) => void;
  /** Where in each file to begin; as in `FileTransfer`. */
  readonly beginAt: number;
  readonly onOpened: (layout: FileLayout, assembly: FileAssembly) => void;
  /** Before any file is fetched; what it throws ends the transfer. */
  readonly onManifest: (manifest: Manifest) => void;
  /** Share of the model's bytes that is there. */
  readonly onFraction: (fraction: number) => void;
}

/** Throws `model_invalid` for a text that is no CID. */
function parseCid(text: string): CID {
  try {
    return CID.parse(text);
  } catch (cause) {
    throw new IdlewildError('model_invalid', `"${text}" is not the CID of a manifest`, { cause });
  }
}

/** The manifest of a model, whether or not its files are there; `undefined` when the store has not got it. */
export async function knownManifest(cid: string, { store }: Pick<Ports, 'store'>): Promise<Manifest | undefined> {
  const block = await store.get(parseCid(cid));
  return block === undefined ? undefined : decodeManifest(block);
}

/** The manifest of a model that the store holds whole, or `undefined`. */
export async function readManifest(cid: string, { store }: Pick<Ports, 'store'>): Promise<Manifest | undefined> {
  const manifest = await knownManifest(cid, { store });
  if (manifest === undefined) return undefined;
  for (const { file } of manifest.files) if (!(await store.hasFile(file))) return undefined;
  return manifest;
}

/**
 * Fetches what is missing of a model. Throws `model_invalid`, `cancelled`, and what the transfer and the store throw:
 * `blob_not_found` with what each source said, `blob_invalid`, `disk_full`, `quota_exceeded`.
 */
export async function fetchModel(cid: string, { clock, store }: Ports, transfer: ModelTransfer): Promise<Manifest> {
  const { sources, signal, beginAt, onBlame, onManifest, onOpened, onFraction } = transfer;
  const manifest = decodeManifest(await fetchBlock(parseCid(cid), sources, store, { clock, signal, onBlame }));
  onManifest(manifest);
  const totalBytes = Math.max(1, manifestBytes(manifest));
  let doneBytes = 0;
  for (const { path, file, bytes } of manifest.files) {
    const layout = await fetchFile({
      root: file,
      clock,
      store,
      sources,
      signal,
      beginAt,
      onBlame,
      onOpened,
      onProgress: (progress) => onFraction(Math.min(1, (doneBytes + progress.bytes) / totalBytes)),
    });
    if (layout.bytes !== bytes) {
      throw new IdlewildError('model_invalid', `"${path}" has ${layout.bytes} bytes; the manifest says ${bytes}`);
    }
    doneBytes += bytes;
  }
  return manifest;
}

/** Removes a model's folder, its manifest, and its files except those whose root CIDs are in `kept`. */
export async function removeModel(cid: string, kept: ReadonlySet<string>, { store, folders }: Ports): Promise<void> {
  const manifestCid = parseCid(cid);
  const block = await store.get(manifestCid);
  await folders.remove(cid);
  if (block === undefined) return;
  for (const { file } of decodeManifest(block).files) if (!kept.has(file.toString())) await store.remove(file);
  await store.remove(manifestCid);
}
