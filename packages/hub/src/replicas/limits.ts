/** Bounds of what replicas tell each other, each with its reason. */
export const FLEET_LIMITS = {
  /** A replica says on the bus that it lives this often; what others missed of its devices shows in it, too. */
  beatMs: 500,
  /** One that is silent for two beats is asked; one that nobody answers for is gone at once. */
  quietMs: 1_250,
  pingMs: 750,
  /** A bus that is down for longer takes the others' devices with it; nats-server restarts within a second. */
  busDownMs: 2_000,
  /** Changes of devices are told together; at this pace an answer's slot is free elsewhere before it is needed. */
  gossipMs: 5,
  /**
   * A round trip that is nearly the same is not told, nor one that was told lately: with 20,000 devices in a storm,
   * each telling another at every beat, replicas did little else than read them.
   */
  roundTripToldMs: 30_000,
  roundTripSlackMs: 5,
  /** A token waits no longer for others that go to the same replica; where they are slow, none waits at all. */
  passGapMs: 3,
  /** Of frames that go together: a batch of vectors is as long as this alone. */
  passedBytesMax: 1_048_576,
  /** What the way over the bus counts when devices are compared: more than it takes, for it costs two replicas work. */
  hopMs: 5,
  /** Devices of one message: about a kilobyte each. */
  snapshotDevicesMax: 1_000,
  /**
   * No more devices go into a message that is this long: a device may say 64 KiB of itself when it joins, and less than
   * 512 KiB later, and the bus carries four mebibytes.
   */
  messageBytes: 1_048_576,
  snapshotMs: 5_000,
  /** An order that nobody took by then is given elsewhere. */
  orderMs: 2_000,
  /** That an order is wanted no more is said again while nobody heard it: a bus that loses things is well by then. */
  cancelTries: 15,
  /**
   * An attempt whose owner is gone goes on for this long, for whoever takes its answer over. A caller that comes later
   * than this gets the same tokens of another attempt; the slot is worth more to others meanwhile.
   */
  claimMs: 5_000,
  /** A device may be revoked through any replica; its home looks this often, and keeps the promise of a second. */
  revokedReadMs: 500,
} as const;
