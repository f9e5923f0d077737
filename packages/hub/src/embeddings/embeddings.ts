/**
 * Vectors and labels of texts: a request is cut into parts, each goes to a device under a lease with a deadline, and
 * the whole is given when the last part is there.
 *
 *   waiting ──a free device──► running ──embed.done──► done
 *      ▲                          │
 *      └── lost, silent, failed ──┘   the next attempt has the next epoch, on whatever device is the best then
 *
 * The same text gives the same vector, so a part is simply asked for again; nothing is journalled, and who gets no
 * answer because the hub stopped asks again. What was used is told once, at the end. A frame that does not carry the
 * current lease and epoch of its part changes nothing.
 */
import {
  ERRORS,
  IdlewildError,
  isErrorCode,
  messageOf,
  newId,
  type Clock,
  type EmbedDone,
  type EmbedFailed,
  type ErrorCode,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import type { AnswerMeter } from '../answers/port.ts';
import { stoppingError } from '../answers/refusals.ts';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Ask } from '../placement/circle.ts';
import type { Placement } from '../placement/placement.ts';
import { candidateOf } from '../scheduler/candidate.ts';
import { noDeviceError } from '../scheduler/explain.ts';
import type { Candidate } from '../scheduler/route.ts';
import { endRefused } from '../policy/permit.ts';
import { EVERYWHERE } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { barOf, type TextDemand } from '../trust/barred.ts';
import { sortOf } from '../trust/text.ts';
import type { Trust } from '../trust/trust.ts';
import { whenFresh } from '../trust/when-fresh.ts';
import { createJob, isWaiting, type Job, type PartState } from './job.ts';
import { expectedMs, routePart } from './parts.ts';
import type { EmbedAccount, EmbedOutcome, EmbedRequest, Embeddings } from './port.ts';

export interface EmbeddingsDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'embed' | 'revokeLease'>;
  readonly meter: AnswerMeter;
  /** What lies where is told what is asked for, and says whether something is worth waiting for. */
  readonly placement?: Pick<Placement, 'asked' | 'outlook'>;
  /** Writes what was used, for the sums of the key and its limits. */
  account(account: EmbedAccount): Promise<void>;
  /** How far devices are trusted. */
  readonly trust: Pick<Trust, 'refresh' | 'isFresh' | 'demandOf'>;
  /** A slot is free that somebody else may want. */
  onFree(): void;
  readonly log: Log;
}

/** Another device would say the same. */
const FINAL: ReadonlySet<string> = new Set<ErrorCode>([
  'invalid_request',
  'context_length_exceeded',
  'model_unsupported',
  'unsupported_field',
]);

export function createEmbeddings(deps: EmbeddingsDeps): Embeddings {
  const { clock, random, sessions, log } = deps;
  /** In turn. */
  const jobs = new Set<Job>();
  const running = new Map<string, PartState>();
  let sweeper: Timer | undefined;
  let stopping = false;

  const candidatesFor = ({ territory, model }: EmbedRequest): Candidate[] =>
    [...sessions.list()]
      .filter((device) => device.territory === territory)
      .map((device) => candidateOf(device, model.cid, clock.monotonic()));
  /** Of these, those that may see the texts. */
  const seersFor = (request: EmbedRequest): Candidate[] => {
    const text = demandOf(request);
    return candidatesFor(request).filter((candidate) => barOf(candidate, text) === undefined);
  };
  const demandOf = ({ text, permit }: EmbedRequest): TextDemand => deps.trust.demandOf(text, permit);
  const embedding = (device: string): number =>
    [...running.values()].filter(({ attempt }) => attempt?.device === device).length;
  const noDevice = (request: EmbedRequest): IdlewildError =>
    noDeviceError(candidatesFor(request), request.model.name, {
      excluded: new Set(),
      ...askOf(request),
      words: deps.placement?.outlook(askOf(request)).words,
    });

  function end(job: Job, result: EmbedOutcome | IdlewildError): void {
    if (job.over) return;
    job.over = true;
    jobs.delete(job);
    for (const part of job.parts) take(part, true);
    const code = 'vectors' in result ? undefined : result.code;
    const state = code === undefined ? 'done' : code === 'cancelled' ? 'cancelled' : 'failed';
    const { id: request, promptTokens, deviceMs, failovers } = job;
    const { territory, key, hold, model, text } = job.request;
    const ms = clock.monotonic() - job.createdAtMs;
    deps.meter.ended(state, code ?? 'none', { tokens: 0, ms, failovers });
    deps
      .account({
        request,
        territory,
        key,
        hold,
        model: model.cid,
        text,
        state,
        reason: code,
        promptTokens,
        deviceMs,
        failovers,
      })
      .catch((error: unknown) => log.error({ request, why: messageOf(error) }, 'what was used could not be written'));
    job.settle(result);
    pump();
    deps.onFree();
  }

  /** Takes a part from the device that has it; `tell` where that does not know. */
  function take(part: PartState, tell: boolean): ConnectedDevice | undefined {
    const { attempt } = part;
    if (attempt === undefined) return undefined;
    part.attempt = undefined;
    part.waitingSinceMs = clock.monotonic();
    part.job.deviceMs += clock.monotonic() - attempt.startedAtMs;
    running.delete(attempt.lease);
    const device = sessions.get(attempt.device);
    device?.leases.delete(attempt.lease);
    if (tell && device !== undefined) sessions.revokeLease(device, attempt.lease, attempt.epoch);
    return device;
  }

  function give(part: PartState, candidate: Candidate, device: ConnectedDevice): void {
    const { job } = part;
    const lease = newId('att', random);
    const epoch = ++part.epoch;
    const nowMs = clock.monotonic();
    const stallMs = Math.max(
      HUB_LIMITS.embedStallMsMin,
      HUB_LIMITS.embedStallFactor * expectedMs(candidate, part.tokens),
    );
    part.attempt = { lease, epoch, device: device.id, startedAtMs: nowMs, stallAtMs: nowMs + stallMs };
    running.set(lease, part);
    job.devices.add(device.name);
    const work = { kind: job.request.kind, inputs: [...part.part.inputs] };
    const { model, text } = job.request;
    const { dataClass, cause } = text;
    const order = { lease, epoch, model: model.cid, dataClass, cause, work, deadlineMs: Math.ceil(stallMs) };
    sessions.embed(device, order);
  }

  const onUnread = (error: unknown): void =>
    log.error({ why: messageOf(error) }, 'how far devices are trusted could not be read');

  const giveOutFresh = whenFresh(deps.trust, giveOut, onUnread);

  function pump(): void {
    if (jobs.size > 0) giveOutFresh();
  }

  /** A part of each request in turn, for as long as devices take some. */
  function giveOut(): void {
    let waiting = [...jobs];
    while (waiting.length > 0) {
      waiting = waiting.filter((job) => {
        const part = job.parts.find(isWaiting);
        if (part === undefined || job.over) return false;
        const choice = routePart(seersFor(job.request), part.tokens, embedding);
        const device = choice.t === 'device' ? sessions.get(choice.candidate.device) : undefined;
        if (choice.t !== 'device' || device === undefined) return false;
        give(part, choice.candidate, device);
        // The others are first next time.
        jobs.delete(job);
        jobs.add(job);
        return true;
      });
    }
  }

  function done(part: PartState, event: EmbedDone): void {
    const { job } = part;
    const bytes = job.request.model.dimensions * Float32Array.BYTES_PER_ELEMENT;
    const count = part.part.inputs.length;
    const isWhole = event.vectors.length === count && event.tokens.length === count;
    if (!isWhole || event.vectors.some((vector) => vector.length !== bytes))
      return failed(part, 'engine_failed', 'it gave other vectors than were asked for');
    take(part, false);
    part.isDone = true;
    for (const [index, vector] of event.vectors.entries()) job.vectors[part.part.from + index] = vector;
    job.promptTokens += event.tokens.reduce((sum, tokens) => sum + tokens, 0);
    if (job.parts.some((each) => !each.isDone)) return pump();
    const { vectors, promptTokens, failovers } = job;
    end(job, { vectors, promptTokens, failovers, devices: [...job.devices] });
  }

  /** One failed attempt: the device is given nothing more before its next status, the part goes to another. */
  function failed(part: PartState, code: ErrorCode, why: string): void {
    const { job, attempt } = part;
    const device = take(part, code === 'stalled' || code === 'forbidden');
    if (device !== undefined && code !== 'forbidden') device.contradicted = true;
    if (code === 'consent_refused') device?.refusals.add(sortOf(job.request.text));
    if (device !== undefined && code === 'stalled')
      device.mistrustedUntilMs = clock.monotonic() + HUB_LIMITS.mistrustMs;
    job.failovers++;
    part.failures++;
    part.lastFailure = `${code}: ${why}`;
    log.info({ request: job.id, device: attempt?.device, why: part.lastFailure }, 'a part failed');
    if (part.failures < HUB_LIMITS.embedAttemptsMax) return pump();
    end(job, new IdlewildError('attempts_exhausted', `${part.failures} devices in turn failed; ${part.lastFailure}`));
  }

  function refused(part: PartState, { code, message, input }: EmbedFailed): void {
    if (!FINAL.has(code)) return failed(part, isErrorCode(code) ? code : 'engine_failed', message);
    const said = input === undefined ? message : `input ${part.part.from + input}: ${message}`;
    take(part, false);
    end(part.job, new IdlewildError(code as ErrorCode, said, { details: { param: 'input' } }));
  }

  function sweep(): void {
    sweeper = undefined;
    const nowMs = clock.monotonic();
    for (const part of [...running.values()])
      if (part.attempt !== undefined && nowMs >= part.attempt.stallAtMs)
        failed(part, 'stalled', 'nothing came in time');
    for (const job of [...jobs]) {
      if (nowMs - job.createdAtMs >= HUB_LIMITS.answerMsMax)
        end(job, new IdlewildError('deadline_exceeded', `not done within ${HUB_LIMITS.answerMsMax / 1_000} s`));
      else if (hasWaitedInVain(job, nowMs)) end(job, noDevice(job.request));
    }
    pump();
    endRefused(
      jobs,
      ({ request }) => request.permit,
      end,
      (error) => log.error({ why: messageOf(error) }, 'whether open requests may go on could not be asked'),
    );
    // A right for some devices may be for fewer now.
    takeBack(({ permit }) => permit.reach() !== EVERYWHERE);
    Promise.resolve(deps.trust.refresh()).catch(onUnread);
    if (jobs.size > 0) sweeper = clock.after(HUB_LIMITS.sweepMs, sweep);
  }

  /** From devices that may see theirs no longer. */
  function takeBack(isOf: (request: EmbedRequest) => boolean): void {
    for (const part of [...running.values()]) {
      const { request } = part.job;
      const device = part.attempt === undefined ? undefined : sessions.get(part.attempt.device);
      if (device === undefined || !isOf(request) || barOf(device, demandOf(request)) === undefined) continue;
      failed(part, 'forbidden', `the device ${device.name} may no longer see such texts`);
    }
  }

  /** Nobody who could take it came in time. Devices that are busy will have time for it. */
  function hasWaitedInVain({ parts, request }: Job, nowMs: number): boolean {
    const waiting = parts.filter(isWaiting);
    const waitedMs = nowMs - Math.min(nowMs, ...waiting.map(({ waitingSinceMs }) => waitingSinceMs));
    if (waitedMs < HUB_LIMITS.failoverWaitMsMax || !isNobody(request)) return false;
    return waitedMs >= HUB_LIMITS.queueMsMax || !isComing(request);
  }

  const isNobody = (request: EmbedRequest): boolean => routePart(seersFor(request), 1, embedding).t === 'none';
  const askOf = (request: EmbedRequest): Ask => ({
    models: [request.model.cid],
    features: ['embed'],
    text: demandOf(request),
  });
  const isComing = (request: EmbedRequest): boolean => deps.placement?.outlook(askOf(request)).coming !== undefined;

  function admit(request: EmbedRequest, bytes: number): void {
    if (stopping) throw stoppingError();
    // A device that is loading the model is worth waiting for.
    if (isNobody(request) && !isComing(request)) throw noDevice(request);
    const openBytes = [...jobs].reduce((sum, job) => sum + job.bytes, bytes);
    if (jobs.size < HUB_LIMITS.embedsOpenMax && openBytes <= HUB_LIMITS.embedsOpenBytesMax) return;
    const message = `${jobs.size} requests for vectors are open already; try again in a moment`;
    throw new IdlewildError('too_busy', message, { details: { retryAfterSeconds: 5 } });
  }

  return {
    async submit(request, signal) {
      await deps.trust.refresh();
      deps.placement?.asked(askOf(request));
      const bytes = request.inputs.reduce((sum, input) => sum + Buffer.byteLength(input), 0);
      admit(request, bytes);
      if (signal.aborted) throw cancelled();
      if (request.inputs.length === 0) throw new IdlewildError('invalid_request', 'there is no text in this request');
      const { promise, resolve, reject } = Promise.withResolvers<EmbedOutcome>();
      const job = createJob(request, newId('req', random), bytes, clock.monotonic(), (result) =>
        'vectors' in result ? resolve(result) : reject(result),
      );
      jobs.add(job);
      const onAbort = (): void => end(job, cancelled());
      signal.addEventListener('abort', onAbort, { once: true });
      sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
      pump();
      return promise.finally(() => signal.removeEventListener('abort', onAbort));
    },
    onFrame(device, event) {
      const part = running.get(event.lease);
      if (part?.attempt?.epoch !== event.epoch || part.attempt.device !== device.id) return;
      if (event.t === 'embed.done') done(part, event);
      else refused(part, event);
      deps.onFree();
    },
    onGone(device, code, why) {
      for (const part of [...running.values()]) if (part.attempt?.device === device.id) failed(part, code, why);
    },
    pump,
    retrust() {
      takeBack(() => true);
      pump();
    },
    counts: () => ({ open: jobs.size }),
    stop() {
      stopping = true;
      sweeper?.cancel();
      for (const job of [...jobs]) end(job, new IdlewildError('hub_stopping', ERRORS.hub_stopping.meaning));
    },
  };
}

const cancelled = (): IdlewildError => new IdlewildError('cancelled', 'the caller hung up');
