/** Every bound of the hub, each with its reason. */
export const HUB_LIMITS = {
  /** Sockets that are still proving who they are; each costs at most 64 KiB and two signatures. */
  handshakesMax: 2_000,
  devicesMax: 100_000,
  /** A device that does not read is dropped before its queue costs more than a few leaves. */
  deviceBufferedBytesMax: 8_388_608,
  /** A caller that does not read its stream is cancelled: about ten minutes of tokens. */
  callerBufferedBytesMax: 1_048_576,
  /** Answers that wait for a device, per territory; beyond it callers get 429 and a time to come back. */
  queuedAnswersMax: 256,
  /** Answers open at once per territory, running and waiting. */
  openAnswersMax: 4_096,
  /** How long an answer waits in the queue before its caller is told to come back. */
  queueMsMax: 60_000,
  /** How long an interrupted answer waits for a device to appear. */
  failoverWaitMsMax: 15_000,
  answerMsMax: 600_000,
  /**
   * Attempts of one answer: several deaths are survived, a request that kills every engine is not repeated for ever.
   */
  attemptsMax: 16,
  engineFailuresMax: 4,
  /** Without a token, progress or start for this long an attempt is stalled; scaled up for slow devices. */
  stallMsMin: 3_000,
  stallTokensMax: 40,
  /** Until a device says that it started; loading sends progress. */
  startMsMax: 10_000,
  /**
   * A device that let an answer stall comes last for this long: what stands still looks idle, and would get the next
   * one.
   */
  mistrustMs: 60_000,
  sweepMs: 100,
  /** The keys of open answers are read this often: half of the second after which a revoked one gets nothing more. */
  keysReadMs: 500,
  /** Writes wait at most this long for company, so that one fsync serves many answers. */
  groupCommitMsMax: 20,
  /** Below this load a write does not wait at all. */
  groupCommitGapMs: 4,
  /** After a failed write (a full disk): how long until the ends of answers are tried again. */
  journalRetryMs: 1_000,
  /** An hour of a full disk; a restart closes what is still open then. */
  journalTriesMax: 3_600,
  /** JSON body: the longest prompt in UTF-8, escaped. */
  bodyBytesMax: 8_388_608,
  /** A block or leaf in one PUT. */
  blobBodyBytesMax: 2_097_152,
  messagesMax: 1_024,
  /** Erased prompts stay in the write-ahead log at most this long. */
  housekeepingMs: 10_000,
  /** Devices are written as seen at most this often. */
  touchMs: 60_000,
} as const;
