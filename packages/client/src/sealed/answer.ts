/**
 * One answer to a sealed prompt, over as many devices as it takes.
 *
 *   offer ──verified──► sealed ──► events, opened ──the end──► finished
 *     ▲                              │
 *     └── lost, silent, broken off ──┘   the same work, with the tokens that there are, goes to another
 *
 * Nothing is sent before the device is verified, nothing is ever sent unsealed, and no token that was told changes,
 * repeats or is lost: each is taken by its index. What does not open, or comes out of turn, ends the answer with an
 * error.
 */
import {
  IdlewildError,
  LIMITS,
  answerTextOf,
  asIdlewildError,
  digestAnswer,
  digestTokens,
  encodeKeptSealed,
  equalBytes,
  isErrorCode,
  openFreshSealed,
  openStatement,
  promptBucket,
  receiptSchema,
  sealWork,
  sealedOfferSchema,
  sealedStreamEventSchema,
  textOfBytes,
  needsOf,
  type AnswerOpener,
  type AnswerWork,
  type CallPart,
  type Clock,
  type Crypto,
  type DataClass,
  type ErrorCode,
  type FinishReason,
  type InnerEvent,
  type Logprobs,
  type Random,
  type Receipt,
  type SealedAnswerPart,
  type SealedOffer,
  type SealedStreamEvent,
  type SealedTerms,
  type UseOrder,
} from '@idlewild/protocol';
import { eventsOf, wait } from '../answers.ts';
import { abortOf, type HubConnection } from '../http.ts';
import type { UseKeeper } from './held-to-use.ts';
import type { Verify } from '../shapes/answers.ts';
import { scopeAt } from './scope.ts';
import type { OfferVerifier } from './verify.ts';

export interface SealedDeps {
  readonly connection: HubConnection;
  readonly verifier: OfferVerifier;
  readonly keeper: UseKeeper;
  /** Key of the community, whose hubs sign receipts. */
  readonly territory: Uint8Array;
  readonly clock: Clock;
  readonly random: Random;
  readonly crypto: Crypto;
}

export interface SealedRequest {
  readonly model: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
  /** Absent: what the key is for. */
  readonly dataClass?: DataClass | undefined;
  readonly cause?: string | undefined;
  /** The model's CID, where the caller pins that, too. */
  readonly cid?: string | undefined;
  /** Id of a device that may know the beginning of the conversation. */
  readonly near?: string | undefined;
  /**
   * Tells the hub which of tools, JSON, log probabilities and biases it needs, so that a device that lacks the others
   * will do. Without it none of that is told, and the device can do all.
   */
  readonly tellNeeds?: boolean | undefined;
  /** Has another device score it or make it again, and tells at the end whether it was the same (`again.ts`). */
  readonly verify?: Verify | boolean | undefined;
  /** Done again by a device that is none of these and of this numeric class; by nobody, if there is none. */
  readonly apart?: Apart | undefined;
}

export interface Apart {
  readonly devices: readonly SealedDevice[];
  readonly numericClass: string;
}

/** `key`: its identity, which was verified; id and name are what the hub calls it. */
export interface SealedDevice {
  readonly id: string;
  readonly name: string;
  readonly key: Uint8Array;
}

/** What hub and device signed of an answer's last part, held against each other and the text. */
export interface SealedProof {
  readonly hub: Uint8Array;
  readonly device: Uint8Array;
  readonly part: SealedAnswerPart;
}

export interface SealedFinish {
  readonly t: 'finished';
  readonly finish: FinishReason;
  readonly s: string;
  readonly calls?: readonly CallPart[] | undefined;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly answerTokens: number;
  /** In the order of their work. */
  readonly devices: readonly SealedDevice[];
  readonly failovers: number;
  /** Whether the whole is bit-identical to an uninterrupted answer. */
  readonly exact: boolean;
  readonly numericClass: string | undefined;
  /** The last device's receipt, held against what came. */
  readonly receipt: Uint8Array;
  /** Absent where hub or device make none. */
  readonly proof?: SealedProof | undefined;
  /** The same to keep, for `idlewild receipt verify`. */
  readonly kept?: Uint8Array | undefined;
}

export type SealedAnswerEvent =
  | { readonly t: 'started'; readonly promptTokens: number; readonly cachedTokens: number }
  | {
      readonly t: 'token';
      readonly i: number;
      readonly id: number;
      readonly s: string;
      readonly calls?: readonly CallPart[] | undefined;
      readonly lp?: Logprobs | undefined;
    }
  | SealedFinish;

/** In a row, without a new token between them. */
const ATTEMPTS_MAX = 8;
/**
 * Of one answer. A hub that cuts it after each token would have its prompt read by all devices there are, and again;
 * a restart of ten replicas one by one needs ten.
 */
const ATTEMPTS_ALL_MAX = 32;
const WAIT_MS_MIN = 250;
const WAIT_MS_MAX = 4_000;
/** Devices that are told to the hub as having failed. */
const WITHOUT_MAX = 16;
/** After these the device itself may be asked again. */
const PASSING: ReadonlySet<string> = new Set<ErrorCode>([
  'disconnected',
  'device_paused',
  'device_full',
  'superseded',
  'stalled',
  'lease_unknown',
  'hub_stopping',
  'offer_expired',
  'hub_unreachable',
  'bus_timeout',
  'bus_no_responder',
]);

interface Progress {
  readonly tokens: number[];
  /** What was told of text and calls. */
  readonly told: { s: string; calls?: readonly CallPart[] | undefined }[];
  readonly devices: SealedDevice[];
  readonly without: Set<string>;
  promptTokens: number | undefined;
  cachedTokens: number;
  failovers: number;
  /** Since the last new token, and since the beginning. */
  attempts: number;
  attemptsAll: number;
  numericClass: string | undefined;
  exact: boolean;
  /** What the last attempt was held to. */
  use: UseOrder | undefined;
  /** Why the last device was not taken. */
  unvouched: IdlewildError | undefined;
}

/** The attempt is over, and another may go on. */
const lost = (code: string, message: string): IdlewildError =>
  new IdlewildError(isErrorCode(code) ? code : 'disconnected', message, { details: LOST });
const LOST = { mayGoOn: true } as const;
const isLost = (error: IdlewildError): boolean => error.details === LOST;

/**
 * Throws what a hub or a device refuses with, `device_unvouched`, `sealed_broken`, `attempts_exhausted`, `cancelled`.
 * Leaving the loop hangs up.
 */
export async function* sealedAnswer(
  deps: SealedDeps,
  request: SealedRequest,
  signal: AbortSignal | undefined,
): AsyncGenerator<SealedAnswerEvent, void, undefined> {
  const progress: Progress = {
    tokens: [],
    told: [],
    devices: [],
    without: new Set(request.apart?.devices.map(({ id }) => id)),
    promptTokens: undefined,
    cachedTokens: 0,
    failovers: 0,
    attempts: 0,
    attemptsAll: 0,
    numericClass: request.apart?.numericClass,
    exact: true,
    use: undefined,
    unvouched: undefined,
  };
  for (;;) {
    try {
      const taken = await takeOffer(deps, request, progress, signal);
      if (taken !== undefined && (yield* attempt(deps, request, taken, progress, signal))) return;
    } catch (thrown) {
      if (signal?.aborted === true) throw abortOf(signal);
      await afterLoss(deps, thrown, progress, signal);
    }
  }
}

/** What may pass is waited for, and then another device is asked; all else is thrown. */
async function afterLoss({ clock, random }: SealedDeps, thrown: unknown, progress: Progress, signal?: AbortSignal) {
  const error = asIdlewildError(thrown, 'asking for a sealed answer');
  const hasBegun = progress.devices.length > 0;
  const passes = error.code === 'offer_expired' || error.code === 'hub_stopping';
  if (!isLost(error) && !(hasBegun && error.retryable) && !passes)
    throw progress.unvouched !== undefined && error.code === 'no_device' ? progress.unvouched : error;
  progress.attemptsAll++;
  if (++progress.attempts >= ATTEMPTS_MAX || progress.attemptsAll >= ATTEMPTS_ALL_MAX) {
    const tries = `${progress.attempts} times in a row, and ${progress.attemptsAll} times in all`;
    const message = `the answer was tried ${tries}, in vain; the last time: ${error.message}`;
    throw new IdlewildError('attempts_exhausted', message, { cause: thrown });
  }
  // A hub that has another device is asked for it at once.
  if (isLost(error) && progress.attempts === 1) return;
  const waitMs = Math.min(WAIT_MS_MAX, WAIT_MS_MIN * 2 ** progress.attempts) * (0.5 + random.unit() / 2);
  await wait(clock, waitMs, signal);
}

interface Taken {
  readonly offer: SealedOffer;
  readonly terms: SealedTerms;
}

/** `undefined` for one that is not to be trusted: another is asked for, and nothing was sent. */
async function takeOffer(
  { connection, verifier, keeper, clock }: SealedDeps,
  request: SealedRequest,
  progress: Progress,
  signal: AbortSignal | undefined,
): Promise<Taken | undefined> {
  const { model, work, dataClass, cause, cid, apart } = request;
  const near = progress.devices.at(-1)?.id ?? request.near;
  const body = {
    model,
    bytes: promptBucket({ ...work, tokens: progress.tokens }),
    ...roughly(work),
    ...(apart === undefined ? {} : { apart: true }),
    ...(request.tellNeeds === true ? { needs: needsOf(work) } : {}),
    ...(progress.numericClass === undefined ? {} : { numeric_class: progress.numericClass }),
    ...(near === undefined || progress.without.has(near) ? {} : { near }),
    ...(progress.without.size === 0 ? {} : { without: [...progress.without].slice(-WITHOUT_MAX) }),
  };
  const headers = {
    ...(dataClass === undefined ? {} : { 'idlewild-data-class': dataClass }),
    ...(cause === undefined ? {} : { 'idlewild-purpose': cause }),
  };
  const answered = await connection.json('POST', '/v1/sealed/offers', body, { signal, headers });
  const parsed = sealedOfferSchema.safeParse(answered);
  if (!parsed.success) throw new IdlewildError('internal', 'the hub offered something that is no offer');
  const offer = parsed.data;
  if (cid !== undefined && offer.model !== cid)
    throw new IdlewildError('device_unvouched', `the hub offered the model ${offer.model} in place of ${cid}`);
  if (apart !== undefined) checkApart(offer, apart);
  let terms: SealedTerms;
  try {
    terms = await verifier.verify(offer, { dataClass, cause }, clock.now());
  } catch (thrown) {
    const error = asIdlewildError(thrown, 'verifying an offer');
    if (error.code === 'usage') throw error;
    progress.unvouched = error;
    progress.without.add(offer.device.id);
    if (++progress.attempts >= ATTEMPTS_MAX) throw error;
    return undefined;
  }
  const use = await keeper.hold(work.prompt, offer, { signal });
  // Another beginning of the conversation than the one that its tokens were made for.
  if (progress.tokens.length > 0 && !isSame(use, progress.use)) progress.exact = false;
  progress.use = use;
  return { offer, terms: { ...terms, use } };
}

const isSame = (one: UseOrder | undefined, other: UseOrder | undefined): boolean =>
  JSON.stringify(one?.preambles ?? []) === JSON.stringify(other?.preambles ?? []);

/** A power of two: what the hub has to know of how long the answer may be, and no more. */
const roughly = ({ tokensMax }: Pick<AnswerWork, 'tokensMax'>): { readonly tokens?: number } =>
  tokensMax === undefined ? {} : { tokens: Math.min(LIMITS.tokensMax, 2 ** Math.ceil(Math.log2(tokensMax))) };

/** Whatever the hub says, nobody checks itself. Throws `no_device`. */
function checkApart({ device, numeric_class: numericClass }: SealedOffer, { devices, numericClass: wanted }: Apart) {
  if (devices.some(({ id, key }) => id === device.id || equalBytes(key, device.key)))
    throw new IdlewildError('no_device', 'the hub has no other device than those that made the answer');
  if (numericClass !== wanted)
    throw new IdlewildError('no_device', `no other device of the numeric class ${wanted} is free`);
}

/** Returns whether the end has come. Throws `Lost` where another device may go on. */
async function* attempt(
  deps: SealedDeps,
  request: SealedRequest,
  { offer, terms }: Taken,
  progress: Progress,
  signal: AbortSignal | undefined,
): AsyncGenerator<SealedAnswerEvent, boolean, undefined> {
  const { connection } = deps;
  const from = progress.tokens.length;
  const work = {
    ...request.work,
    ...(await scopeAt(terms.device, request.work, deps.crypto)),
    tokens: [...progress.tokens],
  };
  const { enc, sealed, answer } = await sealWork(work, terms, deps);
  const carried = { key: textOfBytes(terms.key), enc: textOfBytes(enc), sealed: textOfBytes(sealed) };
  const body = { offer: offer.offer, ...carried, ...roughly(request.work) };
  const { id } = offer.device;
  if (progress.devices.at(-1)?.id !== id) progress.devices.push(offer.device);
  const reader = createReader(deps, { offer, terms, answer, from }, progress);
  try {
    const response = await connection.open('POST', '/v1/sealed/answers', body, 'text/event-stream', { signal });
    for await (const { data } of eventsOf(response, connection.hub, signal)) {
      if (data === '[DONE]') continue;
      const event = await reader.read(parse(data));
      if (event === undefined) continue;
      yield event;
      if (event.t === 'finished') return true;
    }
    throw lost('disconnected', `${connection.hub} closed the stream before the end of the answer`);
  } catch (thrown) {
    if (reader.hasStarted()) progress.failovers++;
    if (signal?.aborted === true) throw thrown;
    const error = asIdlewildError(thrown, 'reading a sealed answer');
    if (!isLost(error) && !PASSING.has(error.code)) throw error;
    if (!PASSING.has(error.code)) progress.without.add(id);
    throw lost(error.code, error.message);
  }
}

function parse(data: string): SealedStreamEvent {
  let json: unknown;
  try {
    json = JSON.parse(data);
  } catch {
    json = undefined;
  }
  const parsed = sealedStreamEventSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const error = (json as { error?: { code?: unknown; message?: unknown } } | undefined)?.error;
  if (isErrorCode(error?.code)) throw new IdlewildError(error.code, String(error.message));
  throw new IdlewildError('sealed_broken', 'the hub sent an event that is none of a sealed answer');
}

interface Reader {
  hasStarted(): boolean;
  /** What there is to tell of it. Throws `Lost`, `sealed_broken`, and what the device refuses with. */
  read(event: SealedStreamEvent): Promise<SealedAnswerEvent | undefined>;
}

function createReader(
  { crypto, territory }: SealedDeps,
  given: { offer: SealedOffer; terms: SealedTerms; answer: AnswerOpener; from: number },
  progress: Progress,
): Reader {
  const { offer, terms, answer, from } = given;
  const { tokens } = progress;
  let started = false;

  function onToken(event: Extract<InnerEvent, { t: 'answer.token' }>): SealedAnswerEvent {
    const { i, id, s, calls, lp } = event;
    if (!started || i !== tokens.length) throw broken(`token ${i} came where token ${tokens.length} was due`);
    noteClass(progress, offer.numeric_class ?? '');
    tokens.push(id);
    progress.told.push({ s, calls });
    progress.attempts = 0;
    return { t: 'token', i, id, s, ...(calls === undefined ? {} : { calls }), ...(lp === undefined ? {} : { lp }) };
  }

  async function onEnd(event: Extract<InnerEvent, { t: 'answer.finished' }>): Promise<SealedAnswerEvent> {
    if (!started || event.answerTokens !== tokens.length)
      throw broken(`it ends after ${event.answerTokens} tokens, and ${tokens.length} came`);
    noteClass(progress, offer.numeric_class ?? '');
    const signed = await checkReceipt(event.receipt, terms, tokens.slice(from), from, crypto);
    // Where the hub named another class, what comes of it elsewhere says nothing of this device.
    if (offer.numeric_class !== null && offer.numeric_class !== signed.numericClass) progress.exact = false;
    const { finish, s, calls, receipt } = event;
    progress.told.push({ s, calls });
    if (
      signed.sealed !== undefined &&
      !equalBytes(signed.sealed.digest, await digestAnswer(answerTextOf(progress.told), crypto))
    )
      throw broken("the device's receipt is of another text than came");
    const { devices, failovers, exact, numericClass } = progress;
    const counts = { promptTokens: progress.promptTokens ?? event.promptTokens, answerTokens: tokens.length };
    const how = { devices, failovers, exact, numericClass, cachedTokens: progress.cachedTokens };
    return { t: 'finished', finish, s, ...(calls === undefined ? {} : { calls }), ...counts, ...how, receipt };
  }

  /** An answer is none the worse for a hub that signs nothing, or something else: then it has no receipt. */
  async function proved(end: SealedFinish, hub: Uint8Array): Promise<SealedFinish> {
    const { device, lease } = terms;
    const pair = { hub, device: end.receipt };
    try {
      const part = await openFreshSealed(pair, { territory, device, lease }, crypto);
      return { ...end, proof: { ...pair, part }, kept: encodeKeptSealed(pair) };
    } catch {
      return end;
    }
  }

  async function inside(event: InnerEvent): Promise<SealedAnswerEvent | undefined> {
    switch (event.t) {
      case 'answer.started': {
        const isFirst = progress.promptTokens === undefined;
        started = true;
        progress.promptTokens ??= event.promptTokens;
        if (!isFirst) return undefined;
        progress.cachedTokens = Math.min(event.cachedTokens ?? 0, event.promptTokens);
        return { t: 'started', promptTokens: event.promptTokens, cachedTokens: progress.cachedTokens };
      }
      case 'answer.token':
        return onToken(event);
      case 'answer.finished':
        return onEnd(event);
      case 'answer.failed':
        throw new IdlewildError(isErrorCode(event.code) ? event.code : 'engine_failed', event.message);
    }
  }

  return {
    hasStarted: () => started,
    async read(event) {
      if (event.t === 'lost') throw lost(event.code, event.message);
      if (event.t === 'failed') {
        const { error, n, sealed } = event;
        const more = n === undefined || sealed === undefined ? undefined : await answer.open(n, sealed);
        // What is taken here is told nobody: a token in its place would be left out of the answer.
        if (more?.t === 'answer.failed') await inside(more);
        else if (more !== undefined) throw broken('the hub says that it failed, and it did not');
        const { code: ended, message, details } = error;
        throw new IdlewildError(isErrorCode(ended) ? ended : 'internal', message, details && { details });
      }
      const told = await inside(await answer.open(event.n, event.sealed));
      if (event.t === 'done' && told?.t !== 'finished') throw broken('the hub says that it ended, and it did not');
      if (event.t !== 'done' || told?.t !== 'finished' || event.receipt === undefined) return told;
      return proved(told, event.receipt);
    },
  };
}

function noteClass(progress: Progress, numericClass: string): void {
  if (progress.numericClass === undefined) progress.numericClass = numericClass;
  else if (progress.numericClass !== numericClass) progress.exact = false;
}

/** Throws `sealed_broken` for a receipt that does not say what came. */
async function checkReceipt(
  receipt: Uint8Array,
  { device, lease, epoch, model }: SealedTerms,
  tokens: readonly number[],
  from: number,
  crypto: Crypto,
): Promise<Receipt> {
  const { statement } = await openStatement('receipt', receipt, receiptSchema, crypto, device);
  const agrees =
    statement.lease === lease &&
    statement.epoch === epoch &&
    statement.model === model &&
    statement.firstToken === from &&
    statement.tokens === tokens.length &&
    equalBytes(statement.tokensDigest, await digestTokens(tokens, crypto));
  if (!agrees) throw broken("the device's receipt does not say what came");
  return statement;
}

const broken = (why: string): IdlewildError => new IdlewildError('sealed_broken', why);
