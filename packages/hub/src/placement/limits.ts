/** Bounds of what placement knows of those whom not every device may serve, each with its reason. */
export const PLACEMENT_LIMITS = {
  /** Models, times who may serve those who ask: a dozen circles of a score of them. The least asked for goes first. */
  narrowMax: 256,
  /** Pools that a circle names: whoever may be answered by more of them is served by these. */
  circlePoolsMax: 16,
  /** Who asked once finds the model ready for an hour; then its place may be another's. */
  narrowKeptMs: 3_600_000,
  /** Until what nobody could serve has been heard of and a device is told: two beats, a look, and the way back. */
  planMsMax: 3_000,
  /** Looked up so often: whether a model is still on its way for who waits, and who may serve a circle. */
  hopeLookMs: 1_000,
  /** What a line of 100 Mbit/s fetches while a request may wait; for more its caller is told to come back. */
  awaitedBytesMax: 536_870_912,
} as const;
