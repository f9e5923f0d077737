/**
 * The port between answers in the making and what computes their logits: rows of tokens of several sequences in, the
 * logits of some of them out.
 *
 * A decoder keeps the keys and values of what it ran. How many sequences one run may take is its own matter; that a
 * row's logits do not depend on what else is in the run, or on how the rows before it were cut, is not: a decoder that
 * cannot promise this to the last bit says so when it is loaded.
 */

/** Keys and values of the first `length` positions of one sequence; whose they are is known to its decoder only. */
export interface Kv {
  readonly length: number;
}

export interface DecoderPart {
  readonly kv: Kv;
  /** Tokens at positions `from`, `from` + 1, …, at least one; `from` is at most `kv.length`; what is behind goes. */
  readonly ids: readonly number[];
  readonly from: number;
  /** The token ahead of them, absent at the start. */
  readonly before: number | undefined;
  /** Of how many of them, from the last one back, the logits are wanted; 0: of none. */
  readonly logitRows: number;
}

export interface Decoder {
  /** Sequences that one run may take. */
  readonly partsMax: number;
  /** Rows that one run may take. */
  readonly rowsMax: number;
  readonly bytesPerPosition: number;
  open(): Kv;
  /** Makes room for `positions` in all; false when the memory for keys and values does not suffice. */
  reserve(kv: Kv, positions: number): boolean;
  /** A sequence that begins as this one does, up to `length`; `undefined` when there is no room. */
  fork(kv: Kv, length: number): Kv | undefined;
  release(kv: Kv): void;
  /** Forgets what is behind `length`. */
  trim(kv: Kv, length: number): void;
  /** Of keys and values. */
  usedBytes(): number;
  /**
   * Logits by part, of its last rows in their order, as many as are wanted; valid until the next run. For what a run
   * adds there must be room. Throws `engine_failed`: then nothing was added to any sequence.
   */
  run(parts: readonly DecoderPart[]): Promise<readonly (readonly Float32Array[])[]>;
  close(): Promise<void>;
}
