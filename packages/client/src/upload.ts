/**
 * Publishing a model: its files leaf by leaf, its manifest, its name.
 *
 * The hub says which leaves it lacks, so an interrupted upload goes on where it stopped and a second one of the same
 * model sends nothing. Four leaves of at most 1 MiB are in memory at once. It hashes nothing: whoever laid the files
 * out did, and the hub does again.
 */
import { IdlewildError, LIMITS, type FileLayout } from '@idlewild/protocol';
import type { CallOptions, HubConnection } from './http.ts';
import type { AddedModel } from './shapes/models.ts';

export interface UploadFile {
  readonly path: string;
  readonly layout: FileLayout;
  /** The dag-pb nodes above the leaves; none for a file of one leaf. */
  readonly nodes: readonly { readonly cid: { toString(): string }; readonly bytes: Uint8Array }[];
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface UploadModel extends CallOptions {
  readonly name: string;
  readonly manifest: { readonly cid: { toString(): string }; readonly bytes: Uint8Array };
  readonly files: readonly UploadFile[];
  /** Whether the name may be taken from another model. */
  readonly replace?: boolean | undefined;
  /** Bytes that the hub holds, of all. */
  onProgress?(doneBytes: number, totalBytes: number): void;
}

export async function uploadModel(connection: HubConnection, upload: UploadModel): Promise<AddedModel> {
  const { name, manifest, replace, signal } = upload;
  const totalBytes = upload.files.reduce((sum, { layout }) => sum + layout.bytes, 0);
  let doneBytes = 0;
  const done = (bytes: number): void => {
    doneBytes += bytes;
    upload.onProgress?.(doneBytes, totalBytes);
  };
  for (const file of upload.files) await uploadFile(connection, file, done, { signal });
  await connection.put(`/api/blobs/${manifest.cid.toString()}`, manifest.bytes, { signal });
  const request = { name, manifest: manifest.cid.toString(), ...(replace === undefined ? {} : { replace }) };
  return connection.json<AddedModel>('POST', '/api/models', request, { signal });
}

async function uploadFile(
  connection: HubConnection,
  file: UploadFile,
  done: (bytes: number) => void,
  options: CallOptions,
): Promise<void> {
  const { root, bytes, leaves } = file.layout;
  for (const node of file.nodes) await connection.put(`/api/blobs/${node.cid.toString()}`, node.bytes, options);
  const opening = { root: root.toString(), ...(file.nodes.length === 0 ? { bytes } : {}) };
  const { missing } = await connection.json<{ missing: readonly number[] }>('POST', '/api/files', opening, options);
  const starts = startsOf(leaves);
  const absent = missing.reduce((sum, index) => sum + (leaves[index]?.bytes ?? 0), 0);
  done(bytes - absent);
  const sendLeaf = async (index: number): Promise<void> => {
    const leaf = leaves[index];
    if (leaf === undefined) {
      throw new IdlewildError('internal', `the hub asks for leaf ${index} of ${file.path}, which has ${leaves.length}`);
    }
    const part = await file.read(starts[index] as number, leaf.bytes);
    await connection.put(`/api/files/${root}/leaves/${index}`, part, options);
    done(leaf.bytes);
  };
  await forEachAtOnce(missing, LIMITS.transferConcurrency, sendLeaf);
  await connection.json('POST', `/api/files/${root}/finish`, undefined, options);
}

function startsOf(leaves: FileLayout['leaves']): number[] {
  let at = 0;
  return leaves.map(({ bytes }) => {
    const start = at;
    at += bytes;
    return start;
  });
}

/** Starts nothing more after a failure, and throws the first. */
async function forEachAtOnce<Item>(
  items: readonly Item[],
  atOnce: number,
  act: (item: Item) => Promise<void>,
): Promise<void> {
  const queue = items.values();
  let failed = false;
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (failed) return;
      await act(item).catch((error: unknown) => {
        failed = true;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}
