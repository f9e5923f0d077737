/**
 * What the hub's routes take and give of models: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */
import type { ModelCard, ModelKind } from '@idlewild/protocol';

export interface Model {
  readonly name: string;
  readonly cid: string;
  readonly bytes: number;
  readonly addedAt: string;
  /** A decoder makes text, an encoder vectors, a classifier labels. */
  readonly kind: ModelKind;
  readonly contextTokens: number;
  /** How many devices hold it. */
  readonly devices: number;
  /** Devices that hold it keep it, whatever else is wanted. */
  readonly pinned: boolean;
  /** Since when, and why: it takes no request. */
  readonly stopped: { readonly at: string; readonly why: string } | null;
}

export interface ModelDetails extends Model {
  /** Numbers of an encoder's vectors. */
  readonly dimensions?: number;
  /** Of a classifier. */
  readonly labels?: readonly string[];
  readonly files: readonly { readonly path: string; readonly bytes: number; readonly cid: string }[];
  readonly tensors: number;
  readonly layers: number;
  /** What its makers say of it: somebody else's texts. */
  readonly card: ModelCard;
}

export interface ModelRequest {
  readonly name: string;
  /** CID of a manifest whose files the hub holds. */
  readonly manifest: string;
  /** Whether the name may be taken from another model. */
  readonly replace?: boolean | undefined;
}

export interface AddedModel {
  readonly name: string;
  readonly cid: string;
  readonly bytes: number;
}
