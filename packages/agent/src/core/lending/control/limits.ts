/** Every bound of the lender's commands and of what is kept for them, each with its reason. */
export const CONTROL_LIMITS = {
  /** Shorter is over before it has held. */
  pauseMsMin: 1_000,
  /** Longer than a year nobody remembers it: a pause without an end says so. */
  pauseMsMax: 366 * 86_400_000,
  /** How far a wall clock that was changed, or a machine that slept, may let a pause outlast its end. */
  pauseLookMs: 30_000,
  /** As long as Linux takes them. */
  pathCharactersMax: 4_096,
  /** The largest request is a change of the consent: hours, and two lists of causes. */
  requestBytesMax: 65_536,
  /** A status with all models and a consent with all that it may say. */
  replyBytesMax: 1_048_576,
  /** Lenders look from a few places; more are a mistake or an attack. */
  connectionsMax: 16,
  /** Who has the secret says it with the first bytes. */
  secretMsMax: 2_000,
  /** Of one connection, at once. */
  requestsMax: 8,
  /** A watcher that does not read misses what is older than the newest status. */
  unreadBytesMax: 262_144,
  /** What a connection is given to take the last reply, and a device that starts to make its socket. */
  closeMsMax: 2_000,
  /** Changes come in bursts; a person reads one a moment. */
  watchMs: 250,
  /** What is counted while nothing changes. */
  watchTickMs: 5_000,
  /** What a hub is given to acknowledge a leaving, in about five tries; a hub that restarts is back within it. */
  leaveMsMax: 10_000,
} as const;

export const HISTORY_LIMITS = {
  /** At most this much is lost by a power cut; a line a minute costs no machine anything. */
  flushMs: 60_000,
  /** A day of one line a minute has some 150 kB; what is over is summed up before it is rotated out. */
  fileBytesMax: 262_144,
  /** A day that is over is summed up into a few lines, where it has more than this. */
  compactedBytes: 8_192,
  /** A year and a month, to be compared with the same month. */
  daysMax: 400,
  /** Of all days together: the oldest go first. */
  bytesMax: 4_194_304,
  /** Names of pauses, causes: what is beyond counts under the last. */
  keysMax: 64,
  textCharactersMax: 128,
} as const;
