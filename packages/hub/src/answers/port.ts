/** What others see of answers: how one is asked for, where it goes, and what is told of it. */
import type {
  AnswerEvent,
  AnswerWork,
  CallPart,
  ErrorCode,
  FinishReason,
  IdlewildError,
  Logprobs,
} from '@idlewild/protocol';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Permit } from '../policy/permit.ts';
import type { AskedText } from '../trust/text.ts';

/** What every answer tells of how it was made. */
export interface AnswerSummary {
  readonly devices: readonly { readonly id: string; readonly name: string }[];
  readonly failovers: number;
  readonly seed: number;
  readonly exact: boolean;
  /** Of the last device. */
  readonly numericClass: string;
}

export interface AnswerOutcome extends AnswerSummary {
  readonly finish: FinishReason;
  /** Text that was held back until the end. */
  readonly s: string;
  /** Parts of calls that were. */
  readonly calls: readonly CallPart[] | undefined;
  readonly promptTokens: number;
  /** Of these, how many the device had kept from an earlier prompt. */
  readonly cachedTokens: number;
  readonly answerTokens: number;
  /** What its last device signed; absent where it is told again from the books. */
  readonly receipt?: Uint8Array | undefined;
  /** Whether a second device made the same; absent where none was asked to. */
  readonly verification?: 'verified' | 'differs' | 'not_compared' | undefined;
}

/** Where one answer goes. After `finished` or `failed` nothing follows. */
export interface AnswerSink {
  started(promptTokens: number): void;
  /** `calls` and `lp` where the work asks for tools or probabilities. */
  token(i: number, id: number, s: string, calls: readonly CallPart[] | undefined, lp: Logprobs | undefined): void;
  finished(outcome: AnswerOutcome): void;
  failed(error: IdlewildError): void;
}

/** Of which run an answer is a part: its caller may come back to it, on any replica. */
export interface RunRef {
  readonly id: string;
  /** Of the run's owner. */
  readonly epoch: number;
  /** Which of the run's answers it is. */
  readonly choice: number;
  /** Whether another owner may have begun it: what is journalled of it is told first, and it goes on from there. */
  readonly isResumed: boolean;
  /** How many tokens of it its caller says that it has. */
  readonly heard: number;
}

/** What one answer may use of what is held for its request. */
export interface SpendShare {
  /** Id of the hold that it is charged to. */
  readonly hold: string;
  /** A device has read the prompt: what that is more than thought is held, too, as far as there is any left. */
  began(promptTokens: number): void;
  /** How many tokens it may have after a prompt of so many, as far as is known yet. */
  tokensAfter(promptTokens: number): number;
}

export interface AnswerRequest {
  readonly territory: string;
  readonly key: string;
  readonly model: { readonly cid: string; readonly name: string };
  readonly work: Omit<AnswerWork, 'tokens'>;
  /** What its text is, and for whom: which devices may see it. */
  readonly text: AskedText;
  /** Its right to be answered, asked again while it is. */
  readonly permit: Permit;
  readonly run?: RunRef;
  /** Where something bounds what it may spend. */
  readonly spend?: SpendShare | undefined;
  readonly deadlineMs?: number;
  /** How long it may wait for a device; `HUB_LIMITS.queueMsMax` unless said. */
  readonly queueMs?: number;
}

export interface AnswerHandle {
  readonly request: string;
  /** The caller is gone: the device stops, the record is closed, the sink hears nothing more. */
  cancel(why: string): void;
}

/** What the hub saw of an attempt, for its receipt to be held against. */
export interface ReceiptFacts {
  readonly lease: string;
  readonly epoch: number;
  readonly model: string;
  readonly firstToken: number;
  readonly tokens: readonly number[];
}

/** Counts for the metrics page. */
export interface AnswerMeter {
  ended(
    state: 'done' | 'failed' | 'cancelled',
    code: ErrorCode | 'none',
    answer: { tokens: number; ms: number; failovers: number },
  ): void;
  firstToken(ms: number): void;
}

export interface Answers {
  /**
   * Resolves once the request is committed. Throws `no_device` or `too_busy` (with `retryAfterSeconds`) before it is,
   * and `run_taken_over` for a run that has another owner by now, which is also how an answer of one may fail.
   */
  submit(request: AnswerRequest, sink: AnswerSink): Promise<AnswerHandle>;
  onFrame(device: ConnectedDevice, event: AnswerEvent): void;
  onGone(device: ConnectedDevice, code: ErrorCode, why: string): void;
  /** Devices or their states changed: the queue is looked at again. */
  pump(): void;
  /** What devices may see changed: answers are taken from those that may see theirs no longer. */
  retrust(): void;
  counts(): { readonly open: number; readonly queued: number };
  /** Answers that wait for a device, by the CID of their model. */
  queuedByModel(): ReadonlyMap<string, number>;
  /** Waits until nothing is open, at most this long, and takes nothing new in the second half of it. */
  drain(boundMs: number): Promise<void>;
  /** Ends everything that is open, for a hub that stops; what is part of a run is left for whoever takes it over. */
  stop(): Promise<void>;
}
