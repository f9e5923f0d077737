/**
 * Answers from acceptance to end: the shell around `machine.ts` that owns the queue, the leases and the timers.
 *
 * submit → journalled → queued → a device by `scheduler/route.ts` → its frames, through the machine, to the caller's
 * sink. A lost, paused or silent device sends its answers back to the head of the queue. It knows no HTTP, no sockets.
 */
import {
  IdlewildError,
  messageOf,
  newId,
  type Clock,
  type ErrorCode,
  type Random,
  type Timer,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import { createAffinity, type Marks } from '../scheduler/affinity.ts';
import { featuresOf, route, type Candidate, type Demand } from '../scheduler/route.ts';
import { endRefused } from '../policy/permit.ts';
import { EVERYWHERE } from '../policy/reach.ts';
import type { ConnectedDevice } from '../session/connected-device.ts';
import type { Placement } from '../placement/placement.ts';
import type { Sessions } from '../session/port.ts';
import { barOf } from '../trust/barred.ts';
import { moreDelicate, sortOf } from '../trust/text.ts';
import type { Trust } from '../trust/trust.ts';
import type { AnswerOutcome, AnswerSink, AnswerRequest, AnswerHandle, AnswerMeter, Answers } from './port.ts';
import { atMost } from './at-most.ts';
import type { CheckReceipt } from './check-receipt.ts';
import { createBooks } from './books.ts';
import { createGate, type Gate } from './gate.ts';
import { createChoosing } from './choosing.ts';
import { inTurn } from './in-turn.ts';
import type { Journal } from './journal/journal.ts';
import type { JournalledAnswer } from './journal/runs.ts';
import { stoppingError, takenOverError } from './refusals.ts';
import { outcomeOf, retell, summaryOf, takeUp } from './take-up.ts';
import {
  applyEvent,
  createAnswerState,
  type AnswerState,
  type Attempt,
  type Effect,
  type MachineEvent,
} from './machine.ts';

export type { AnswerOutcome, AnswerSink, AnswerRequest, AnswerHandle, AnswerMeter, Answers };

export interface AnswersDeps {
  readonly clock: Clock;
  readonly random: Random;
  /** Id of this one. */
  readonly replica: string;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'order' | 'resume' | 'kept' | 'disown' | 'revokeLease'>;
  readonly journal: Journal;
  readonly meter: AnswerMeter;
  /** What lies where is told what is asked for, and says whether something is worth waiting for. */
  readonly placement?: Pick<Placement, 'asked' | 'isComing'>;
  /** How far devices are trusted. */
  readonly trust: Pick<Trust, 'refresh' | 'isFresh' | 'demandOf'>;
  /** Checks a receipt against what the hub saw; a wrong one is logged and not kept. */
  readonly checkReceipt: CheckReceipt;
  readonly log: Log;
}

interface Answer {
  readonly state: AnswerState;
  readonly request: AnswerRequest;
  readonly sink: AnswerSink;
  /** The same, of an answer that another replica may take over. */
  readonly gate: Gate | undefined;
  readonly features: Demand['features'];
  readonly names: Map<string, string>;
  /** Index of the first token of the current attempt. */
  attemptFrom: number;
  attemptAtMs: number;
  readonly marks: Marks;
  /** How long devices had it, over all attempts that are over. */
  deviceMs: number;
  /** Counts its owners, this one included. */
  readonly ownerEpoch: number;
  silenced: boolean;
}

/** Ends of attempts that say nothing against their device. */
const BLAMELESS: ReadonlySet<ErrorCode> = new Set(['lease_unknown', 'forbidden']);

const maySee = (trust: AnswersDeps['trust'], device: ConnectedDevice, { text, permit }: AnswerRequest): boolean =>
  barOf(device, trust.demandOf(text, permit)) === undefined;

export function createAnswers(deps: AnswersDeps): Answers {
  const { clock, random, sessions, journal, meter, trust, log } = deps;
  const books = createBooks(deps);
  const affinity = createAffinity(clock, random);
  const choosing = createChoosing({ clock, sessions, affinity, placement: deps.placement, trust });
  const open = new Map<string, Answer>();
  const byLease = new Map<string, Answer>();
  /** Answers of runs that are finished and not yet in the books; another owner may have them by then. */
  const settling = new Map<string, 'own' | 'lost'>();
  let queue: Answer[] = [];
  let sweeper: Timer | undefined;
  let stopping = false;
  let isLooking = false;

  function apply(answer: Answer, event: MachineEvent): void {
    const attempt = answer.state.attempt;
    const effects = applyEvent(answer.state, event, clock.monotonic());
    for (const effect of effects) perform(answer, effect, attempt);
  }

  function releaseLease(attempt: Attempt): ConnectedDevice | undefined {
    const answer = byLease.get(attempt.lease);
    if (answer !== undefined) answer.deviceMs += clock.monotonic() - answer.attemptAtMs;
    byLease.delete(attempt.lease);
    const device = sessions.get(attempt.device);
    device?.leases.delete(attempt.lease);
    return device;
  }

  function perform(answer: Answer, effect: Effect, attempt: Attempt | undefined): void {
    const { state, sink } = answer;
    switch (effect.t) {
      case 'token':
        if (effect.i === 0) meter.firstToken(clock.monotonic() - state.createdAtMs);
        journal.token(state.request, { id: effect.id, s: effect.s, calls: effect.calls, lp: effect.lp });
        if (!answer.silenced) sink.token(effect.i, effect.id, effect.s, effect.calls, effect.lp);
        return bound(answer);
      case 'started': {
        const { promptTokens, cachedTokens } = state;
        if (promptTokens !== undefined) journal.fact(state.request, { t: 'started', promptTokens, cachedTokens });
        if (!answer.silenced) sink.started(effect.promptTokens);
        answer.request.spend?.began(effect.promptTokens);
        return;
      }
      case 'resume': {
        const device = sessions.get(effect.attempt.device);
        const { lease, epoch } = effect.attempt;
        const { ownerEpoch } = answer;
        if (device !== undefined) sessions.resume(device, { lease, epoch, ownerEpoch, from: effect.from });
        return;
      }
      case 'revoke': {
        const device = releaseLease(effect.attempt);
        if (device !== undefined) sessions.revokeLease(device, effect.attempt.lease, effect.attempt.epoch);
        return;
      }
      case 'requeue': {
        const device = attempt === undefined ? undefined : releaseLease(attempt);
        if (effect.code === 'stalled' && device !== undefined)
          device.mistrustedUntilMs = clock.monotonic() + HUB_LIMITS.mistrustMs;
        else if (device !== undefined && !BLAMELESS.has(effect.code)) device.contradicted = true;
        if (effect.code === 'consent_refused') device?.refusals.add(sortOf(answer.request.text));
        const { request, tokens, lastFailure: why } = state;
        log.info({ request, device: attempt?.device, tokens: tokens.length, why }, 'attempt failed');
        queue.unshift(answer);
        return pump();
      }
      case 'finished':
        return finish(answer, attempt as Attempt, effect);
      case 'failed':
        return fail(answer, effect.code, effect.message);
    }
  }

  /** Prompts may have more tokens than thought. At its own maximum its device ends it, and signs for that. */
  function bound(answer: Answer): void {
    const { promptTokens, tokens, work } = answer.state;
    const most = promptTokens === undefined ? undefined : answer.request.spend?.tokensAfter(promptTokens);
    const isWhole = tokens.length === work.tokensMax;
    if (most !== undefined && tokens.length >= most && !isWhole) apply(answer, { t: 'cut' });
  }

  function finish(answer: Answer, attempt: Attempt, effect: Extract<Effect, { t: 'finished' }>): void {
    const { state, sink } = answer;
    const device = releaseLease(attempt);
    open.delete(state.request);
    const outcome: AnswerOutcome = {
      ...summaryOf(state, answer.names),
      numericClass: attempt.numericClass,
      finish: effect.finish,
      s: effect.s,
      calls: effect.calls,
      promptTokens: state.promptTokens ?? 0,
      cachedTokens: state.cachedTokens,
      answerTokens: state.tokens.length,
      receipt: effect.receipt,
    };
    journal.fact(state.request, { t: 'finished', finish: effect.finish, s: effect.s, calls: effect.calls });
    const settled = books.done(answer, attempt, device, effect.receipt);
    const tell = (): void => {
      const isLost = settling.get(state.request) === 'lost';
      settling.delete(state.request);
      if (answer.silenced) return;
      if (isLost) sink.failed(takenOverError());
      else sink.finished(outcome);
    };
    // A run ends after its answers: what its caller hears as done is done in the books, on every replica.
    if (answer.request.run === undefined) tell();
    else {
      settling.set(state.request, 'own');
      void atMost(settled, HUB_LIMITS.settleMsMax, clock).then(tell);
    }
    pump();
  }

  function fail(answer: Answer, code: ErrorCode, message: string): void {
    const { state, sink } = answer;
    open.delete(state.request);
    queue = queue.filter((queued) => queued !== answer);
    books.ended(answer, code);
    log.info({ request: state.request, code, tokens: state.tokens.length }, 'answer ended early');
    const details = code === 'too_busy' ? { retryAfterSeconds: 5 } : {};
    if (!answer.silenced) sink.failed(new IdlewildError(code, message, { details }));
    pump();
  }

  function dispatch(answer: Answer, device: ConnectedDevice, candidate: Candidate): void {
    const { state } = answer;
    const lease = newId('att', random);
    const epoch = state.epoch + 1;
    const msPerToken = (1000 * (candidate.active + 1)) / (candidate.tokensPerSecond ?? 1);
    const attempt: Attempt = {
      lease,
      epoch,
      device: device.id,
      numericClass: candidate.numericClass ?? '',
      mayRepeat: device.home !== deps.replica && device.features.includes('resume'),
      started: false,
      progressAtMs: clock.monotonic(),
      stallMs: Math.max(HUB_LIMITS.stallMsMin, HUB_LIMITS.stallTokensMax * msPerToken),
    };
    answer.names.set(device.id, device.name);
    answer.attemptFrom = state.tokens.length;
    answer.gate?.hold(journal.written(state.request));
    journal.fact(state.request, {
      t: 'attempt',
      lease,
      epoch,
      device: device.id,
      name: device.name,
      numericClass: attempt.numericClass,
      from: answer.attemptFrom,
    });
    answer.attemptAtMs = clock.monotonic();
    byLease.set(lease, answer);
    affinity.remember(answer.marks, device.id);
    apply(answer, { t: 'dispatched', attempt });
    const { dataClass, cause } = answer.request.text;
    sessions.order(device, {
      isResumable: answer.request.run !== undefined,
      ownerEpoch: answer.ownerEpoch,
      lease,
      epoch,
      model: state.model,
      dataClass,
      cause,
      work: { ...state.work, tokens: state.tokens },
      deadlineMs: Math.max(1, Math.ceil(state.deadlineAtMs - clock.monotonic())),
    });
  }

  /** Nothing is sent by what may be old: a replica may have stood still. */
  function lookAgain(): void {
    if (isLooking) return;
    isLooking = true;
    Promise.resolve(trust.refresh())
      .finally(() => {
        isLooking = false;
      })
      // However long it took, it is as new as can be.
      .then(pumpNow, onUnread);
  }
  const onUnread = (error: unknown): void =>
    log.error({ why: messageOf(error) }, 'how far devices are trusted could not be read');

  function pump(): void {
    if (queue.length === 0) return;
    if (trust.isFresh()) pumpNow();
    else lookAgain();
  }

  function pumpNow(): void {
    const waiting = queue;
    queue = [];
    /** Models, eyes and features for which nobody is free: the rest of their queue is not looked at. */
    const full = new Set<string>();
    const left: Answer[] = [];
    for (const answer of inTurn(waiting, open.values())) {
      if (answer.state.phase !== 'queued') continue;
      const { territory, text } = answer.request;
      const demand = choosing.demandOf(answer.state, answer.features, answer.request, answer.state.tokens.length);
      const eyes = `${sortOf(text)} ${demand.text.person ?? ''} ${demand.text.reach.key}`;
      const kind = `${territory} ${answer.state.model} ${eyes} ${demand.features.join(' ')}`;
      const candidates = full.has(kind)
        ? []
        : choosing.candidatesFor(territory, answer.state.model, demand, answer.marks);
      const choice = route(candidates, demand);
      const device = choice.t === 'device' ? sessions.get(choice.device) : undefined;
      if (choice.t === 'device' && device !== undefined) {
        dispatch(answer, device, candidates.find((candidate) => candidate.device === device.id) as Candidate);
        continue;
      }
      if (answer.state.excluded.size === 0) full.add(kind);
      left.push(answer);
    }
    queue = [...left, ...queue];
  }

  /** From devices that may see theirs no longer. What was a right for some devices may be one for fewer now. */
  function takeBack(isOf: (request: AnswerRequest) => boolean): void {
    for (const answer of [...byLease.values()]) {
      const { request, state } = answer;
      const device = isOf(request) ? sessions.get(state.attempt?.device ?? '') : undefined;
      if (device === undefined || maySee(trust, device, request)) continue;
      const why = `the device ${device.name} may no longer see ${request.text.dataClass} data`;
      apply(answer, { t: 'lost', device: device.id, code: 'forbidden', why });
    }
  }

  const cancelRefused = (answer: Answer, { code, message: why }: IdlewildError): void =>
    apply(answer, { t: 'cancel', code, why });

  function sweep(): void {
    sweeper = undefined;
    for (const answer of [...open.values()]) apply(answer, { t: 'tick' });
    pump();
    endRefused(
      open.values(),
      ({ request }) => request.permit,
      cancelRefused,
      (error) => log.error({ why: messageOf(error) }, 'whether open answers may go on could not be asked'),
    );
    takeBack(({ permit }) => permit.reach() !== EVERYWHERE);
    Promise.resolve(trust.refresh()).catch(onUnread);
    if (open.size > 0) sweeper = clock.after(HUB_LIMITS.sweepMs, sweep);
  }

  function createAnswer(request: AnswerRequest, sink: AnswerSink, state: AnswerState): Answer {
    const gate = request.run === undefined ? undefined : createGate(sink);
    return {
      state,
      request,
      sink: gate ?? sink,
      gate,
      features: featuresOf(request.work),
      marks: affinity.marksOf(state.model, request.work),
      names: new Map(),
      attemptFrom: 0,
      attemptAtMs: clock.monotonic(),
      deviceMs: 0,
      ownerEpoch: 1,
      silenced: false,
    };
  }
  const handleOf = (answer: Answer): AnswerHandle => ({
    request: answer.state.request,
    cancel(why) {
      answer.silenced = true;
      apply(answer, { t: 'cancel', code: 'cancelled', why });
    },
  });
  const deadlineOf = (request: AnswerRequest): number =>
    Math.min(request.deadlineMs ?? HUB_LIMITS.answerMsMax, HUB_LIMITS.answerMsMax);

  async function begin(request: AnswerRequest, sink: AnswerSink): Promise<AnswerHandle> {
    const { territory, key, model, work, text, run, queueMs = HUB_LIMITS.queueMsMax } = request;
    deps.placement?.asked(model.cid);
    choosing.admit(request, featuresOf(work), open);
    const state = createAnswerState({
      request: newId('req', random),
      model: model.cid,
      work,
      nowMs: clock.monotonic(),
      deadlineMs: deadlineOf(request),
      queueMs,
    });
    const answer = createAnswer(request, sink, state);
    open.set(state.request, answer);
    try {
      const hold = request.spend?.hold;
      await journal.open({ request: state.request, territory, key, model: state.model, work, text, run, hold });
    } catch (error) {
      open.delete(state.request);
      throw error;
    }
    sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
    if (state.phase === 'queued') {
      queue.push(answer);
      pump();
    }
    return handleOf(answer);
  }

  /** Goes on with what another owner began: on its device when that still has it, else on any. */
  function goOn(asked: AnswerRequest, sink: AnswerSink, found: JournalledAnswer): AnswerHandle {
    // Its key may be for more delicate texts by now; for less delicate ones it is no reason.
    const dataClass = moreDelicate(asked.text.dataClass, found.text.dataClass);
    const request = { ...asked, text: { ...asked.text, ...found.text, dataClass } };
    const times = { nowMs: clock.monotonic(), deadlineMs: deadlineOf(request), stallMs: HUB_LIMITS.stallMsMin };
    const taken = takeUp(found, request, times);
    retell(found, sink);
    if (found.isDone) {
      sink.finished(outcomeOf(found, taken));
      return { request: found.request, cancel: () => {} };
    }
    const { state, last, names } = taken;
    const answer = { ...createAnswer(request, sink, state), names, ownerEpoch: found.ownerEpoch };
    open.set(state.request, answer);
    sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
    const device = last === undefined ? undefined : sessions.get(last.attempt.device);
    const isSeer = device !== undefined && maySee(trust, device, request);
    if (last === undefined || !isSeer || !device.features.includes('resume')) {
      if (last !== undefined && device !== undefined && !isSeer)
        sessions.revokeLease(device, last.attempt.lease, last.attempt.epoch);
      queue.push(answer);
      pump();
      return handleOf(answer);
    }
    const { attempt, from } = last;
    answer.attemptFrom = from;
    byLease.set(attempt.lease, answer);
    device.leases.add(attempt.lease);
    apply(answer, { t: 'dispatched', attempt });
    const { lease, epoch } = attempt;
    sessions.resume(device, { lease, epoch, ownerEpoch: answer.ownerEpoch, from: state.tokens.length });
    return handleOf(answer);
  }

  /** Another owner has it, or will: nothing of it is ended here, and its device goes on. */
  function leave(answer: Answer, error: IdlewildError): void {
    const { attempt, request } = answer.state;
    answer.state.phase = 'over';
    open.delete(request);
    queue = queue.filter((queued) => queued !== answer);
    if (attempt !== undefined) {
      byLease.delete(attempt.lease);
      const device = sessions.get(attempt.device);
      if (device !== undefined) sessions.disown(device, attempt.lease, attempt.epoch);
    }
    if (!answer.silenced) answer.sink.failed(error);
  }
  journal.onTakenOver((request) => {
    const answer = open.get(request);
    if (answer !== undefined) leave(answer, takenOverError());
    if (settling.has(request)) settling.set(request, 'lost');
  });

  return {
    async submit(request, sink) {
      if (stopping) throw stoppingError();
      const { run } = request;
      await trust.refresh();
      const found = run?.isResumed === true ? await journal.adopt(request.territory, run) : undefined;
      return found === undefined ? begin(request, sink) : goOn(request, sink, found);
    },
    onFrame(device, event) {
      const answer = byLease.get(event.lease);
      if (answer !== undefined) apply(answer, { t: 'frame', device: device.id, frame: event });
    },
    onGone(device, code, why) {
      for (const lease of [...device.leases]) {
        const answer = byLease.get(lease);
        if (answer !== undefined) apply(answer, { t: 'lost', device: device.id, code, why });
      }
    },
    pump,
    retrust() {
      takeBack(() => true);
      pump();
    },
    counts: () => ({ open: open.size, queued: queue.length }),
    queuedByModel() {
      const counts = new Map<string, number>();
      for (const { state } of queue) counts.set(state.model, (counts.get(state.model) ?? 0) + 1);
      return counts;
    },
    async drain(boundMs) {
      const endsAtMs = clock.monotonic() + boundMs;
      while (open.size > 0 && clock.monotonic() < endsAtMs) {
        // Who has a connection here may still ask on it, as long as there is time to answer.
        stopping ||= clock.monotonic() > endsAtMs - boundMs / 2;
        const pause = Promise.withResolvers<void>();
        clock.after(HUB_LIMITS.sweepMs, pause.resolve);
        await pause.promise;
      }
      stopping = true;
    },
    async stop() {
      stopping = true;
      sweeper?.cancel();
      const left = [...open.values()];
      for (const answer of left) {
        if (answer.request.run !== undefined) leave(answer, takenOverError('this replica is stopping'));
        else apply(answer, { t: 'cancel', code: 'hub_stopping', why: 'the hub is stopping' });
      }
      await journal.flush();
      await Promise.all(left.map(({ state }) => journal.letGo(state.request)));
    },
  };
}
