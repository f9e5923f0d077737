/**
 * The interactive lane: answers under leases, from the hub's frame to the engine and back as a stream of events; and
 * vectors of texts, which are an answer of one event.
 *
 *   answer frame ──► guard ──► warm engine ──► free slot ──► running ──► finished | failed
 *                      └─ refused at once with the reason   └─ cancel, deadline, pause, engine death
 *
 * - Every event carries the lease and epoch of its attempt; once an attempt is over nothing new is said for it.
 * - A lease's epoch only grows: an older or repeated one changes nothing; a newer one replaces the attempt.
 * - An answer that the hub wants kept outlives its channel: it runs on, and another session may hear it from any token
 *   (`attempts.ts`, `said.ts`). Any other ends with its channel.
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
  type KeptAttempt,
  type KeyPair,
  type Receipt,
  type ToHub,
} from '@idlewild/protocol';
import type { EngineEvent } from '@idlewild/engine';
import type { EnergyMeter } from '../lending/energy/meter.ts';
import type { RunningWork, WorkDone } from '../lending/control/work.ts';
import { createRunningCost, type RunningCost } from './running-cost.ts';
import { FROM_HUB_LIMITS } from '../from-hub-limits.ts';
import { AGENT_LIMITS } from '../limits.ts';
import {
  close,
  createAttempts,
  discard,
  discardAll,
  failed,
  find,
  joined,
  keep,
  makeRoom,
  parted,
  resumable,
  type AnswerMessage,
  type Attempt,
  type Attempts,
  type EmbedMessage,
  type OrderMessage,
  type ResumeMessage,
  type WarmModel,
} from './attempts.ts';
import { createSaid } from './said.ts';
import type { SealedText } from './sealed-text.ts';

export interface LanePorts {
  readonly clock: Clock;
  readonly crypto: Crypto;
  readonly identity: KeyPair;
  /** Answers at once over all models together. */
  readonly slotsMax: number;
  /** Each engine keeps the lender's limit of tokens per second by itself; two at once would make twice as many. */
  readonly oneModelAtOnce: boolean;
  /** Why this may not run now (consent, pause, draining), or `undefined`. */
  refusal(order: OrderMessage): IdlewildError | undefined;
  /** The engine for a model, or the error that says why it is not warm. */
  warm(cid: string): WarmModel | IdlewildError;
  send(message: ToHub): void;
  /** What waits in the channel. */
  backlogBytes(): number;
  /** Absent: nobody counts what work costs. */
  readonly energy?: Pick<EnergyMeter, 'begin' | 'drawnWattHours'> | undefined;
  /** The number of running answers changed. */
  onChanged(): void;
  /** Something is over, however it ended. */
  onWork?(work: WorkDone): void;
}

export interface Lane {
  /** `tell` takes what there is to say of it, in place of `send`: whoever sealed the prompt hears it sealed. */
  offer(message: OrderMessage, tell?: (event: ToHub) => void, text?: SealedText): void;
  cancel(lease: string, epoch: number): void;
  /** The hub hears an attempt again, from `from` on; it is told when that cannot be. */
  resume(message: ResumeMessage): void;
  /** The hub has written the end of this attempt down. */
  kept(lease: string, epoch: number): void;
  /** Ends answers with `answer.failed`, so that the hub moves them; with `cid`, those of one model only. */
  failAll(error: IdlewildError, cid?: string): void;
  /** Ends all answers without a word and forgets them: there is nobody left to tell. */
  dropAll(): void;
  /** A session began; `resumes`: its hub may ask for attempts of earlier ones. */
  joined(resumes: boolean): void;
  /** The session is over; another may follow. */
  parted(): void;
  /** What another session could resume. */
  attempts(): KeptAttempt[];
  /** Answers that run, also those that nobody hears; with `cid`, those of one model. */
  running(cid?: string): number;
  /** The same, as the lender is told of them: oldest first. */
  works(): RunningWork[];
}

/** Who hears of an attempt, and what its receipt says of its text where the prompt was sealed. */
interface Hearer {
  readonly tell: LanePorts['send'];
  readonly text: SealedText | undefined;
}

/** What the functions below share. */
interface LaneState {
  readonly ports: LanePorts;
  readonly attempts: Attempts;
  /** Absent where nobody counts. */
  readonly cost: RunningCost | undefined;
  /** The highest epoch seen of each lease, oldest lease first. */
  readonly epochs: Map<string, number>;
}

export function createLane(ports: LanePorts): Lane {
  const cost = ports.energy === undefined ? undefined : createRunningCost(ports.energy.drawnWattHours);
  const attempts = createAttempts({
    ...ports,
    onOver(attempt, whole, tokens) {
      // It is out of those that run already.
      cost?.each(running.size + 1);
      const ms = ports.clock.monotonic() - attempt.startedAtMs;
      const { energy } = attempt;
      const price = energy === undefined ? {} : { wattHours: energy.wattHours };
      ports.onWork?.({ ...purposeOf(attempt), whole, tokens, ms, ...price });
    },
  });
  const { running } = attempts;
  const lane: LaneState = { ports, attempts, cost, epochs: new Map() };
  const over = (lease: string, epoch: number): void => {
    const attempt = find(attempts, lease);
    if (attempt?.message.epoch === epoch) discard(attempts, attempt);
  };
  return {
    offer: (message, tell, text) => offer(lane, message, { tell: tell ?? ports.send, text }),
    resume: (message) => resume(lane, message),
    cancel: over,
    kept: over,
    failAll(error, cid) {
      for (const attempt of [...running.values()]) {
        if (cid === undefined || attempt.message.model === cid) fail(lane, attempt, error.code, error.message);
      }
    },
    dropAll: () => discardAll(attempts),
    joined: (resumes) => joined(attempts, resumes),
    parted: () => parted(attempts),
    attempts: () => resumable(attempts),
    running: (cid) =>
      cid === undefined ? running.size : [...running.values()].filter(({ message }) => message.model === cid).length,
    works() {
      const each = cost?.each(running.size);
      return [...running.values()].map((attempt) => {
        const { sinceMs, costFrom } = attempt;
        const wattHours = each === undefined || costFrom === undefined ? {} : { wattHours: each - costFrom };
        return { ...purposeOf(attempt), sinceMs, ...wattHours };
      });
    },
  };
}

/** What it is, and for whose good, as far as the hub said. */
const purposeOf = ({ message }: Attempt): Omit<RunningWork, 'sinceMs' | 'wattHours'> => ({
  kind: message.t,
  model: message.model,
  dataClass: message.dataClass ?? 'internal',
  ...(message.cause === undefined ? {} : { cause: message.cause }),
});

function offer(lane: LaneState, message: OrderMessage, hearer: Hearer): void {
  if (!isNew(lane, message.lease, message.epoch)) return;
  const older = find(lane.attempts, message.lease);
  if (older !== undefined) discard(lane.attempts, older);
  const place = placeFor(lane, message);
  if ('engine' in place) start(lane, message, place, hearer);
  else hearer.tell(failed(message, place.code, place.message));
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
function placeFor({ ports, attempts: { running } }: LaneState, message: OrderMessage): WarmModel | IdlewildError {
  const refusal = ports.refusal(message);
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

function start(lane: LaneState, message: OrderMessage, model: WarmModel, { tell, text }: Hearer): void {
  const { ports, attempts } = lane;
  const keeps = message.t === 'answer' && message.keep === true && attempts.resumes;
  const said =
    message.t === 'answer'
      ? createSaid({ ...ports, send: tell, tally: attempts.tally }, message.work.tokens.length, keeps)
      : undefined;
  const times = { sinceMs: ports.clock.now(), startedAtMs: ports.clock.monotonic() };
  const counted = { meter: ports.energy?.begin(), costFrom: lane.cost?.each(attempts.running.size) };
  const made = { message, model, said, keeps, tokens: [], tell, text, resumes: 0, over: false };
  const attempt: Attempt = { ...made, ...times, ...counted };
  attempts.running.set(message.lease, attempt);
  const deadlineMs = Math.min(message.deadlineMs, AGENT_LIMITS.answerMsMax);
  attempt.deadline = ports.clock.after(deadlineMs, () =>
    fail(lane, attempt, 'deadline_exceeded', `the answer was not finished within its ${deadlineMs} ms`),
  );
  const handle =
    message.t === 'embed'
      ? startEmbed(lane, attempt, message)
      : model.engine.answer(message.work, (event) => onEvent(lane, attempt, message, event));
  attempt.handle = handle;
  // An engine may fail an answer before it hands out the handle.
  if (attempt.over) handle.cancel();
  else ports.onChanged();
}

/** The whole of the vectors comes at once. */
function startEmbed(lane: LaneState, attempt: Attempt, { lease, epoch, work }: EmbedMessage): { cancel(): void } {
  const abort = new AbortController();
  const { engine } = attempt.model;
  const embedding =
    engine.embed?.(work, abort.signal) ??
    Promise.reject(new IdlewildError('model_unsupported', 'this model makes text, and no vectors'));
  embedding.then(
    async ({ vectors, tokens, cpuMs }) => {
      await price(attempt, cpuMs);
      const read = tokens.reduce((sum, each) => sum + each, 0);
      if (!close(lane.attempts, attempt, true, read)) return;
      const bytes = vectors.map(({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength));
      attempt.tell({ t: 'embed.done', lease, epoch, vectors: bytes, tokens: [...tokens] });
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
  const { said } = attempt;
  const { lease, epoch } = message;
  switch (event.t) {
    case 'token':
      if (event.s.length > LIMITS.tokenTextCharactersMax) {
        return fail(lane, attempt, 'engine_failed', `token ${event.i} has a text of ${event.s.length} characters`);
      }
      attempt.tokens.push(event.id);
      attempt.text?.add(event);
      said?.tell({ ...event, t: 'answer.token', lease, epoch });
      return makeRoom(lane.attempts, attempt);
    case 'started':
      return said?.tell({ ...event, t: 'answer.started', lease, epoch });
    case 'progress':
      return said?.mention({ t: 'answer.progress', lease, epoch, phase: event.phase });
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
  const { crypto, identity, onChanged } = lane.ports;
  const { finish: reason, s, calls, promptTokens, answerTokens, prefillMs, decodeMs } = event;
  await price(attempt, event.cpuMs);
  const tokensDigest = await digestTokens(attempt.tokens, crypto);
  const sealed = await attempt.text?.end(event, work, attempt.energy);
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
      ...(attempt.energy === undefined ? {} : { energy: attempt.energy }),
      ...(sealed === undefined ? {} : { sealed }),
    } satisfies Receipt,
    identity,
    crypto,
  );
  // A cancel may have come while the receipt was signed.
  if (!close(lane.attempts, attempt, true)) return;
  attempt.said?.tell({
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
  keep(lane.attempts, attempt);
  onChanged();
}

/** What it cost, where somebody counts that and its engine tells what it used. */
async function price(attempt: Attempt, cpuMs: number | undefined): Promise<void> {
  if (cpuMs === undefined || attempt.meter === undefined) return;
  attempt.energy = await attempt.meter.end(cpuMs);
}

function fail(lane: LaneState, attempt: Attempt, code: ErrorCode, message: string, input?: number): void {
  if (!close(lane.attempts, attempt)) return;
  attempt.handle?.cancel();
  const end = failed(attempt.message, code, message, input);
  if (end.t === 'answer.failed') attempt.said?.tell(end);
  else attempt.tell(end);
  keep(lane.attempts, attempt);
  lane.ports.onChanged();
}

function resume({ ports, attempts }: LaneState, message: ResumeMessage): void {
  const { lease, epoch, from } = message;
  const attempt = find(attempts, lease);
  if (attempt?.said === undefined || attempt.message.epoch !== epoch) {
    const here = attempt === undefined ? 'there is no attempt of it' : `there is epoch ${attempt.message.epoch}`;
    return ports.send(failed(message, 'lease_unknown', `epoch ${epoch} of ${lease} is not here: ${here}`));
  }
  // What runs on is work as much as what begins; what is over only has to be told.
  const refusal = attempt.over ? undefined : ports.refusal(attempt.message);
  if (refusal?.code === 'consent_refused') {
    discard(attempts, attempt);
    return ports.send(failed(message, refusal.code, refusal.message));
  }
  attempt.resumes += 1;
  const why =
    attempt.resumes > FROM_HUB_LIMITS.resumesMax ? 'it was heard too often already' : attempt.said.resume(from);
  if (why === undefined) return;
  discard(attempts, attempt);
  ports.send(failed(message, 'lease_unknown', `epoch ${epoch} of ${lease} cannot go on from token ${from}: ${why}`));
}
