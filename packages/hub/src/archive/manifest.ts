/**
 * An archive is one file: a tar with a first part that says what it is, blobs, secrets, rows of tables, and a last part
 * with SHA-256 of all others. Whatever is damaged or cut off is known before anything of it is used.
 *
 *   idlewild.json          what it is: kind, version, date
 *   blocks/CID files/CID   dag-pb nodes; whole files
 *   secrets/NAME           keys and certificates, raw
 *   territories/ID.NAME    those of the further territories of a hub
 *   folder/NAME            files of the data folder: the TLS key, the first steward's key
 *   tables/NAME.000001     CBOR {columns, rows}
 *   manifest.json          the manifest
 */
import { z } from 'zod';

export const ARCHIVE_KINDS = ['backup', 'territory'] as const;
/** `backup`: a hub, to go on as it was. `territory`: a community, to go on at another hub. */
export type ArchiveKind = (typeof ARCHIVE_KINDS)[number];

export const ARCHIVE_FORMAT = 1;
export const HEAD_PART = 'idlewild.json';
export const MANIFEST_PART = 'manifest.json';

export const archiveHeadSchema = z.object({
  format: z.int().min(1),
  kind: z.enum(ARCHIVE_KINDS),
  /** Of the Idlewild that wrote it. */
  version: z.string(),
  createdAt: z.iso.datetime(),
});
export type ArchiveHead = z.infer<typeof archiveHeadSchema>;

export const archiveManifestSchema = archiveHeadSchema.extend({
  /** The one that moves, or the first of the hub. */
  territory: z.object({ id: z.string(), name: z.string() }),
  /** All others of a hub; absent where there are none. */
  further: z.array(z.object({ id: z.string(), name: z.string() })).optional(),
  /** Of the hub that it was taken from. */
  hub: z.string().optional(),
  /** Migrations that the tables had, in their order. */
  migrations: z.array(z.string()),
  /** By table. */
  rows: z.record(z.string(), z.int().min(0)),
  /** Whether the files of models are in it. */
  withBlobs: z.boolean(),
  /** Names of models of which files were missing or damaged at their hub. */
  incomplete: z.array(z.string()),
  parts: z.array(z.object({ name: z.string(), bytes: z.int().min(0), sha256: z.string() })),
});
export type ArchiveManifest = z.infer<typeof archiveManifestSchema>;
