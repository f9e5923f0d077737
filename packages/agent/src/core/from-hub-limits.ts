/** What a hub may cost a device that does nothing for it, each bound with its reason. */
export const FROM_HUB_LIMITS = {
  /**
   * Read from a hub. Measured: the dearest frames take 0.5 ms of one processor for 4 kB, prompts 0.15 ms, so one that
   * sends nothing but nonsense gets an eighth of a processor; prompts that a device can read come far slower.
   */
  bytesPerSecond: 1_048_576,
  /** What a small frame counts for, with the answer to it: 1,400 a second, with which 90 MB a second are asked for. */
  frameBytes: 512,
  /** What was not used lately: the largest prompts for all slots of a large machine at once. */
  burstMs: 64_000,
  /** While it is paused a hub has little to say, and its owner is to notice nothing: a hundredth of a processor. */
  pausedWeight: 16,
  /** Connecting anew because the hub says so, at once and in a row; then as slowly as after any failure. */
  movesAtOnceMax: 3,
  /** The least wait that a busy hub can ask for; doubled each time, so that no device knocks without end. */
  busyMsMin: 100,
  /** A hub hears an attempt again after each lost connection, not to fill its device's line. */
  resumesMax: 16,
} as const;
