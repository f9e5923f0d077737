/** Bounds of the Node part, each with its reason. */
export const NODE_LIMITS = {
  /** TCP and TLS to the other side of the world take below 1 s; the session's own deadline is behind this. */
  connectMsMax: 8_000,
  /** A closing handshake of a peer that is gone is not waited for longer. */
  closeMsMax: 1_000,
  /** Pings and pongs of a WebSocket: what stands between may send one now and then, and a flood of them is cheap. */
  signsPerSecond: 2,
  signsBurstMs: 30_000,
  /** Silence in the middle of a block. */
  blockIdleMsMax: 15_000,
  /** As many as a transfer keeps leaves in flight. */
  blockSocketsMax: 8,
  /** With a bound on downloads, so many blocks at once as come within this; a transfer gives each a minute. */
  blockMsAim: 30_000,
  /** Text of a close frame (RFC 6455, 5.5). */
  closeReasonBytesMax: 123,
  /** Of files like device.json, so that a wrong one is not read into memory whole. */
  settingsBytesMax: 1_048_576,
  /** Answers at once, where the lender names no other figure; more than this gain little from company. */
  slotsMax: 8,
  /** Load takes a few readings to be told, and a person who pauses in mid-word is there: so long it is looked first. */
  idleMs: 1_000,
} as const;
