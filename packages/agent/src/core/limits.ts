/**
 * Every bound that a device sets itself, each with its reason. What crosses the wire is bounded in protocol.
 */
export const AGENT_LIMITS = {
  /** Queued to a hub that does not read: about 100,000 tokens. Past it the hub is slower than its own heartbeats. */
  bufferedBytesMax: 8_388_608,
  /** A hub chooses its heartbeat within these: it must not make a device busy with beating, nor miss its death. */
  heartbeatMsMin: 100,
  heartbeatMsMax: 5_000,
  /** A session that lived this long was a good one: the next reconnection begins at the shortest delay again. */
  settledSessionMs: 10_000,
  /** A hub may ask for this much patience; one that lies must not send a device away for good. */
  retryAfterMsMax: 60_000,
  /**
   * Where no hub has proved itself for this long, the place before is tried, too. Machines boot, hubs are upgraded and
   * lines come back within it, and a device that goes early may find a hub that was left running by mistake; lenders
   * whose hub is gone wait no longer than it takes to look for help.
   */
  homeSilentMs: 300_000,
  /**
   * A replica that stood still may let in a connection that was given up this long ago, and take it for the newer one.
   * Two processes with one key do the same for ever, and one of them is to end: so this is believed some times only.
   */
  ownEchoMs: 120_000,
  ownEchoesMax: 3,
  /** Round trips are matched for this many beats; an older acknowledgement says nothing of now. */
  beatsInFlightMax: 8,
  /** The next X25519 key is announced this long before the old one ends: what was sealed to the old one still opens. */
  agreementLeadMs: 3_600_000,
  /**
   * A paused device's engines keep their memory for this long, for pauses that are over at once: loading takes longer.
   * The end of a process of many gigabytes takes time, too, and after ten seconds all is to be the owner's again.
   */
  suspendedMs: 8_000,
  /** Below this share of the time the next token takes longer than a hub waits; such a device pauses instead. */
  dutyShareMin: 0.02,
  /** All that a machine may say, its lender, and room for whoever embeds an agent. */
  pauseReasonsMax: 32,
  /** Leases that are over, remembered so that a repeated frame does not begin them again. */
  leasesRememberedMax: 1_024,
  /** No answer is let run longer, whatever the hub asks. */
  answerMsMax: 3_600_000,
  /** Of a failure's message, as the protocol bounds it. */
  failureCharactersMax: 2_048,
  /** What an attempt said is kept this long after its end for a hub that has not written it down yet. */
  keptAttemptMs: 60_000,
  /** All that is kept of all attempts: about 500,000 tokens, or 10,000 with the most probabilities. */
  keptBytesMax: 67_108_864,
  /** They are listed in the handshake, whose frames are small. */
  keptAttemptsMax: 256,
  /** An attempt without a channel waits this long to be claimed: what reconnecting and another replica may take. */
  orphanedAttemptMs: 20_000,
  /** What is sent again waits while more than this is on its way: new tokens and heartbeats share the channel. */
  replayBacklogBytesMax: 1_048_576,
  replayPauseMs: 20,
  /** At a stop, running answers may take this long to finish before they are given back. */
  drainMsMax: 60_000,
  /** What closing engines may take before a stopping device goes on without them. */
  closeMsMax: 5_000,
  /** Loading reads every weight once; a disk of 50 MB/s reads 6 GB in this time. */
  loadMsMax: 120_000,
  /** An engine that ended by itself is loaded again after this long, and after twice as long the next time. */
  reloadMsMin: 100,
  /**
   * Ends in a row, with nothing finished in between, from which on a model is left alone: one may be anybody's fault,
   * two an accident. A run without end costs its lender half a minute of all lent processors each time.
   */
  endsBeforeRest: 3,
  /** Then it waits so long, doubled each time up to a day: even the first wait is ten times what one end costs. */
  restMsMin: 300_000,
  restMsMax: 86_400_000,
  /** Models whose engines ended, of which that is remembered; a device holds fewer, and a hub may name any number. */
  troublesRememberedMax: 1_024,
  /** A fetch or a load that failed is tried again after this long, doubled up to the maximum; half of it is jitter. */
  retryMsMin: 1_000,
  retryMsMax: 60_000,
  /** Progress of a fetch is told this often: a person sees it move, and a hub is not flooded. */
  progressMs: 1_000,
  /** Memory over bytes on disk (packed weights, KV cache), until an engine has said what it really takes. */
  memoryPerFileByte: 1.5,
  /** The machine keeps this much for its owner, whatever was lent: below it everything begins to swap. */
  machineFreeBytesMin: 268_435_456,
  /** A machine without free memory is looked at again this often. */
  machineFullMs: 15_000,
  /**
   * After models were swapped in memory nothing is swapped for this long: a swap takes seconds in which nobody is
   * answered, and demand that alternates must not cause more of them than answers.
   */
  swapMs: 120_000,
  /** A model that is asked for this many times as often as the one that goes waits only for the shorter time. */
  swapGain: 4,
  swapClearMs: 20_000,
  /** Requests per minute: below it a comparison is noise. */
  swapDemandMin: 0.5,
  /** Nodes above the leaves, manifests: what a model takes on the disk beyond its files. */
  diskOverheadShare: 0.000_1,
  /** A model that was removed from the disk for another removes none itself for this long. */
  evictedMs: 600_000,
  /** The last use of a model is written down at most this often; it only orders evictions. */
  useNotedMs: 60_000,
  /** Bytes of models on the disk, where the lender names no other figure. */
  diskBytes: 20_000_000_000,
  /**
   * What may be fetched in a day, over the disk that is lent: a hub that tries out models fills the disk once or twice,
   * and a drive that is written so often lasts for years. One that fetches more is moving models to and fro.
   */
  downloadDisksPerDay: 4,
  downloadDayMs: 86_400_000,
  /** Given to other devices, where the lender names no other figure: a fifth of a common fibre line. */
  uploadBytesPerSecond: 5_000_000,
  /** What was not given lately may be given at once, up to this long's worth: a small model goes in one go. */
  uploadBurstMs: 2_000,
  /** Of downloads, likewise: two reads of a socket must pass at the lowest rate that makes sense. */
  downloadBurstMs: 1_000,
  /** Wishes for blobs that are answered at once; more are told to come back. */
  givingMax: 4,
  /** A leaf is read and hashed once for all its parts; after this long without another one it is let go. */
  givenKeptMs: 5_000,
  /** A leaf that is on its way here is waited for this often and this long each time. */
  comingTries: 20,
  comingMs: 15,
  /** When to ask again a device that answers. */
  givingBusyMs: 1_000,
  /** Sealed prompts that are being opened, which takes a millisecond: more come only from a hub that floods. */
  sealedOpeningMax: 64,
  /** A classifier that judges a sealed prompt for longer holds up its answer for longer than people wait. */
  useJudgeMsMax: 15_000,
  /** Of the memory lent, what keys and values of one model's answers may take. */
  cacheShare: 0.25,
} as const;
