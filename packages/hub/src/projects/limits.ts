/** Every bound of projects and of what may be spent, each with its reason. */
export const PROJECT_LIMITS = {
  /** A slug that fits a column and a path. */
  nameCharactersMax: 48,
  /** One line. */
  descriptionCharactersMax: 240,
  /** Reasons and notes: a paragraph. */
  noteCharactersMax: 1_000,
  /** Of one territory, closed ones included: a listing of all of them is one answer. */
  projectsMax: 2_000,
  /** Of one project that are asked for or run: who needs more asks for a longer one. */
  openAllocationsMax: 32,
  /** Rows of one listing. */
  allocationsShownMax: 1_000,
  /** Ten years: longer is for ever, and nobody looks at it again. */
  allocationMsMax: 3_660 * 86_400_000,
  /** A trillion: more than all devices of a large community make in a year, and far within exact numbers. */
  tokensMax: 1_000_000_000_000,
  deviceMsMax: 1_000_000_000_000_000,
  bytesMax: 1_000_000_000_000_000,
  /** Without a setting: about twenty questions with their answers. */
  floorTokens: 10_000,
  floorRequests: 50,
  /** Held for an answer that does not say how long it may be, and the most that it gets. */
  answerTokens: 4_096,
  /** A sealed answer that grows asks for so many more, so long before its hold ends: a second of a device. */
  sealedMoreTokens: 1_024,
  sealedAheadTokens: 64,
  /** What the request of a day is held for; the longest answer is over well before, and then its hold is let go. */
  holdMsMax: 1_800_000,
  /** Of those whose time is over, in one transaction. */
  holdsExpiredMax: 256,
  /** Requests that are begun in one transaction: it takes some ms, and holds up the other replicas as long. */
  togetherMax: 64,
  /** That wait for their answers, as when the database stands still: some seconds of work. */
  togetherWaitingMax: 4_096,
  /** Until somebody asks again for what others hold at the moment. */
  heldRetrySeconds: 5,
  /** Days of one look at devices, whose sums are made when they are asked for. */
  deviceDaysMax: 31,
  /** Rows of one showback: a year of every device, key or person of a large community is asked for in parts. */
  showbackRowsMax: 10_000,
} as const;
