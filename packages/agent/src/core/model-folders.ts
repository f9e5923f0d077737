/**
 * The private port between the shelf and the place where an engine finds a model's files under their paths.
 * Node's implementation links the store's files into a folder; the simulator's only remembers names.
 */
import type { Manifest } from '@idlewild/protocol';
import type { EngineModel } from '@idlewild/engine';

export interface ModelFolders {
  /** Notes that the bytes of a model are about to come, so that after a restart they can be found and removed. */
  note(cid: string): Promise<void>;
  /** All models noted and not removed. */
  list(): Promise<readonly string[]>;
  /** Makes the folder from finished files of the store. Throws `blob_not_found`, `disk_full`. */
  prepare(cid: string, manifest: Manifest): Promise<EngineModel>;
  /** Notes when a model was used last, milliseconds since 1970; does nothing for one that is not noted. */
  noteUse(cid: string, atMs: number): Promise<void>;
  /** `undefined` for a model that is not noted. */
  usedAt(cid: string): Promise<number | undefined>;
  /** Forgets the model and its folder; the store's files are the shelf's to remove. */
  remove(cid: string): Promise<void>;
}

/** What an engine is told about a model, wherever its folder is. */
export const engineModelOf = (cid: string, manifest: Manifest, folder: string): EngineModel => ({
  cid,
  kind: manifest.kind,
  folder,
  graph: manifest.graph,
  contextTokens: manifest.contextTokens,
  fileBytes: Object.fromEntries(manifest.files.map(({ path, bytes }) => [path, bytes])),
});

/** For engines that read no files. */
export function createMemoryModelFolders(): ModelFolders {
  const noted = new Map<string, number>();
  return {
    note: async (cid) => {
      if (!noted.has(cid)) noted.set(cid, 0);
    },
    list: async () => [...noted.keys()],
    noteUse: async (cid, atMs) => {
      if (noted.has(cid)) noted.set(cid, atMs);
    },
    usedAt: async (cid) => noted.get(cid),
    prepare: async (cid, manifest) => engineModelOf(cid, manifest, `memory/${cid}`),
    remove: async (cid) => {
      noted.delete(cid);
    },
  };
}
