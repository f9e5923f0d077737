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
  /** Rows of a run. In the runtime's own attention one row takes another kernel than two; beyond 512 none is faster. */
  rowsMin: 2,
  rowsMax: 512,
  /** Rows of prompts in a run that has others' tokens to make, however full it is: a prompt must come to its end. */
  promptRowsMin: 4,
  /** Rows of the first chunk, before anything is measured. */
  rowsFirst: 16,
  /** A chunk may be this much larger than any before it: what a row costs was measured on fewer. */
  rowsGrowthMax: 2,
  /**
   * Guessed tokens that one answer runs at once: their logits are a vocabulary of four bytes each, 20 MB of a large
   * one, and beyond these a run saves little more of what reading the weights costs. At first, and after a wrong one,
   * fewer.
   */
  draftRowsMax: 32,
  draftRowsFirst: 4,
  /** A draft is given up after so many runs in a row that found its first guess wrong, */
  draftMissesMax: 4,
  /** or when fewer than half of so many guesses were right: then rows are computed in vain for every token saved. */
  draftJudgedMax: 32,
  /** Guesses of an answer in the time that a lender's pace allows: others wait meanwhile for theirs. */
  draftPaceMs: 250,
  /** Sequences kept for those that begin alike, and for how long after their last use. */
  prefixesMax: 64,
  prefixKeptMs: 600_000,
  /** Tokens in common below which sharing is not worth its page. */
  prefixTokensMin: 16,
  /** Answers that wait for a slot; the agent hands out slots, so waiting is the exception. */
  waitingMax: 64,
  /** While a prompt is read, silence is broken this often. */
  progressMs: 250,
  /** So is that of an answer which waits for another's prompt, or for memory: a hub gives up what is silent for 3 s. */
  waitingToldMs: 1_000,
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
  /**
   * Texts of an encoder that are run at once, and their tokens together: beyond this, more bring no speed (measured:
   * BERT's shapes on a CPU).
   */
  textsAtOnceMax: 16,
  textTokensAtOnceMax: 256,
  /** Scores of one layer's attention, which grow with the square of a text: 3,300 tokens of twelve heads. */
  scoresBytesMax: 536_870_912,
  /** A schema's text: a hundred times what people write, and a tenth of a second of tables for a large vocabulary. */
  schemaCharactersMax: 32_768,
  /** Schemas within a schema, references followed once. */
  schemaNodesMax: 1_024,
  schemaDepthMax: 32,
  schemaEnumMax: 512,
  /** Items or characters that a schema may demand at least: they are what the shortest answer is made of. */
  schemaCountMax: 1_024,
  patternCountMax: 128,
  /** Different ones in a form: each may take a tenth of a second of tables for a large vocabulary. */
  schemaPatternsMax: 24,
  /** A grammar as the library reads it; its tables grow with it. */
  grammarCharactersMax: 131_072,
  /** Its parts, for the judge of texts: what the largest schemas have, and tens of milliseconds. */
  grammarNodesMax: 65_536,
  /** The shortest text that it allows is made anew for tokens near the end; some thousand tokens. */
  grammarEndingBytesMax: 16_384,
  /** Frames of stacks that the judge remembers, 200 bytes each, before those that nothing needs are let go. */
  grammarFramesMax: 50_000,
  /** Ways in which a text can be read at once; real schemas have a dozen. */
  grammarWaysMax: 256,
  /** Those beyond so many are counted at each token, and the library is done without when they come to this. */
  grammarWaysEasy: 64,
  grammarStrainMax: 8_192,
  /** Calls of functions in one answer, as the wire allows. */
  callsMax: 128,
  /** Grammars kept ready: the forms of that many programs at once. */
  grammarsKeptMax: 16,
  /** Draws for one token before the shortest ending is taken; the mask is nearly exact. */
  drawsMax: 8,
  /** Rests of an engine that may compute a share of the time: shorter ones are below what timers keep. */
  dutyRestMsMin: 2,
  /** A run that seems longer was stopped from outside, or the machine slept: nobody rests for that. */
  dutyRunMsMax: 2_000,
  /** What a runtime says when it fails; the wire's bound on a message is 2,048. */
  messageCharactersMax: 1_000,
} as const;
