/** Every bound of the bus, each with its reason. */
export const BUS_LIMITS = {
  /** At the first start: an operator who mistyped an address is told so before a supervisor gives up. */
  connectMsMax: 10_000,
  /** One attempt to connect, TLS and sign-in included. */
  dialMsMax: 3_000,
  dialPauseMs: 200,
  /** Between attempts to come back: from the first to the second as the outage lasts, spread over its upper half. */
  reconnectMsMin: 50,
  reconnectMsMax: 2_000,
  /** A server that stands still is noticed after three of these; clients forgive a pause of that length. */
  pingMs: 2_000,
  pingsOutMax: 2,
  /** Given and not yet taken by the server: a few seconds of a full line. What is published beyond it is lost. */
  outboundBytesMax: 67_108_864,
  /** How often it is asked what the server has taken; small against the bound above, large against a message. */
  outboundAskBytes: 1_048_576,
  /** For what was published before `close`. */
  closeMsMax: 1_000,
  /** Half of what NATS carries in one message unless its operator says otherwise. */
  partBytes: 524_288,
  /** Parts of messages whose rest has not come: a few long ones from each of several replicas. */
  partsBytesMax: 67_108_864,
  partsMsMax: 10_000,
  /** Replicas whose parts of an answer are kept side by side; one answers. */
  answeringMax: 4,
  /** Messages that wait to be sealed or opened, where keys work asynchronously. */
  waitingBytesMax: 67_108_864,
  /** What is older, or from further in the future, is refused: it was held back, or clocks are wrong. */
  ageMsMax: 60_000,
  /** How long a silent sender's last number is kept: well past the age at which its messages are refused anyhow. */
  senderMsMax: 600_000,
  /** Between lines in the log about messages that were refused. */
  refusalsLogMs: 60_000,
} as const;
