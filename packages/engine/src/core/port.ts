/**
 * The port between an agent and whatever runs a model: a child process in Node, a worker in a browser, arithmetic in
 * the simulator.
 *
 * One `Engine` is one loaded model. Its events for one answer come in order: at most one `started`, `progress` at any
 * time, tokens by ascending index, then exactly one `finished` or `failed`. After `cancel` none follows.
 */
import type { AnswerWork, CallPart, EmbedWork, ErrorCode, FinishReason, Logprobs, ModelKind } from '@idlewild/protocol';

export type EngineEvent =
  | { readonly t: 'started'; readonly promptTokens: number; readonly cachedTokens?: number }
  | { readonly t: 'progress'; readonly phase: 'loading' | 'prefill' }
  | {
      readonly t: 'token';
      readonly i: number;
      readonly id: number;
      readonly s: string;
      readonly calls?: CallPart[];
      readonly lp?: Logprobs;
    }
  | {
      readonly t: 'finished';
      readonly finish: FinishReason;
      /** Text that was held back until the end. */
      readonly s: string;
      readonly calls?: CallPart[];
      /** What the tokens of `work.tokens` add up to, which are not told again; absent where there are none. */
      readonly before?: { readonly s: string; readonly calls: readonly CallPart[] };
      readonly promptTokens: number;
      /** Over all attempts, so `work.tokens` counts. */
      readonly answerTokens: number;
      readonly prefillMs: number;
      readonly decodeMs: number;
      /** Processor time of this answer; of runs that it shared with others its even part. */
      readonly cpuMs?: number;
    }
  | { readonly t: 'failed'; readonly code: ErrorCode; readonly message: string };

/** In the order of the inputs: what was made of each text, and how many tokens it has. */
export interface Embedded {
  readonly vectors: readonly Float32Array[];
  readonly tokens: readonly number[];
  /** As of an answer. */
  readonly cpuMs?: number;
}

/** What may be stopped where it stands, and go on. */
export interface Halting {
  /**
   * Nothing is computed from now on, not even the rest of a run, until `resume`: what is asked meanwhile waits, and
   * silence is no fault. Memory stays taken. False where the system cannot do that; then, and where this is absent,
   * an engine can only be closed.
   */
  suspend?(): boolean;
  resume?(): void;
}

export interface Engine extends Halting {
  /** What the numeric class is made of, beside the model's CID. */
  readonly engineBuild: string;
  readonly provider: string;
  readonly fingerprint: string;
  readonly contextTokens: number;
  /** Resident bytes that loading the model added. */
  readonly memoryBytes: number;
  /** Answers that it interleaves at once; more wait. */
  readonly slots: number;
  answer(work: AnswerWork, listen: (event: EngineEvent) => void): { cancel(): void };
  /**
   * Vectors of texts, or probabilities of labels; of encoders and classifiers only. The same text gives the same bits
   * whatever else runs. Throws `context_length_exceeded` with the index of the text as `input` in its details,
   * `invalid_request`, `model_unsupported`, `engine_failed`, or `cancelled` once `signal` is aborted.
   */
  embed?(work: EmbedWork, signal: AbortSignal): Promise<Embedded>;
  /**
   * Tokens per second of decoding and of prefill, one stream, as measured at loading. What makes no text decodes none.
   */
  readonly tokensPerSecond: number;
  readonly prefillTokensPerSecond: number;
  /** What each further answer adds to a step of decoding, as a share of it; absent: answers take turns, which is 1. */
  readonly sharedCost?: number | undefined;
  /**
   * Ends the process; answers still open fail with `engine_failed`. `atOnce`: in the middle of a run, too, because its
   * memory and its time are wanted back.
   */
  close(how?: { readonly atOnce?: boolean }): Promise<void>;
  /** At most this share of the time is computed from now on; over 0, at most 1. Speeds are told accordingly. */
  throttle?(share: number): void;
  /** Called once when the engine is gone without `close`. */
  onDeath(listen: (reason: string) => void): void;
}

export interface EngineModel {
  readonly cid: string;
  /** A decoder, if it is not said. */
  readonly kind?: ModelKind | undefined;
  /** Folder that holds the files of the manifest under their paths. */
  readonly folder: string;
  /** Path of the weight-free graph within it. */
  readonly graph: string;
  readonly contextTokens: number;
  /** Sizes of all files, which the graph's external data must stay within. */
  readonly fileBytes: Readonly<Record<string, number>>;
}

export interface EngineLimits {
  /** Threads of one `run()`. */
  readonly threads: number;
  /** Over all answers of this engine together; absent is unlimited. */
  readonly tokensPerSecondMax?: number | undefined;
  readonly slotsMax: number;
  /** Share of the time in which those threads may run; absent: all. */
  readonly dutyShare?: number | undefined;
  /** Resident bytes of its whole process, beyond which it is ended; absent: no bound. */
  readonly memoryBytesMax?: number | undefined;
  /** Memory for keys and values of all answers together; absent: 1 GiB. */
  readonly cacheBytesMax?: number | undefined;
}

export interface EngineHost {
  /**
   * Loads a model. Throws `engine_failed`, `model_refused`, `model_unsupported` or `model_invalid`. `onStarted` is
   * given what computes while it loads, which takes seconds; an engine that was suspended by it is resumed by it.
   */
  load(
    model: EngineModel,
    limits: EngineLimits,
    signal: AbortSignal,
    onStarted?: (process: Halting) => void,
  ): Promise<Engine>;
}
