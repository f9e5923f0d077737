/**
 * What the hub's routes take and give of the audit log: the contract as callers see it, by hand.
 *
 * Instants are ISO 8601 texts, sizes are bytes, CIDs are texts. A field that this version does not know is kept out of
 * the types and left in the values.
 */

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
