/** Bounds of rules of use, refusals and appeals, each with its reason. */
export const USE_LIMITS = {
  /** Refusals are counted in memory and written together: what a crash loses is a second of a statistic. */
  countFlushMs: 1_000,
  /** Reasons of one flush; they are codes of ours and ids of rules, so more are a mistake. */
  reasonsMax: 512,
  /** Of one asker within a day; whoever is refused more often can appeal against one of these. */
  refusedPerDayMax: 50,
  /** Afterwards nobody remembers what was refused, and its record goes, unless there is an appeal. */
  refusedKeptMs: 90 * 86_400_000,
  /** A page of text; the text is for a person to read. */
  wordsCharactersMax: 4_000,
  /** Of one asker at a time: a queue of people must not be flooded by one. */
  openAppealsMax: 10,
  /** By when somebody should have looked: three days. */
  appealDueMs: 3 * 86_400_000,
  /** Versions of the rules that are listed. */
  historyMax: 50,
  /** A classifier that takes longer holds up an answer for longer than people wait. */
  classifyMsMax: 15_000,
  listedMax: 200,
  /** A steward's statement: the rules once more, in base64url; a request's body is bounded besides. */
  signedCharactersMax: 8_388_608,
} as const;
