/**
 * What the hub's routes take and give of keys, their limits and their use: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */
import type { DataClass } from '@idlewild/protocol';

/** In a minute; `null` is what holds for every key of the territory. */
export interface KeyLimits {
  readonly requestsPerMinute: number | 'none' | null;
  /** Of prompts and answers. */
  readonly tokensPerMinute: number | 'none' | null;
}

export interface Key extends KeyLimits {
  readonly id: string;
  readonly role: string;
  readonly name: string | null;
  /** Whose own it is; `null`: it is the territory's. */
  readonly person: { readonly id: string; readonly name: string | null } | null;
  /** Id of the project on whose account it asks. */
  readonly project: string | null;
  /** Of what it asks, unless a request says that it is more delicate. */
  readonly dataClass: DataClass;
  readonly createdAt: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  /** `YYYY-MM-DD` in UTC; `null`: nothing of it has ended yet. */
  readonly lastUsedDay: string | null;
}

/** A limit that is not named stays. */
export interface KeyLimitsRequest {
  readonly requestsPerMinute?: number | 'none' | 'default' | undefined;
  readonly tokensPerMinute?: number | 'none' | 'default' | undefined;
}

export interface LimitedKey extends KeyLimits {
  readonly id: string;
  readonly name: string | null;
}

/** Days are `YYYY-MM-DD` in UTC, both included; absent are the last thirty. */
export interface UsageQuery {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  /** Id of a key; absent: the asker's own, or for a steward all. */
  readonly key?: string | undefined;
  readonly model?: string | undefined;
}

/** What one key used of one model on one day. */
export interface UsageRow {
  readonly day: string;
  readonly key: string;
  readonly keyName: string;
  /** Its name, or its CID when it is not published any more. */
  readonly model: string;
  readonly requests: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly promptTokens: number;
  /** Of these, how many a device had kept. */
  readonly cachedTokens: number;
  readonly answerTokens: number;
  readonly deviceMs: number;
}

export interface KeyRequest {
  readonly role: string;
  readonly name?: string | undefined;
  readonly expiresInSeconds?: number | undefined;
  readonly requestsPerMinute?: number | 'none' | undefined;
  readonly tokensPerMinute?: number | 'none' | undefined;
  /** Id of a project. */
  readonly project?: string | undefined;
  /** Absent: internal. */
  readonly dataClass?: DataClass | undefined;
}

/** `key` is shown this once; the hub keeps its hash. */
export interface CreatedKey {
  readonly id: string;
  readonly key: string;
  readonly role: string;
  readonly expiresAt: string | null;
}

export interface RequestRecord {
  readonly id: string;
  readonly model: string;
  readonly state: string;
  readonly reason: string | null;
  readonly createdAt: string;
  readonly finishedAt: string | null;
  readonly promptTokens: number | null;
  readonly answerTokens: number | null;
  readonly failovers: number;
  readonly exact: boolean | null;
}
