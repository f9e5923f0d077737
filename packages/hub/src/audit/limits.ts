/** Bounds of the audit log, each with its reason. */
export const AUDIT_LIMITS = {
  /** Entries of one read: about 300 bytes each. */
  pageRows: 1_000,
  /** What an integer of a database holds, which is a thousand entries a second for 24 days. */
  seqMax: 2 ** 31 - 1,
  /** Flat and small: an entry says what was done, not what somebody wrote. */
  detailsMax: 16,
  detailCharactersMax: 256,
  /** Of an actor, an action and a subject: ids have 30 characters, CIDs about 60, a route's pattern less than 100. */
  nameCharactersMax: 128,
  /** Rows of one statement: nine values each, of which SQLite takes 32,766; more are no faster. */
  rowsPerStatement: 256,
  /** A hub signs a head so often at most, and only when something was added. */
  headMs: 5_000,
  /** Entries that one head adds to those of the one before: read, checked and hashed in about a tenth of a second. */
  headEntriesMax: 4_096,
  /** Where there are more, the next head follows this soon: answers go on in between. */
  headNextMs: 50,
  /** All heads are kept for an hour, then the last of each hour, and after a week the last of each day. */
  headsThinned: [
    { afterMs: 3_600_000, everyMs: 3_600_000 },
    { afterMs: 604_800_000, everyMs: 86_400_000 },
  ],
  /** What was noted is written together, at most this much later. */
  noteMs: 250,
  /** The same of the same is one entry with a count for so long. */
  noteWindowMs: 60_000,
  /** Different things noted that wait or are counted at once, about 500 bytes each; what is beyond counts as lost. */
  notesMax: 4_096,
  /** Of one transaction, so that nobody waits long for it. */
  notesPerCommit: 1_024,
  /** Until what could not be written is tried again: a full disk is not filled by trying. */
  noteRetryMs: 2_000,
  /**
   * A search reads so many entries in one statement, which takes SQLite some 20 ms where all of them have to be looked
   * at, and so many times that for one request; whoever asks goes on from there.
   */
  searchStretch: 16_384,
  searchStretchesMax: 64,
  /** Actors, actions or subjects that one search names: a person and her keys, a few of each. */
  searchNamesMax: 64,
  /** By how much the times of entries that follow each other may go back: what replicas' clocks differ, many times. */
  clockBackMs: 60_000,
  /** Different actions that a log is looked through for: this code knows about a hundred. */
  actionsMax: 512,
  /** A report looks back so far at most, and reads receipts in pages of so many. */
  reportMsMax: 366 * 86_400_000,
  reportReceipts: 1_000,
} as const;
