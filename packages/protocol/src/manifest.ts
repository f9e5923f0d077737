/**
 * Manifest v1: what a model is. One dag-cbor block; its CID is the model's identity.
 *
 * A model is a weight-free ONNX graph, its files (UnixFS, 1 MiB raw leaves) and a table that says which bytes of which
 * file are which tensor, so that a device can fetch only the ranges it needs. Names are no part of the identity: a
 * territory gives a CID its name.
 */
import * as dagCbor from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import * as digest from 'multiformats/hashes/digest';
import { z } from 'zod';
import { IdlewildError } from './errors.ts';
import { LIMITS } from './limits.ts';
import type { Crypto } from './ports.ts';

const SHA2_256 = 0x12;

const cid = z.custom<CID>((value) => CID.asCID(value) !== null, 'must be a CID');
/** A plain relative path: no leading slash, no `..`, no back-slash. */
const path = z
  .string()
  .min(1)
  .max(256)
  .regex(/^(?!.*(^|\/)\.{1,2}(\/|$))[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/, 'must be a plain relative path');

export const manifestFileSchema = z.object({ path, file: cid, bytes: z.int().min(0) });
export const manifestTensorSchema = z.object({
  name: z.string().min(1).max(1_024),
  /** `path` of the file that holds it. */
  path,
  offset: z.int().min(0),
  bytes: z.int().min(0),
  /** ONNX TensorProto.DataType. */
  dtype: z.int().min(1).max(64),
  dims: z.array(z.int().min(0)).max(16),
});

export const MODEL_KINDS = ['decoder', 'encoder', 'classifier'] as const;
export type ModelKind = (typeof MODEL_KINDS)[number];

const cardText = z.string().max(4_096).optional();
/** What people must know of a model, as its makers say it. All texts are somebody else's. */
export const modelCardSchema = z.object({
  /** An SPDX identifier where the source has one. */
  licence: z.string().max(256).optional(),
  description: cardText,
  /** Where it comes from: `hf:org/name@revision`, or a folder's name. */
  source: z.string().max(512).optional(),
  /** BCP 47. */
  languages: z.array(z.string().max(35)).max(256).optional(),
  intendedUse: cardText,
  limitations: cardText,
  /** What it was made from. */
  baseModel: z.string().max(256).optional(),
  parameters: z.int().min(0).optional(),
});
export type ModelCard = z.infer<typeof modelCardSchema>;

export const manifestSchema = z.object({
  v: z.literal(1),
  /** A decoder makes text, an encoder makes a vector of a text, a classifier says which of its labels fits it. */
  kind: z.enum(MODEL_KINDS),
  /** `path` of the weight-free graph. */
  graph: path,
  files: z.array(manifestFileSchema).min(1).max(1_024),
  tensors: z.array(manifestTensorSchema).max(100_000),
  /** Tokens of context that the model runs. */
  contextTokens: z.int().min(1),
  vocabularyTokens: z.int().min(1),
  layers: z.int().min(1),
  /** Of an encoder: the numbers of one vector. */
  dimensions: z
    .int()
    .min(1)
    .max(LIMITS.embedVectorBytesMax / 4)
    .optional(),
  /**
   * Of an encoder made so that the beginning of a vector is a vector (Matryoshka): the lengths it may be cut to, all
   * where the list is empty.
   */
  matryoshka: z.array(z.int().min(1)).max(256).optional(),
  /** Of a classifier, in the order of its outputs. */
  labels: z.array(z.string().max(256)).min(1).max(10_000).optional(),
  card: modelCardSchema,
});
export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestFile = z.infer<typeof manifestFileSchema>;
export type ManifestTensor = z.infer<typeof manifestTensorSchema>;

/** CIDv1 of one block under `codec` (raw 0x55, dag-pb 0x70, dag-cbor 0x71), sha2-256. */
export async function cidOf(codec: number, bytes: Uint8Array, crypto: Crypto): Promise<CID> {
  return CID.createV1(codec, digest.create(SHA2_256, await crypto.sha256(bytes)));
}

/** The block and its CID. */
export async function encodeManifest(manifest: Manifest, crypto: Crypto): Promise<{ cid: CID; bytes: Uint8Array }> {
  const bytes = dagCbor.encode(manifest);
  if (bytes.length > LIMITS.blockBytesMax) {
    throw new IdlewildError(
      'model_invalid',
      `the manifest of ${bytes.length} bytes is over the limit of ${LIMITS.blockBytesMax}`,
    );
  }
  return { cid: await cidOf(dagCbor.code, bytes, crypto), bytes };
}

/** Throws `model_invalid`, naming the field; also when a tensor lies outside its file or two files share a path. */
export function decodeManifest(bytes: Uint8Array): Manifest {
  const invalid = (why: string): never => {
    throw new IdlewildError('model_invalid', `the manifest is wrong: ${why}`);
  };
  let value: unknown;
  try {
    value = dagCbor.decode(bytes);
  } catch (error) {
    invalid((error as Error).message);
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return invalid(`${issue?.path.join('.') || 'its root'}: ${issue?.message ?? ''}`);
  }
  const manifest = parsed.data;
  const sizes = new Map<string, number>();
  for (const file of manifest.files) {
    if (sizes.has(file.path)) invalid(`two files have the path "${file.path}"`);
    sizes.set(file.path, file.bytes);
  }
  if (!sizes.has(manifest.graph)) invalid(`its graph "${manifest.graph}" is not among its files`);
  for (const tensor of manifest.tensors) {
    const size = sizes.get(tensor.path);
    if (size === undefined) invalid(`tensor "${tensor.name}" lies in "${tensor.path}", which is not among its files`);
    else if (tensor.offset + tensor.bytes > size)
      invalid(`tensor "${tensor.name}" reaches past the end of "${tensor.path}"`);
  }
  return manifest;
}

/** Bytes of all files. */
export const manifestBytes = (manifest: Manifest): number => manifest.files.reduce((sum, file) => sum + file.bytes, 0);
