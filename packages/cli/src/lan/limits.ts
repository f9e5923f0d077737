/** Every bound of what is said and heard on a LAN, each with its reason: anybody on it can send anything. */
export const LAN_LIMITS = {
  /** RFC 6762, section 17: no multicast DNS message is longer, whatever the network could carry. */
  messageBytesMax: 9_000,
  /** Records of one answer: a hub has five and its addresses. The library compares each with each. */
  answerRecordsMax: 128,
  /** Answers about hubs that are looked at while a person waits; the rest of a flood is dropped unread. */
  answersMax: 512,
  /** Questions of one query: a browser asks for a handful of types at once. */
  questionsMax: 8,
  /** Queries answered in a second; RFC 6762, section 6 wants each record multicast at most once a second anyway. */
  queriesPerSecondMax: 10,
  /** Entries of a list that somebody is to choose from. */
  hubsMax: 64,
  /** A machine has two or three addresses. */
  addressesMax: 8,
  /** Long enough for two questions and the answers of a sleepy access point, short enough to wait for. */
  listenMs: 3_000,
  /** A question may be lost like any datagram: it is asked again after this. */
  askAgainMs: 1_000,
  /** A network that comes up later is joined then. */
  rejoinMs: 5_000,
} as const;
