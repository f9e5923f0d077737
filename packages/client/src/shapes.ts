/**
 * What the hub's routes take and give, as callers see it: the contract, written by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */
import type {
  Consent,
  DataClass,
  DeviceModel,
  DeviceProfile,
  DeviceState,
  DeviceTier,
  Lent,
  ModelCard,
  ModelKind,
} from '@idlewild/protocol';

export interface Message {
  readonly role: 'system' | 'developer' | 'user' | 'assistant';
  readonly content: string;
}

export interface SamplingOptions {
  readonly max_tokens?: number | undefined;
  /** 0 is greedy. */
  readonly temperature?: number | undefined;
  readonly top_p?: number | undefined;
  /** Not in OpenAI's API: keeps the k likeliest tokens, 0 keeps all. */
  readonly top_k?: number | undefined;
  /** The same seed gives the same answer on the same numeric class of devices. */
  readonly seed?: number | undefined;
  readonly frequency_penalty?: number | undefined;
  readonly presence_penalty?: number | undefined;
  readonly stop?: string | readonly string[] | undefined;
}

export interface ChatRequest extends SamplingOptions {
  readonly model: string;
  readonly messages: readonly Message[];
}

export interface CompletionRequest extends SamplingOptions {
  readonly model: string;
  readonly prompt: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** What Idlewild adds to every answer. */
export interface IdlewildNote {
  /** Names of the devices that worked on it, in order. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly seed: number;
  /** Whether the whole is bit-identical to an uninterrupted answer. */
  readonly exact: boolean;
  readonly hub: string;
  /** A machine wrote it. */
  readonly ai_generated: true;
  /** Signed receipts in base64url, one for each choice. */
  readonly receipts?: readonly string[];
  /** Of an end-to-end encrypted answer that was to be verified: whether a second device made the same. */
  readonly verification?: 'verified' | 'differs' | 'not_compared';
}

/**
 * How a second device checks an end-to-end encrypted answer: it scores the answer's tokens, which is cheap, or gets the
 * prompt alone and makes the answer again.
 */
export type Verify = 'score' | 'again';

export interface TextPiece {
  readonly text: string;
}

/** The last thing that a stream yields. */
export interface AnswerEnd {
  readonly finish: string;
  readonly usage: Usage;
  readonly idlewild: IdlewildNote;
}

export type AnswerPiece = TextPiece | AnswerEnd;

export interface TextsRequest {
  readonly model: string;
  readonly input: string | readonly string[];
}

export interface EmbeddingsRequest extends TextsRequest {
  /** Fewer numbers than the model gives, where its vectors may be cut. */
  readonly dimensions?: number | undefined;
}

/** What Idlewild adds to vectors and labels. */
export interface TextsNote {
  /** Names of the devices that worked on them. */
  readonly devices: readonly string[];
  readonly failovers: number;
  readonly hub: string;
}

/** In the order of the inputs. */
export interface Embeddings {
  readonly vectors: readonly (readonly number[])[];
  readonly usage: Omit<Usage, 'completion_tokens'>;
  readonly idlewild: TextsNote;
}

export interface Classification {
  readonly label: string | null;
  /** One for each label of the model, in its order. */
  readonly probs: readonly number[];
}

export interface Classifications {
  readonly labels: readonly Classification[];
  readonly usage: Usage;
  readonly idlewild: TextsNote;
}

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

export interface Device {
  readonly id: string;
  readonly name: string;
  readonly state: DeviceState;
  /** Names of the models that it holds. */
  readonly models: readonly string[];
  /** Of the fastest of them, one answer alone; `null` where none makes text. */
  readonly tokensPerSecond: number | null;
  readonly pauseReasons: readonly string[];
  readonly lastSeenAt: string | null;
  readonly enrolledAt: string;
  readonly active: number;
  readonly slots: number;
  /** Its Ed25519 public key in base64url; its id is made of it. */
  readonly key: string;
  /** How far it is trusted. */
  readonly tier: DeviceTier;
  /** Id of the member who lends it, where that is known. */
  readonly person: string | null;
  readonly pools: readonly string[];
  /** Until when a steward vouches for it. */
  readonly vouchedUntil: string | null;
}

export interface DeviceModelState {
  readonly name: string | null;
  readonly cid: string;
  readonly state: DeviceModel['state'];
  /** Fetched share of the bytes, 0 to 1. */
  readonly fraction: number;
  readonly tokensPerSecond?: number | null;
  readonly numericClass?: string | null;
  /** Resident bytes, measured when it was loaded last. */
  readonly memoryBytes?: number | null;
  readonly reason?: string | null;
}

export interface DeviceDetails extends Device {
  readonly profile: DeviceProfile | null;
  /** How much of the machine is lent; `null` while the device is away. */
  readonly lent: Lent | null;
  /** Which texts its lender lends for; `null` while the device is away. */
  readonly lends: Pick<Consent, 'kinds' | 'classes' | 'causes' | 'refused'> | null;
  readonly modelStates: readonly DeviceModelState[];
}

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

export interface InviteRequest {
  readonly uses: number;
  readonly expiresInSeconds: number;
  /** What the devices become that join with it; absent: `member`. */
  readonly tier?: DeviceTier | undefined;
  /** Id of the member whose devices they are. */
  readonly for?: string | undefined;
}
/** One that a steward vouches for, and of whose secret the hub sees nothing. */
export interface VouchedInviteRequest extends InviteRequest {
  readonly vouched: {
    /** SHA-256 of what `inviteToken` makes of the secret, in hex. */
    readonly tokenHash: string;
    /** A Signed `invite-vouch` statement in base64url. */
    readonly vouch: string;
  };
}
/** Keys in base64url. */
export interface InvitePlace {
  readonly url: string;
  readonly territory: string;
  readonly pin: string | null;
  readonly session: boolean;
  readonly expiresAt: string;
}
export interface CreatedInvite {
  readonly url: string;
  readonly token: string;
  readonly expiresAt: string;
}

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

/** Of several actors, actions or subjects one. */
export interface AuditQuery {
  /** Ids. */
  readonly actor?: readonly string[] | undefined;
  /** Like `createKey`, or `*Key`: a `*` stands for any characters. */
  readonly action?: readonly string[] | undefined;
  readonly subject?: readonly string[] | undefined;
  /** Instants, ISO 8601; `until` is not included. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly beforeSeq?: number | undefined;
  readonly afterSeq?: number | undefined;
  /** Default: newest first. */
  readonly order?: 'newest' | 'oldest' | undefined;
  /** 200 at most. */
  readonly limit?: number | undefined;
}

/** In the order that was asked for. */
export interface AuditPage {
  /** Whether the chain of what is shown holds, and the hub signs heads over it. */
  readonly intact: boolean;
  readonly brokenAt?: number;
  readonly why?: string;
  /** What the newest head vouches for. */
  readonly signed: { readonly entries: number; readonly at: string; readonly root: string } | null;
  /** Number of the newest entry of the log. */
  readonly last: number;
  /** There may be more that fits: the next `beforeSeq`, or `afterSeq` where the oldest come first. */
  readonly next: number | null;
  /** Where no entry has such an action: those that there are. */
  readonly actions?: readonly string[];
  readonly entries: readonly AuditEntry[];
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly details: Readonly<Record<string, string | number | boolean>>;
  readonly hash: string;
}

/** As it was hashed; bytes are hexadecimal digits. */
export interface AuditRecordJson {
  readonly seq: number;
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly details: string;
  readonly previous: string;
  readonly hash: string;
}

/** Bytes are hexadecimal digits. */
export interface AuditHeadJson {
  /** Entries that it vouches for. */
  readonly size: number;
  readonly statement: string;
  readonly certificate: string;
}

export interface AuditHeadList {
  readonly territory: { readonly id: string; readonly name: string; readonly key: string };
  /** Ascending by size. */
  readonly heads: readonly AuditHeadJson[];
}

/** That the log of so many entries is the beginning of the one that `head` vouches for. */
export interface AuditConsistency {
  readonly head: AuditHeadJson;
  readonly path: readonly string[];
}

/** Instants, ISO 8601; `to` is not included. */
export interface AuditReportQuery {
  readonly from: string;
  readonly to: string;
}

type Counts = Readonly<Record<string, number>>;

export interface AuditReport extends AuditReportQuery {
  readonly community: { readonly id: string; readonly name: string };
  readonly requests: {
    readonly total: number;
    readonly byState: {
      readonly open: number;
      readonly done: number;
      readonly failed: number;
      readonly cancelled: number;
    };
    readonly byReason: Counts;
  };
  /** By reason. */
  readonly refusals: Counts;
  /** Filed in the time, by what became of them until now. */
  readonly appeals: {
    readonly filed: number;
    readonly open: number;
    readonly upheld: number;
    readonly reversed: number;
    readonly withdrawn: number;
  };
  /** By code. */
  readonly denials: Counts;
  readonly members: { readonly admitted: number; readonly removed: number; readonly suspended: number };
  readonly devices: { readonly admitted: number; readonly revoked: number; readonly left: number };
  readonly keys: { readonly created: number; readonly revoked: number };
  /** By action. */
  readonly policyChanges: Counts;
  readonly acts: Counts;
  readonly energy: {
    readonly wattHours: { readonly measured: number; readonly modelled: number };
    /** How many receipts say so, and how many say nothing of energy. */
    readonly receipts: { readonly measured: number; readonly modelled: number; readonly without: number };
    /** Answers that devices worked on and said nothing about their energy. */
    readonly untold: number;
  };
  readonly log: { readonly entries: number; readonly signedAt: string; readonly root: string } | null;
}
