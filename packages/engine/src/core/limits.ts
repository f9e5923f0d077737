/** Every bound of the engine, each with its reason. */
export const LIMITS = {
  /** `run()` blocks its process: this is how long a cancel, or another answer's token, may have to wait for it. */
  runMsMax: 50,
  /** What prefill chunks are sized for where decoding is faster; the rest is room for what no measurement foresees. */
  runMsAim: 35,
  /**
   * Of models whose steps take longer than the aim: a chunk in steps of decoding, while others wait and while nobody
   * does.
   */
  chunkStepsShared: 1.3,
  chunkStepsAlone: 2,
  /** Rows of a run. One row takes another kernel than two, with other last bits; beyond 512, more bring no speed. */
  rowsMin: 2,
  rowsMax: 512,
  /** Rows of the first chunk, before anything is measured. */
  rowsFirst: 16,
  /** A chunk may be this much larger than any before it: what a row costs was measured on fewer. */
  rowsGrowthMax: 2,
  /** Answers that wait for a slot; the agent hands out slots, so waiting is the exception. */
  waitingMax: 64,
  /** While a prompt is read, silence is broken this often. */
  progressMs: 250,
  /**
   * Tokens whose text may be held back as the beginning of a character: UTF-8 takes four bytes, and a token has at
   * least one.
   */
  heldTokensMax: 4,
  /** Text of one token. Five tokens' text and a held-back stop string stay below the wire's bound on a token event. */
  tokenCharactersMax: 512,
  /** A chat template is a program; real ones are below 20 KiB. */
  templateCharactersMax: 65_536,
  /** Templates count messages; the wire allows 4,096. */
  templateRangeMax: 16_384,
  /** What a runtime says when it fails; the wire's bound on a message is 2,048. */
  messageCharactersMax: 1_000,
} as const;
