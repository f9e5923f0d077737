/**
 * The interactive lane: answers under leases, from the hub's frame to the engine and back as a stream of events; and
 * vectors of texts, which are an answer of one event.
 *
 *   answer frame ──► guard ──► warm engine ──► free slot ──► running ──► finished | failed
 *                      └─ refused at once with the reason   └─ cancel, deadline, pause, engine death, lost channel
 *
 * - Every event carries the lease and epoch of its attempt; once an attempt is over nothing more is sent for it.
 * - A lease's epoch only grows: an older or repeated one changes nothing; a newer one replaces the attempt.
 * - There is no queue: an answer runs now or is refused, because the hub knows better places than a device's queue.
 * - It trusts no frame: whether the lender allows the work is asked of the guard for each.
 */
import {
  IdlewildError,
  LIMITS,
  asIdlewildError,
  digestTokens,
  signStatement,
  type Clock,
  type Crypto,
  type ErrorCode,
  type KeyPair,
  type Receipt,
  type Timer,
  type ToDevice,
  type ToHub,
} from '@idlewild/protocol';
import type { Engine, EngineEvent } from '@idlewild/engine';
import { AGENT_LIMITS } from './limits.ts';

export type AnswerMessage = Extract<ToDevice, { t: 'answer' }>;
export type EmbedMessage = Extract<ToDevice, { t: 'embed' }>;
type OrderMessage = AnswerMessage | EmbedMessage;

export interface WarmModel {
  readonly engine: Engine;
  readonly numericClass: string;
}

export interface LanePorts {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly identity: KeyPair;
  /** Answers at once over all models together. */
  readonly slotsMax: number;
  /** Each engine keeps the lender's limit of tokens per second by itself; two at once would make twice as many. */
  readonly oneModelAtOnce: boolean;
  /** Why no answer may run now (consent, pause, draining), or `undefined`. */
  refusal(): IdlewildError | undefined;
  /** The engine for a model, or the error that says why it is not warm. */
  warm(cid: string): WarmModel | IdlewildError;
  send(message: ToHub): void;
  /** The number of running answers changed. */
  onChanged(): void;
}

export interface Lane {
  offer(message: OrderMessage): void;
  cancel(lease: string, epoch: number): void;
  /** Ends answers with `answer.failed`, so that the hub moves them; with `cid`, those of one model only. */
  failAll(error: IdlewildError, cid?: string): void;
  /** Ends all answers without a word: there is nobody left to tell. */
  dropAll(): void;
  /** Answers that run; with `cid`, those of one model. */
  running(cid?: string): number;
}

interface Attempt {
  readonly message: OrderMessage;
  readonly model: WarmModel;
  readonly tokens: number[];
  handle?: { cancel(): void };
  deadline?: Timer;
  over: boolean;
}

/** What the functions below share. */
interface LaneState {
  readonly ports: LanePorts;
  /** By lease. */
  readonly running: Map<string, Attempt>;
  /** The highest epoch seen of each lease, oldest lease first. */
  readonly epochs: Map<string, number>;
}

export function createLane(ports: LanePorts): Lane {
  const lane: LaneState = { ports, running: new Map(), epochs: new Map() };
  return {
    offer: (message) => offer(lane, message),
    cancel(lease, epoch) {
      const attempt = lane.running.get(lease);
      if (attempt === undefined || attempt.message.epoch !== epoch) return;
      drop(lane, attempt);
      ports.onChanged();
    },
    failAll(error, cid) {
      for (const attempt of [...lane.running.values()]) {
        if (cid === undefined || attempt.message.model === cid) fail(lane, attempt, error.code, error.message);
      }
    },
    dropAll() {
      for (const attempt of [...lane.running.values()]) drop(lane, attempt);
      ports.onChanged();
    },
    running: (cid) =>
      cid === undefined
        ? lane.running.size
        : [...lane.running.values()].filter(({ message }) => message.model === cid).length,
  };
}

function offer(lane: LaneState, message: OrderMessage): void {
  if (!isNew(lane, message.lease, message.epoch)) return;
  const older = lane.running.get(message.lease);
  if (older !== undefined) drop(lane, older);
  const place = placeFor(lane, message);
  if ('engine' in place) return start(lane, message, place);
  sendFailed(lane, message, place.code, place.message);
  if (older !== undefined) lane.ports.onChanged();
}

/** True when this epoch of the lease is new here; remembers it. */
function isNew({ epochs }: LaneState, lease: string, epoch: number): boolean {
  if ((epochs.get(lease) ?? 0) >= epoch) return false;
  epochs.delete(lease);
  epochs.set(lease, epoch);
  if (epochs.size > AGENT_LIMITS.leasesRememberedMax) epochs.delete(epochs.keys().next().value as string);
  return true;
}

/** The warm model that takes the answer now, or the error that refuses it. */
function placeFor({ ports, running }: LaneState, message: OrderMessage): WarmModel | IdlewildError {
  const refusal = ports.refusal();
  if (refusal !== undefined) return refusal;
  const model = ports.warm(message.model);
  if (!('engine' in model)) return model;
  const beside = [...running.values()].filter((attempt) => attempt.model.engine === model.engine).length;
  if (running.size >= ports.slotsMax || beside >= model.engine.slots) {
    return new IdlewildError(
      'device_full',
      `all slots of this device are in use (${running.size} answers are running)`,
    );
  }
  if (ports.oneModelAtOnce && beside < running.size) {
    return new IdlewildError(
      'device_full',
      'another model is answering, and the lender limits the tokens per second of all together',
    );
  }
  return model;
}

function start(lane: LaneState, message: OrderMessage, model: WarmModel): void {
  const attempt: Attempt = { message, model, tokens: [], over: false };
  lane.running.set(message.lease, attempt);
  const deadlineMs = Math.min(message.deadlineMs, AGENT_LIMITS.answerMsMax);
  attempt.deadline = lane.ports.clock.after(deadlineMs, () =>
    fail(lane, attempt, 'deadline_exceeded', `the answer was not finished within its ${deadlineMs} ms`),
  );
  const handle =
    message.t === 'embed'
      ? startEmbed(lane, attempt, message)
      : model.engine.answer(message.work, (event) => onEvent(lane, attempt, message, event));
  attempt.handle = handle;
  // An engine may fail an answer before it hands out the handle.
  if (attempt.over) handle.cancel();
  else lane.ports.onChanged();
}

/** The whole of the vectors comes at once. */
function startEmbed(lane: LaneState, attempt: Attempt, { lease, epoch, work }: EmbedMessage): { cancel(): void } {
  const abort = new AbortController();
  const { engine } = attempt.model;
  const embedding =
    engine.embed?.(work, abort.signal) ??
    Promise.reject(new IdlewildError('model_unsupported', 'this model makes text, and no vectors'));
  embedding.then(
    ({ vectors, tokens }) => {
      if (!close(lane, attempt)) return;
      const bytes = vectors.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
      lane.ports.send({ t: 'embed.done', lease, epoch, vectors: bytes, tokens: [...tokens] });
      lane.ports.onChanged();
    },
    (thrown: unknown) => {
      const { code, message, details } = asIdlewildError(thrown, 'making vectors');
      fail(lane, attempt, code, message, typeof details.input === 'number' ? details.input : undefined);
    },
  );
  return { cancel: () => abort.abort() };
}

function onEvent(lane: LaneState, attempt: Attempt, message: AnswerMessage, event: EngineEvent): void {
  if (attempt.over) return;
  const { send } = lane.ports;
  const { lease, epoch } = message;
  switch (event.t) {
    case 'token':
      if (event.s.length > LIMITS.tokenTextCharactersMax) {
        return fail(lane, attempt, 'engine_failed', `token ${event.i} has a text of ${event.s.length} characters`);
      }
      attempt.tokens.push(event.id);
      return send({ ...event, t: 'answer.token', lease, epoch });
    case 'started':
      return send({ ...event, t: 'answer.started', lease, epoch });
    case 'progress':
      return send({ t: 'answer.progress', lease, epoch, phase: event.phase });
    case 'failed':
      return fail(lane, attempt, event.code, event.message);
    case 'finished':
      finish(lane, attempt, message, event).catch((thrown: unknown) =>
        fail(lane, attempt, 'internal', asIdlewildError(thrown, 'signing the receipt').message),
      );
  }
}

async function finish(
  lane: LaneState,
  attempt: Attempt,
  { lease, epoch, model, work }: AnswerMessage,
  event: Extract<EngineEvent, { t: 'finished' }>,
): Promise<void> {
  const { crypto, identity, send, onChanged } = lane.ports;
  const { finish: reason, s, calls, promptTokens, answerTokens, prefillMs, decodeMs } = event;
  const tokensDigest = await digestTokens(attempt.tokens, crypto);
  const receipt = await signStatement(
    'receipt',
    {
      v: 1,
      device: identity.publicKey,
      lease,
      epoch,
      model,
      numericClass: attempt.model.numericClass,
      promptTokens,
      firstToken: work.tokens.length,
      tokens: attempt.tokens.length,
      tokensDigest,
      prefillMs,
      decodeMs,
    } satisfies Receipt,
    identity,
    crypto,
  );
  // A cancel may have come while the receipt was signed.
  if (!close(lane, attempt)) return;
  send({
    t: 'answer.finished',
    lease,
    epoch,
    finish: reason,
    s,
    ...(calls === undefined ? {} : { calls }),
    promptTokens,
    answerTokens,
    receipt,
  });
  onChanged();
}

/** Takes the attempt out of the lane; false when that has happened already. */
function close(lane: LaneState, attempt: Attempt): boolean {
  if (attempt.over) return false;
  attempt.over = true;
  attempt.deadline?.cancel();
  lane.running.delete(attempt.message.lease);
  return true;
}

/** Ends the attempt without a word. */
function drop(lane: LaneState, attempt: Attempt): void {
  if (close(lane, attempt)) attempt.handle?.cancel();
}

function fail(lane: LaneState, attempt: Attempt, code: ErrorCode, message: string, input?: number): void {
  if (!close(lane, attempt)) return;
  attempt.handle?.cancel();
  sendFailed(lane, attempt.message, code, message, input);
  lane.ports.onChanged();
}

/** `input`: index of the text that is at fault. */
function sendFailed(
  { ports }: LaneState,
  { t, lease, epoch }: OrderMessage,
  code: ErrorCode,
  said: string,
  input?: number,
): void {
  const message = said.slice(0, 2_048);
  if (t === 'answer') return ports.send({ t: 'answer.failed', lease, epoch, code, message });
  ports.send({ t: 'embed.failed', lease, epoch, code, message, ...(input === undefined ? {} : { input }) });
}
