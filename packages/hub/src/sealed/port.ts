/** What others see of sealed prompts: how a device is offered for one, how it is answered, and what is told of it. */
import type {
  ErrorCode,
  IdlewildError,
  MaybePromise,
  SealedEvent,
  UseOrder,
  VouchChain,
  WorkNeed,
} from '@idlewild/protocol';
import type { Permit } from '../policy/permit.ts';
import type { ConnectedDevice, SealedOrder } from '../session/connected-device.ts';
import type { AskedText } from '../trust/text.ts';
import type { SealedHold } from './spend.ts';

export interface OfferRequest {
  readonly territory: string;
  /** Whose key asks. */
  readonly caller: string;
  readonly model: { readonly cid: string; readonly name: string };
  readonly text: AskedText;
  /** Its right to be answered, asked again while it waits. */
  readonly permit: Permit;
  /** Of what will be sealed: a bucket. */
  readonly bytes: number;
  /** What the answer may have, roughly. */
  readonly tokens: number;
  /** Of the tokens that there are already: another class goes on with them less exactly. */
  readonly numericClass?: string | undefined;
  /** Id of a device that may know the beginning of the conversation. */
  readonly near?: string | undefined;
  /** Ids of devices that have failed it. */
  readonly without: readonly string[];
  /** Rather a device of another lender than those: it is to check what they made. */
  readonly apart?: boolean | undefined;
  /** What it needs of its device; absent: that is not told, so it may be all that there is. */
  readonly needs?: readonly WorkNeed[] | undefined;
  /** What a device has to hold it to. */
  readonly use?: UseOrder | undefined;
}

export interface Offer {
  /** To be shown when the sealed prompt comes. */
  readonly token: string;
  readonly lease: string;
  readonly epoch: number;
  readonly device: { readonly id: string; readonly name: string; readonly key: Uint8Array };
  readonly agreementKey: Uint8Array;
  readonly vouch: VouchChain;
  readonly numericClass: string | undefined;
  /** The place is kept for so long. */
  readonly holdMs: number;
}

/** An offer as it comes back. */
export interface Offered {
  readonly token: string;
  readonly territory: string;
  readonly caller: string;
  /** What it is charged to, where anything bounds what it may spend. */
  readonly hold?: SealedHold | undefined;
  /** Whether the caller may be answered by this model, for a text like this. Throws what refuses. */
  readonly admit: (model: string, text: AskedText) => MaybePromise<Permit>;
  /** What holds for the caller now: where it is another than was offered, the offer is over. */
  readonly use?: UseOrder | undefined;
  /** Writes down that a device refused it, by a rule of `use` or as no conversation; what to tell the caller. */
  readonly refuse: (model: string, rule: string | undefined) => Promise<IdlewildError>;
}

/** What comes with an offer. */
export type SealedPrompt = Pick<SealedOrder, 'key' | 'enc' | 'sealed'>;

/** Where one sealed answer goes. After `done`, `lost` or `failed` nothing follows. */
export interface SealedSink {
  part(n: number, sealed: Uint8Array): void;
  /** `receipt`: what the hub signs of it, where its device commits itself to the text. */
  done(n: number, sealed: Uint8Array, receipt?: Uint8Array): void;
  /** The device cannot go on, for no fault of the prompt: its caller may seal it to another. */
  lost(code: ErrorCode, message: string): void;
  /** No other device would do better. `more`: what the device says of it to its caller alone. */
  failed(error: IdlewildError, more?: { readonly n: number; readonly sealed: Uint8Array }): void;
}

export interface SealedHandle {
  readonly request: string;
  /** The caller is gone: the device stops, the record is closed, the sink hears nothing more. */
  cancel(why: string): void;
}

export interface SealedAnswers {
  /**
   * Waits for a device within bounds. Throws `no_device`, `too_busy` (with `retryAfterSeconds`), `unauthenticated`
   * for a key that is revoked meanwhile, `cancelled`, `hub_stopping`.
   */
  offer(request: OfferRequest, signal: AbortSignal): Promise<Offer>;
  /** Resolves once the request is committed. Throws `offer_expired`, and what a journal throws. */
  submit(offered: Offered, prompt: SealedPrompt, sink: SealedSink): Promise<SealedHandle>;
  /**
   * The caller found that a rule speaks against its prompt, and seals none: the place is free. Throws `offer_expired`,
   * `invalid_request` for a rule that does not hold for it, else what it is refused with.
   */
  withdraw(offered: Omit<Offered, 'admit' | 'hold'>, rule: string | undefined): Promise<never>;
  onFrame(device: ConnectedDevice, event: SealedEvent): void;
  onGone(device: ConnectedDevice, code: ErrorCode, why: string): void;
  /** Devices or their states changed. */
  pump(): void;
  /** What devices may see changed: attempts are taken from those that may see theirs no longer. */
  retrust(): void;
  counts(): { readonly open: number; readonly waiting: number };
  /** Waits until nothing is open, at most this long, and takes nothing new in the second half of it. */
  drain(boundMs: number): Promise<void>;
  stop(): void;
}
