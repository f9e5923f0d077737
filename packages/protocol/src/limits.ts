/**
 * Every bound of what crosses a wire, each with its reason. Both sides enforce them.
 */
export const LIMITS = {
  /** One leaf (1 MiB) and its envelope; larger frames are cut at the socket before they are buffered. */
  frameBytesMax: 1_310_720,
  /** Until the handshake is over a peer is nobody: enough for a consent and a profile. */
  handshakeFrameBytesMax: 65_536,
  /** The tag of AES-256-GCM on each frame of a sealed channel, beside the frame's own limit. */
  sealBytes: 16,
  /** One key seals at most this much: with the largest frames 2^33 blocks, far below where GCM wears out (2^36). */
  sealFramesPerKey: 65_536,
  /** A handshake takes two round trips; what is slower than this is holding a slot. */
  handshakeMs: 10_000,
  /** UnixFS raw leaf: the IPIP-499 profile `unixfs-v1-2025`, so that IPFS gives the same CIDs. */
  leafBytes: 1_048_576,
  /** Links of one dag-pb node in that profile. */
  nodeLinksMax: 1_024,
  /** A dag-pb or dag-cbor block: 1,024 links of about 50 bytes, and the tensor table of a large model. */
  blockBytesMax: 2_097_152,
  /** Depth of a UnixFS tree: 1,024³ leaves are an exabyte. */
  fileDepthMax: 4,
  /** Leaves of one file (256 GiB): a tree of four blocks that repeat each other can claim 1,024⁴. */
  fileLeavesMax: 262_144,
  /** Nodes visited while a file's tree is read: 257 in the profile at that size; other importers cut narrower ones. */
  fileNodesMax: 4_096,
  /** One block from one source; 1 MiB in this time is 17 KiB/s. */
  blockFetchMs: 60_000,
  /** Times that a source may fail on one block before it counts as not having it. */
  blockAttemptsMax: 4,
  /** Pause after a source failed; doubled with each further failure in a row, up to the maximum. */
  sourceBackoffMsMin: 100,
  sourceBackoffMsMax: 3_000,
  /** Leaves of one file in flight: what a transfer holds in memory. */
  transferConcurrency: 4,
  /**
   * One part of a block on its way through the hub. Answers share its channel: this is 13 ms of a line of 5 MB/s, and
   * none is sent while an answer runs.
   */
  relayBytesMax: 65_536,
  /** One device tells the hub it is alive this often; three missed beats are a death. */
  heartbeatMs: 5_000,
  /** Silence after which either side gives the channel up. */
  heartbeatLostMs: 15_000,
  /**
   * First reconnection delay; doubled up to the maximum, with full jitter, so that a hub's restart is no stampede: what
   * 20,000 devices do within this time is 20 connections a millisecond.
   */
  reconnectMsMin: 1_000,
  reconnectMsMax: 3_000,
  /** An X25519 key lives this long; the next is announced before it ends. */
  agreementKeyMs: 86_400_000,
  /** Devices keep a hub certificate that is this much ahead of or behind their own clock. */
  clockSkewMs: 300_000,
  nameCharactersMax: 64,
  /** In each heartbeat of a paused device, for whoever looks why; of more reasons the oldest say enough. */
  pauseReasonsMax: 16,
  pauseReasonCharactersMax: 128,
  /** A cause is a word or a few, and a consent names the ones that its lender cares about: 8 KB with all of them. */
  causeCharactersMax: 64,
  causesMax: 64,
  /** Rules of use: as much as a steward can oversee, and a prompt of 2 MiB is read against in a tenth of a second. */
  useRulesMax: 64,
  usePhrasesMax: 256,
  usePhraseCharactersMax: 128,
  /** Of rules of use that are signed, above those that hold: a hub that is restored goes on above what was seen. */
  useVersionsSkippedMax: 100_000,
  /** Looks at words that one request's text may take: half a second at most, in which a hub does nothing else. */
  usePhraseStepsMax: 8_000_000,
  useLabelsMax: 64,
  useListMax: 256,
  useProfilesMax: 16,
  useReasonCharactersMax: 256,
  usePreambleCharactersMax: 2_000,
  /** What of them goes with each sealed prompt: with the longest it fits one frame. */
  useOrderBytesMax: 32_768,
  /** More times of one day are a mistake of whoever wrote them. */
  hoursPerDayMax: 8,
  /** With less than this a leaf does not come within `blockFetchMs` while others are on their way. */
  downloadBytesPerSecondMin: 100_000,
  modelsPerDeviceMax: 32,
  /** Nobody can call back a steward's word for a device, so it lasts a year at most. */
  vouchMsMax: 31_622_400_000,
  /** Text of one token event: the longest token texts of real vocabularies are below 1 KiB. */
  tokenTextCharactersMax: 4_096,
  /** Stop strings, as in OpenAI's API. */
  stopStringsMax: 4,
  stopCharactersMax: 256,
  /** As in OpenAI's API. */
  logprobsMax: 20,
  logitBiasMax: 1_024,
  toolsMax: 128,
  toolNameCharactersMax: 64,
  toolCallsMax: 128,
  /** Parts of calls in one event: a token may end one call and begin the next. */
  callPartsMax: 16,
  /** Prompt of one request: about 128 k tokens of text; with the ids of an answer taken over it fits one frame. */
  promptBytesMax: 524_288,
  /** Texts of one embed order; a hub sends fewer where their vectors would not fit into one reply. */
  embedInputsMax: 256,
  /** All vectors of one reply: a frame less what is around them. */
  embedVectorBytesMax: 1_048_576,
  tokensMax: 131_072,
  /** A line of a copy of an audit log: an entry with sixteen details of 256 characters, escaped, or a signed head. */
  auditLineCharactersMax: 65_536,
  /** Of what is wrong with a copy of an audit log: the first tell where to look, and a forged one has thousands. */
  auditFindingsMax: 32,
  /**
   * Sealed prompts are padded to one of these, doubling, so that their lengths say little. The longest holds a prompt
   * of `promptBytesMax` with the ids of an answer of `tokensMax` tokens, and fits one frame.
   */
  sealedPromptBytesMin: 1_024,
  sealedPromptBytesMax: 1_245_184,
  /** Sealed events likewise, four times as long each: nearly every token fits the first, any event the last. */
  sealedEventBytesMin: 128,
  sealedEventBytesMax: 524_288,
} as const;
