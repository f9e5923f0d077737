/**
 * Tables of projects, of what they were allocated, and of what may be spent in a day. Times are milliseconds since
 * 1970, days are counted from there in UTC, amounts are whole tokens, milliseconds and bytes.
 */
import type { Generated } from 'kysely';

export const PROJECT_STATES = ['active', 'closed'] as const;
export type ProjectState = (typeof PROJECT_STATES)[number];

/** On whose account keys may ask. Who is in it, and who leads it, are bindings whose scope is the project. */
export interface Projects {
  id: string;
  territory_id: string;
  /** A slug; one of the territory's own. */
  name: string;
  /** A cause's slug. */
  purpose: string;
  description: string;
  state: ProjectState;
  created_at_ms: number;
  created_by: string;
  closed_at_ms: number | null;
}

export const ALLOCATION_STATES = ['asked', 'granted', 'denied', 'withdrawn', 'ended'] as const;
export type AllocationState = (typeof ALLOCATION_STATES)[number];

/** What a project asked for, what it was granted, and what it spent of that. */
export interface Allocations {
  id: string;
  territory_id: string;
  project_id: string;
  state: AllocationState;
  asked_tokens: number;
  asked_device_ms: number;
  asked_bytes: number;
  why: string;
  /** 0 until it is granted; `null` in `granted_device_ms`: devices' time is not bounded. */
  granted_tokens: number;
  granted_device_ms: number | null;
  granted_bytes: number;
  from_ms: number;
  /** First moment at which it is over. */
  to_ms: number;
  spent_tokens: number;
  spent_device_ms: number;
  /** Held by requests that are open. */
  held_tokens: number;
  created_at_ms: number;
  created_by: string;
}

export const ALLOCATION_ACTS = ['asked', 'granted', 'changed', 'denied', 'withdrawn', 'ended'] as const;
export type AllocationAct = (typeof ALLOCATION_ACTS)[number];

/** What was done with an allocation, and by whom; never changed. */
export interface AllocationHistory {
  territory_id: string;
  allocation_id: string;
  /** From 1. */
  seq: number;
  act: AllocationAct;
  at_ms: number;
  actor: string;
  tokens: number;
  device_ms: number | null;
  bytes: number;
  from_ms: number;
  to_ms: number;
  note: string;
}

export const CAP_KINDS = ['territory', 'project', 'key', 'person'] as const;
export type CapKind = (typeof CAP_KINDS)[number];

/** The most that somebody may use; `null` is no cap. */
export interface SpendCaps {
  territory_id: string;
  kind: CapKind;
  /** Empty for the territory itself. */
  subject_id: string;
  tokens_per_day: number | null;
  requests_per_day: number | null;
  /** Of a person: all its keys together. */
  tokens_per_minute: number | null;
  requests_per_minute: number | null;
}

/** Absent: what `projects/limits.ts` says. */
export interface SpendSettings {
  territory_id: string;
  /** Whether what belongs to no project needs one. */
  allocations: 'optional' | 'required';
  floor_tokens: number;
  floor_requests: number;
}

/** `floor` is a person's, `floors` is all of them together. */
export const ACCOUNT_KINDS = [...CAP_KINDS, 'floor', 'floors'] as const;
export type AccountKind = (typeof ACCOUNT_KINDS)[number];

/** What one account used on one day; a row from the first request on that had to be looked at. */
export interface SpendDays {
  territory_id: string;
  kind: AccountKind;
  subject_id: string;
  day: number;
  tokens: number;
  /** Tokens that requests which are open may still use. */
  held: number;
  requests: number;
}

/** What an open request may use, and of which accounts. */
export interface SpendHolds {
  /** That of the request as its caller sees it. */
  id: string;
  territory_id: string;
  key_id: string;
  /** Of the accounts. */
  day: number;
  /** `kind subject` of each account that counts it; see `projects/holds.ts`. */
  accounts_json: string;
  /** Who pays: an allocation, or `floor`, or nobody. */
  payer: string | null;
  /** Taken when it began. */
  tokens: number;
  /** Of these, not used yet. */
  left_tokens: number;
  /** Answers that have ended and were charged. */
  ended: Generated<number>;
  owner: string;
  expires_at_ms: number;
}
