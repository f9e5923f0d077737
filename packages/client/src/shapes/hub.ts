/**
 * What the hub's routes say of the hub: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */
import type { DeviceState } from '@idlewild/protocol';

export interface RulesSignature {
  /** None; one that callers can take; one whose time is over; one by a key that the community has removed. */
  readonly signature: 'none' | 'holds' | 'ended' | 'removed';
  /** `null`: it has no end. */
  readonly signedUntil: string | null;
}

export interface HubStatus {
  readonly version: string;
  readonly hub: string;
  readonly territory: { readonly id: string; readonly name: string };
  readonly uptimeSeconds: number;
  readonly devices: Readonly<Record<DeviceState, number>>;
  readonly models: number;
  readonly answers: { readonly open: number; readonly queued: number };
  /** A steward's word for the rules of use, without which no encrypted prompt is held to them. */
  readonly use?: RulesSignature;
  /** Id of the replica that says so. */
  readonly replica?: string;
  /** All that share the hub's database, the oldest first. `devices` are of all of them, `answers` of the one above. */
  readonly replicas?: readonly HubReplica[];
}

/** One of the processes that a hub consists of. */
export interface HubReplica {
  readonly id: string;
  readonly address: string;
  readonly version: string;
  /** `silent`: nothing was heard of it for a while. */
  readonly state: 'live' | 'draining' | 'silent';
  readonly devices: number;
  readonly answers: number;
  readonly startedAt: string;
  readonly seenSecondsAgo: number;
}
