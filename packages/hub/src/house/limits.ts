/** Bounds of a process that serves many territories, each with its reason. */
export const HOUSE_LIMITS = {
  /** Each costs a few megabytes and a fraction of a second of every start; see docs/decisions/0041. */
  territoriesMax: 256,
  /** Opened side by side at a start: their questions to the database go together. */
  openingMax: 8,
  /** Replicas look for territories that another made, closed, opened or renamed; the bus only hastens it. */
  lookMs: 1_000,
  /** Keys whose territory is remembered; it never changes, so an entry is never stale. About 200 bytes each. */
  bearersMax: 8_192,
} as const;
