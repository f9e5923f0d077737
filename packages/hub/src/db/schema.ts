/**
 * The tables as types; `migrations/` makes them. Names are those of the database.
 *
 * Every row belongs to a territory and every query says which: the second wall behind the policy. Times are
 * milliseconds since 1970, booleans are 0 or 1, `*_json` columns hold JSON text: what SQLite and PostgreSQL have in
 * common.
 */
import type { DataClass, DeviceTier } from '@idlewild/protocol';
import type { Generated, Kysely, Selectable, Transaction } from 'kysely';
import type { AuditHeadRows, AuditNodes } from './schema/audit-heads.ts';
import type {
  Bindings,
  CustomRoles,
  DevicePools,
  GroupMembers,
  Groups,
  Members,
  People,
  Versions,
} from './schema/people.ts';
import type { ModelStops, Policies, PolicyHistory } from './schema/policies.ts';
import type {
  AllocationHistory,
  Allocations,
  Projects,
  SpendCaps,
  SpendDays,
  SpendHolds,
  SpendSettings,
} from './schema/projects.ts';
import type {
  OidcIdentities,
  OidcProviders,
  Passkeys,
  PersonSessions,
  SignInApprovals,
  SignInLinks,
  SignInSteps,
} from './schema/sign-in.ts';
import type { DeviceVouches, StewardKeys } from './schema/trust.ts';
import type { Appeals, RefusalCounts, Refused, UseExemptions, UseRulesRows } from './schema/use.ts';

export interface Territories {
  id: string;
  name: string;
  /** Ed25519, 32 bytes. */
  public_key: Uint8Array;
  created_at_ms: number;
  /** Served no longer since then; its rows stay. */
  closed_at_ms: Generated<number | null>;
}

export interface Keys {
  id: string;
  territory_id: string;
  /** Name of a role, built in or the territory's own. */
  role: string;
  name: string;
  /** SHA-256 of the key's text, in hex; the key itself is shown once and kept nowhere. */
  hash: string;
  created_at_ms: number;
  expires_at_ms: number | null;
  revoked_at_ms: number | null;
  /** `null` is the territory's default, 0 is no limit. */
  requests_per_minute: number | null;
  tokens_per_minute: number | null;
  /** Whose own it is; `null`: it is the territory's. */
  person_id: Generated<string | null>;
  /** On whose account it asks. */
  project_id: Generated<string | null>;
  data_class: Generated<DataClass>;
}

export interface Invites {
  id: string;
  territory_id: string;
  /** SHA-256 of the join token, in hex. */
  hash: string;
  uses_left: number;
  expires_at_ms: number;
  /** Id of the key that made it. */
  created_by: string;
  created_at_ms: number;
  /** What the devices become that join with it. */
  tier: Generated<DeviceTier>;
  /** Whose they are then. */
  person_id: Generated<string | null>;
  /** Signed `invite-vouch` statement of the steward who made it. */
  vouch: Generated<Uint8Array | null>;
  /** Into which they are put then; null: into none. */
  pool: Generated<string | null>;
}

export interface Devices {
  id: string;
  territory_id: string;
  name: string;
  /** Ed25519, 32 bytes. */
  public_key: Uint8Array;
  enrolled_at_ms: number;
  last_seen_at_ms: number;
  revoked_at_ms: number | null;
  /** Its lender took it away: it is revoked since the same moment, and another invite lets it in again. */
  left_at_ms: Generated<number | null>;
  /** Signed `consent` statement as the device carried it. */
  consent: Uint8Array;
  /** A `DeviceProfile`. */
  profile_json: string;
  /** Who lends it, where that is somebody known here. */
  person_id: Generated<string | null>;
  /** How far it is trusted; see `policy/port.ts`. */
  tier: Generated<DeviceTier>;
}

export interface Models {
  cid: string;
  territory_id: string;
  name: string;
  /** The dag-cbor block that `cid` names. */
  manifest: Uint8Array;
  /** Of all its files. */
  bytes: number;
  added_at_ms: number;
  /** 1: devices keep it whatever else is wanted. */
  pinned: 0 | 1;
}

export const REQUEST_STATES = ['open', 'done', 'failed', 'cancelled'] as const;
export type RequestState = (typeof REQUEST_STATES)[number];

export interface Requests {
  id: string;
  territory_id: string;
  key_id: string;
  model_cid: string;
  state: RequestState;
  reason: string | null;
  created_at_ms: number;
  finished_at_ms: number | null;
  prompt_tokens: number;
  answer_tokens: number;
  failovers: number;
  /** 0 when an answer went on in another numeric class. */
  exact: 0 | 1;
  /** 0 for further choices of a prompt, which is counted with the first. */
  counts_prompt: Generated<0 | 1>;
  /** Of the prompt's tokens, how many the device had kept and did not read again. */
  cached_tokens: Generated<number>;
  /** How long devices had it, as the hub saw it. */
  device_ms: Generated<number>;
  /** Replica that serves it; null for one of a hub that had no replicas yet. */
  owner: string | null;
  /** Counts its owners; what carries an older one changes nothing. */
  owner_epoch: Generated<number>;
  /** Run that it is part of, where its caller may come back to it. */
  run_id: string | null;
  /** Which of the run's answers it is. */
  choice: Generated<number>;
  data_class: Generated<DataClass>;
  /** A slug. */
  cause: Generated<string | null>;
  /** What it may spend, where anything bounds that; see `projects/holds.ts`. */
  hold_id: Generated<string | null>;
  /** Which had it last; null while none has, and of what ended before this was written down. */
  device_id: Generated<string | null>;
  /** What its device says that it drew, in millionths of a watt-hour; null where none says. */
  energy_uwh: Generated<number | null>;
}

/** A 32-byte seed or a certificate of the hub, by its name; see `identity/secrets.ts`. */
export interface HubSecrets {
  name: string;
  value: Uint8Array;
}

export interface Replicas {
  id: string;
  /** Where people reach it, for those who look at it. */
  address: string;
  version: string;
  /** 1: it can talk to others. */
  bus: 0 | 1;
  state: 'live' | 'draining';
  devices: number;
  answers: number;
  started_at_ms: number;
  /** By the database's clock, as every time here. */
  seen_at_ms: number;
}

/** Something that one replica at a time does for all. */
export interface Duties {
  name: string;
  holder: string;
  /** Grows with every new holder; a write of the duty holds in the same transaction that this is still its own. */
  epoch: number;
  expires_at_ms: number;
}

/** A request under an Idempotency-Key that is being answered: callers may come back to it on any replica. */
export interface Runs {
  territory_id: string;
  /** Keyed hash of caller and Idempotency-Key. */
  id: string;
  key_id: string;
  /** Keyed hash of what was asked. */
  fingerprint: Uint8Array;
  /** Id of the request as its caller sees it. */
  request_id: string;
  owner: string;
  epoch: number;
  created_at_ms: number;
}

export interface BucketRows {
  key_id: string;
  /** `KeyBuckets` of `callers/buckets.ts`. */
  buckets_json: string;
  used_at_ms: number;
}

/** Blocks of models, where replicas have no disk in common. */
export interface Blobs {
  cid: string;
  bytes: Uint8Array;
  size: number;
  /** 1: put as a block of its own; 0: here because a file needs it. */
  loose: 0 | 1;
}

export interface BlobFiles {
  root: string;
  size: number;
  finished: 0 | 1;
}

/** What a file consists of: its leaves at places from 0 on, the nodes above them at places below. */
export interface BlobParts {
  root: string;
  place: number;
  cid: string;
  /** First byte of a leaf in the file. */
  start: number;
  size: number;
}

/** Bytes that a territory brought and no model of it refers to yet; see `storage/held-blobs.ts`. */
export interface HeldBlobRows {
  territory_id: string;
  cid: string;
  /** Of a file that is being brought; null: it is whole. */
  begun_bytes: number | null;
}

/** One row, what all blobs take of the quota; every change of files or loose blocks takes its turn on it. */
export interface BlobUsage {
  id: 1;
  bytes: number;
}

/** Sums over the requests that ended on one day; written in the transaction that ends a request. */
export interface Usage {
  territory_id: string;
  key_id: string;
  model_cid: string;
  /** Days since 1970, UTC. */
  day: number;
  /** Prompts asked, whatever became of them; several choices are one. */
  requests: number;
  failed: number;
  cancelled: number;
  prompt_tokens: number;
  cached_tokens: number;
  answer_tokens: number;
  device_ms: number;
  /** In millionths of a watt-hour, as far as devices say. */
  energy_uwh: Generated<number>;
  /** Answers that devices worked on and said nothing about their energy. */
  energy_untold: Generated<number>;
}

/** An answer that its caller may ask for again under the same Idempotency-Key, sealed. */
export interface KeptAnswers {
  territory_id: string;
  /** Keyed hash of caller and Idempotency-Key. */
  id: string;
  key_id: string;
  sealed: Uint8Array;
  /** Of `sealed`. */
  bytes: number;
  created_at_ms: number;
  expires_at_ms: number;
}

/** What an open request needs to go on after a crash, sealed; its rows go when the request is finished. */
export interface Journal {
  request_id: string;
  seq: number;
  territory_id: string;
  sealed: Uint8Array;
}

export interface Receipts {
  lease: string;
  territory_id: string;
  request_id: string;
  device_id: string;
  epoch: number;
  /** Signed `receipt` statement as the device carried it. */
  statement: Uint8Array;
  created_at_ms: number;
}

export interface AuditEntries {
  /** From 1, without a gap, in each territory. */
  seq: number;
  territory_id: string;
  at_ms: number;
  actor: string;
  action: string;
  subject: string;
  details_json: string;
  previous_hash: Uint8Array;
  hash: Uint8Array;
}

export interface Schema {
  territories: Territories;
  keys: Keys;
  invites: Invites;
  devices: Devices;
  models: Models;
  requests: Requests;
  journal: Journal;
  receipts: Receipts;
  audit: AuditEntries;
  audit_heads: AuditHeadRows;
  audit_nodes: AuditNodes;
  usage: Usage;
  kept_answers: KeptAnswers;
  secrets: HubSecrets;
  replicas: Replicas;
  duties: Duties;
  runs: Runs;
  buckets: BucketRows;
  blobs: Blobs;
  blob_files: BlobFiles;
  blob_parts: BlobParts;
  blob_usage: BlobUsage;
  held_blobs: HeldBlobRows;
  people: People;
  members: Members;
  groups: Groups;
  group_members: GroupMembers;
  roles: CustomRoles;
  bindings: Bindings;
  versions: Versions;
  device_pools: DevicePools;
  use_rules: UseRulesRows;
  refusals: RefusalCounts;
  refused: Refused;
  appeals: Appeals;
  use_exemptions: UseExemptions;
  policies: Policies;
  policy_history: PolicyHistory;
  model_stops: ModelStops;
  person_sessions: PersonSessions;
  sign_in_links: SignInLinks;
  passkeys: Passkeys;
  oidc_providers: OidcProviders;
  oidc_identities: OidcIdentities;
  sign_in_approvals: SignInApprovals;
  sign_in_steps: SignInSteps;
  steward_keys: StewardKeys;
  device_vouches: DeviceVouches;
  projects: Projects;
  allocations: Allocations;
  allocation_history: AllocationHistory;
  spend_caps: SpendCaps;
  spend_settings: SpendSettings;
  spend_days: SpendDays;
  spend_holds: SpendHolds;
}

/** The handle that rooms are given. While a transaction of it is open, only the transaction's own handle answers. */
export type Database = Kysely<Schema>;
export type DatabaseTransaction = Transaction<Schema>;

export type KeyRow = Selectable<Keys>;
export type DeviceRow = Selectable<Devices>;
export type ModelRow = Selectable<Models>;
export type RequestRow = Selectable<Requests>;
export type AuditRow = Selectable<AuditEntries>;
