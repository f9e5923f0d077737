/**
 * A prompt from its caller to one device, and the answer back, as nobody between them can read or change it.
 *
 *   caller ── work, padded, HPKE to the device's rotating key ──────────────► device
 *   caller ◄── events, padded, AES-256-GCM under a key that both exported ──── device
 *
 * - What goes beside it in the clear (model, data class, cause, lease, device) is HPKE's `info`: under other terms it
 *   does not open.
 * - The answer is sealed as Oblivious HTTP does it (RFC 9458, 4.4): a fresh nonce of the device and the caller's
 *   exported secret give key and nonce, and the event's number is counted into the nonce. So an event that was changed,
 *   left out, repeated, moved or made by somebody else does not open, and an answer without its end is known to be cut.
 * - Both ends forget their keys with the answer. A device's key is replaced daily, and then older prompts stay closed.
 *
 * Whether a key is the device's, and whether the device is to be trusted, is the caller's to know before.
 */
import { concat, utf8 } from '../bytes.ts';
import { IdlewildError } from '../errors.ts';
import type { Crypto, KeyPair, Random } from '../ports.ts';
import { answerWorkSchema, type AnswerWork } from '../wire/answer.ts';
import { decodeCbor, encodeCbor } from '../wire/frame.ts';
import type { DataClass } from '../wire/purpose.ts';
import { innerEventSchema, type InnerEvent } from '../wire/sealed.ts';
import type { UseOrder } from '../use/use-order.ts';
import { hpkeRecipient, hpkeSender, type HpkeContext } from './hpke.ts';
import { EVENT_BUCKETS, PROMPT_BUCKETS, pad, unpad } from './padding.ts';

/** What the hub sees beside a sealed prompt, and cannot change. */
export interface SealedTerms {
  /** The device's identity. */
  readonly device: Uint8Array;
  /** Its X25519 key. */
  readonly key: Uint8Array;
  /** CID. */
  readonly model: string;
  readonly lease: string;
  readonly epoch: number;
  readonly dataClass?: DataClass | undefined;
  readonly cause?: string | undefined;
  /** What the device holds it to after opening. */
  readonly use?: UseOrder | undefined;
}

const INFO = utf8('idlewild/v1/sealed-prompt\0');
const ANSWER = utf8('idlewild/v1/sealed-answer');
const KEY = utf8('key');
const NONCE = utf8('nonce');
const SECRET_BYTES = 32;
const SALT_BYTES = 32;
const NONCE_BYTES = 12;

const infoOf = ({ device, key, model, lease, epoch, dataClass = 'internal', cause, use }: SealedTerms): Uint8Array =>
  concat([INFO, encodeCbor({ device, key, model, lease, epoch, dataClass, cause, use })]);

export interface SealedWork {
  readonly enc: Uint8Array;
  readonly sealed: Uint8Array;
  readonly answer: AnswerOpener;
}

/** How long the work will be once it is padded. Throws `body_too_large` for work beyond the largest bucket. */
export const promptBucket = (work: AnswerWork): number => pad(encodeCbor({ v: 1, work }), PROMPT_BUCKETS).length;

/** Throws `body_too_large` for work beyond the largest bucket. */
export async function sealWork(
  work: AnswerWork,
  terms: SealedTerms,
  ports: { readonly crypto: Crypto; readonly random: Random },
): Promise<SealedWork> {
  const plain = pad(encodeCbor({ v: 1, work }), PROMPT_BUCKETS);
  const sender = await hpkeSender({ recipient: terms.key, info: infoOf(terms) }, ports);
  const sealed = await sender.seal(plain, INFO);
  return { enc: sender.enc, sealed, answer: createOpener(sender, sender.enc, ports.crypto) };
}

export interface OpenedWork {
  readonly work: AnswerWork;
  readonly answer: AnswerSealer;
}

/**
 * Throws `sealed_unopened` for what was sealed to another key or under other terms, or was changed; and for work that
 * is none `invalid_request`, which says nothing of what it read.
 */
export async function openWork(
  given: { readonly enc: Uint8Array; readonly sealed: Uint8Array; readonly own: KeyPair; readonly terms: SealedTerms },
  { crypto, random }: { readonly crypto: Crypto; readonly random: Random },
): Promise<OpenedWork> {
  const { enc, sealed, own, terms } = given;
  const opened = await openTo({ enc, sealed, own, info: infoOf(terms) }, crypto);
  const answer = createSealer(opened.recipient, { enc, salt: random.bytes(SALT_BYTES) }, crypto);
  return { work: readWork(opened.plain), answer };
}

async function openTo(
  { enc, sealed, own, info }: { enc: Uint8Array; sealed: Uint8Array; own: KeyPair; info: Uint8Array },
  crypto: Crypto,
): Promise<{ readonly recipient: HpkeContext; readonly plain: Uint8Array }> {
  try {
    const recipient = await hpkeRecipient({ enc, own, info }, crypto);
    return { recipient, plain: await recipient.open(sealed, INFO) };
  } catch (cause) {
    const message = 'what was sealed does not open here: it was sealed to another key or under other terms, or changed';
    throw new IdlewildError('sealed_unopened', message, { cause });
  }
}

function readWork(plain: Uint8Array): AnswerWork {
  let inside: unknown;
  try {
    inside = decodeCbor(unpad(plain, PROMPT_BUCKETS), 'a sealed prompt');
  } catch {
    throw invalid();
  }
  const { v, work } = (typeof inside === 'object' && inside !== null ? inside : {}) as { v?: unknown; work?: unknown };
  const parsed = answerWorkSchema.safeParse(work);
  if (v !== 1 || !parsed.success) throw invalid();
  return parsed.data;
}

const invalid = (): IdlewildError =>
  new IdlewildError('invalid_request', 'what was sealed is not work of this version');

/** The device's end of one answer. */
export interface AnswerSealer {
  /** The next event, sealed. Events are numbered as they are given, whatever the order in which they are done. */
  seal(event: InnerEvent): Promise<{ readonly n: number; readonly sealed: Uint8Array }>;
}

interface AnswerKeys {
  readonly key: Uint8Array;
  readonly nonce: Uint8Array;
}

async function answerKeys(
  context: HpkeContext,
  enc: Uint8Array,
  salt: Uint8Array,
  crypto: Crypto,
): Promise<AnswerKeys> {
  const secret = await context.exported(ANSWER, SECRET_BYTES);
  const both = concat([enc, salt]);
  return {
    key: await crypto.hkdf(secret, both, KEY, SECRET_BYTES),
    nonce: await crypto.hkdf(secret, both, NONCE, NONCE_BYTES),
  };
}

function createSealer(
  context: HpkeContext,
  { enc, salt }: { readonly enc: Uint8Array; readonly salt: Uint8Array },
  crypto: Crypto,
): AnswerSealer {
  let keys: Promise<AnswerKeys> | undefined;
  let next = 0;
  return {
    async seal(event) {
      const n = next++;
      const plain = pad(encodeCbor(event), EVENT_BUCKETS);
      const { key, nonce } = await (keys ??= answerKeys(context, enc, salt, crypto));
      const sealed = await crypto.seal(key, counted(nonce, n), plain, ANSWER);
      return { n, sealed: n === 0 ? concat([salt, sealed]) : sealed };
    },
  };
}

/** The caller's end of one answer. */
export interface AnswerOpener {
  /**
   * The event that comes next, as the hub numbers it. Throws `sealed_broken` for any other, for what the device did not
   * seal, and for anything after the end.
   */
  open(n: number, sealed: Uint8Array): Promise<InnerEvent>;
  /** Whether its end has come. */
  isWhole(): boolean;
}

function createOpener(context: HpkeContext, enc: Uint8Array, crypto: Crypto): AnswerOpener {
  let keys: AnswerKeys | undefined;
  let next = 0;
  let whole = false;
  return {
    isWhole: () => whole,
    async open(n, sealed) {
      if (whole) throw broken('something came after the end of the answer');
      if (n !== next) throw broken(`event ${n} came where event ${next} was due`);
      next++;
      const event = await openEvent(n, sealed);
      whole = event.t === 'answer.finished' || event.t === 'answer.failed';
      return event;
    },
  };

  async function openEvent(n: number, sealed: Uint8Array): Promise<InnerEvent> {
    const body = n === 0 ? sealed.subarray(SALT_BYTES) : sealed;
    keys ??= await answerKeys(context, enc, sealed.subarray(0, SALT_BYTES), crypto);
    try {
      const plain = await crypto.open(keys.key, counted(keys.nonce, n), body, ANSWER);
      return innerEventSchema.parse(decodeCbor(unpad(plain, EVENT_BUCKETS), 'a sealed event'));
    } catch (cause) {
      throw broken(`event ${n} was not sealed by the device for this answer`, cause);
    }
  }
}

const broken = (why: string, cause?: unknown): IdlewildError =>
  new IdlewildError('sealed_broken', `the answer was changed on its way: ${why}`, { cause });

function counted(nonce: Uint8Array, n: number): Uint8Array {
  const own = nonce.slice();
  const view = new DataView(own.buffer, own.byteOffset, own.byteLength);
  view.setUint32(NONCE_BYTES - 4, (view.getUint32(NONCE_BYTES - 4) ^ n) >>> 0);
  return own;
}
