/**
 * Answers from acceptance to end: the shell around `machine.ts` that holds what is open and acts on its effects.
 *
 * submit → journalled → `queue.ts` → a device (`attempts.ts`) → its frames, through the machine, to the caller's sink →
 * `endings.ts`. A lost, paused or silent device sends its answers back to the head of the queue; what may go on no
 * longer is ended (`rights.ts`). It knows no HTTP, no sockets.
 */
import { messageOf, newId, type Clock, type IdlewildError, type Random, type Timer } from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';
import type { Log } from '../log.ts';
import type { Placement } from '../placement/placement.ts';
import { createAffinity } from '../scheduler/affinity.ts';
import { featuresOf } from '../scheduler/route.ts';
import type { Sessions } from '../session/port.ts';
import { moreDelicate } from '../trust/text.ts';
import type { Trust } from '../trust/trust.ts';
import { createAttempts } from './attempts.ts';
import type { CheckReceipt } from './check-receipt.ts';
import { createChoosing } from './choosing.ts';
import { drain } from './draining.ts';
import { createEndings } from './endings.ts';
import type { Journal } from './journal/journal.ts';
import type { JournalledAnswer } from './journal/runs.ts';
import { applyEvent, createAnswerState, type Attempt, type Effect, type MachineEvent } from './machine.ts';
import { createOpenAnswer, type OpenAnswer } from './open-answer.ts';
import type { AnswerHandle, AnswerMeter, AnswerRequest, Answers, AnswerSink } from './port.ts';
import { createQueue } from './queue.ts';
import { stoppingError, takenOverError } from './refusals.ts';
import { createRights } from './rights.ts';
import { outcomeOf, retell, takeUp } from './take-up.ts';

export interface AnswersDeps {
  readonly clock: Clock;
  readonly random: Random;
  /** Id of this one. */
  readonly replica: string;
  readonly sessions: Pick<Sessions, 'list' | 'get' | 'order' | 'resume' | 'kept' | 'disown' | 'revokeLease'>;
  readonly journal: Journal;
  readonly meter: AnswerMeter;
  /** What lies where is told what is asked for, and says whether something is worth waiting for. */
  readonly placement?: Pick<Placement, 'asked' | 'outlook'>;
  /** How far devices are trusted. */
  readonly trust: Pick<Trust, 'refresh' | 'isFresh' | 'demandOf'>;
  /** Checks a receipt against what the hub saw; a wrong one is logged and not kept. */
  readonly checkReceipt: CheckReceipt;
  readonly log: Log;
}

export function createAnswers(deps: AnswersDeps): Answers {
  const { clock, random, sessions, journal, meter, trust, log } = deps;
  const open = new Map<string, OpenAnswer>();
  const onUnread = (error: unknown): void =>
    log.error({ why: messageOf(error) }, 'how far devices are trusted could not be read');
  const affinity = createAffinity(clock, random);
  const choosing = createChoosing({ clock, sessions, affinity, placement: deps.placement, trust });
  const attempts = createAttempts({
    ...deps,
    affinity,
    dispatched: (answer, attempt) => apply(answer, { t: 'dispatched', attempt }),
  });
  const queue = createQueue({ sessions, trust, choosing, open, giveTo: attempts.begin, onUnread });
  const endings = createEndings({ ...deps, attempts });
  const rights = createRights({ sessions, trust, attempts, open, apply, log });
  let sweeper: Timer | undefined;
  let stopping = false;

  function apply(answer: OpenAnswer, event: MachineEvent): void {
    const attempt = answer.state.attempt;
    const effects = applyEvent(answer.state, event, clock.monotonic());
    for (const effect of effects) perform(answer, effect, attempt);
  }

  /** `attempt`: as it was before the event. */
  function perform(answer: OpenAnswer, effect: Effect, attempt: Attempt | undefined): void {
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
      case 'resume':
        return attempts.repeat(answer, effect.attempt, effect.from);
      case 'revoke':
        return attempts.revoke(effect.attempt);
      case 'requeue': {
        if (attempt !== undefined) attempts.fail(answer, attempt, effect.code);
        const { request, tokens, lastFailure: why } = state;
        log.info({ request, device: attempt?.device, tokens: tokens.length, why }, 'attempt failed');
        queue.putBack(answer);
        return queue.pump();
      }
      case 'finished':
        open.delete(state.request);
        endings.finish(answer, attempt as Attempt, effect);
        return queue.pump();
      case 'failed':
        open.delete(state.request);
        queue.drop(answer);
        endings.fail(answer, effect.code, effect.message);
        return queue.pump();
    }
  }

  /** Prompts may have more tokens than thought. At its own maximum its device ends it, and signs for that. */
  function bound(answer: OpenAnswer): void {
    const { promptTokens, tokens, work } = answer.state;
    const most = promptTokens === undefined ? undefined : answer.request.spend?.tokensAfter(promptTokens);
    const isWhole = tokens.length === work.tokensMax;
    if (most !== undefined && tokens.length >= most && !isWhole) apply(answer, { t: 'cut' });
  }

  function watch(): void {
    sweeper ??= clock.after(HUB_LIMITS.sweepMs, sweep);
  }
  function sweep(): void {
    sweeper = undefined;
    for (const answer of [...open.values()]) apply(answer, choosing.tickOf(answer));
    queue.pump();
    rights.check();
    Promise.resolve(trust.refresh()).catch(onUnread);
    if (open.size > 0) watch();
  }

  function wait(answer: OpenAnswer): void {
    queue.add(answer);
    queue.pump();
  }
  const handleOf = (answer: OpenAnswer): AnswerHandle => ({
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
    choosing.admit(request, featuresOf(work), open);
    const nowMs = clock.monotonic();
    const state = createAnswerState({
      request: newId('req', random),
      model: model.cid,
      work,
      nowMs,
      deadlineMs: deadlineOf(request),
      queueMs,
    });
    const answer = createOpenAnswer(request, sink, state, { affinity, nowMs });
    open.set(state.request, answer);
    try {
      const hold = request.spend?.hold;
      await journal.open({ request: state.request, territory, key, model: state.model, work, text, run, hold });
    } catch (error) {
      open.delete(state.request);
      throw error;
    }
    watch();
    if (state.phase === 'queued') wait(answer);
    return handleOf(answer);
  }

  /** Goes on with what another owner began: on its device when that still has it, else on any. */
  function goOn(asked: AnswerRequest, sink: AnswerSink, found: JournalledAnswer): AnswerHandle {
    // Its key may be for more delicate texts by now; for less delicate ones it is no reason.
    const dataClass = moreDelicate(asked.text.dataClass, found.text.dataClass);
    const request = { ...asked, text: { ...asked.text, ...found.text, dataClass } };
    const nowMs = clock.monotonic();
    const taken = takeUp(found, request, { nowMs, deadlineMs: deadlineOf(request), stallMs: HUB_LIMITS.stallMsMin });
    retell(found, sink);
    if (found.isDone) {
      sink.finished(outcomeOf(found, taken));
      return { request: found.request, cancel: () => {} };
    }
    const { state, last, names } = taken;
    const { ownerEpoch } = found;
    const answer = createOpenAnswer(request, sink, state, { affinity, nowMs }, { names, ownerEpoch });
    open.set(state.request, answer);
    watch();
    const device = last === undefined ? undefined : sessions.get(last.attempt.device);
    if (last === undefined || device === undefined) wait(answer);
    else if (!rights.maySee(device, request)) {
      sessions.revokeLease(device, last.attempt.lease, last.attempt.epoch);
      wait(answer);
    } else if (device.features.includes('resume')) attempts.goOn(answer, device, last);
    else wait(answer);
    return handleOf(answer);
  }

  /** Another owner has it, or will: nothing of it is ended here, and its device goes on. */
  function leave(answer: OpenAnswer, error: IdlewildError): void {
    const { attempt, request } = answer.state;
    answer.state.phase = 'over';
    open.delete(request);
    queue.drop(answer);
    if (attempt !== undefined) attempts.disown(attempt);
    if (!answer.silenced) answer.sink.failed(error);
  }
  journal.onTakenOver((request) => {
    const answer = open.get(request);
    if (answer !== undefined) leave(answer, takenOverError());
    endings.takenOver(request);
  });

  const close = (): void => {
    stopping = true;
  };

  return {
    async submit(request, sink) {
      if (stopping) throw stoppingError();
      const { run } = request;
      await trust.refresh();
      const found = run?.isResumed === true ? await journal.adopt(request.territory, run) : undefined;
      return found === undefined ? begin(request, sink) : goOn(request, sink, found);
    },
    onFrame(device, event) {
      const answer = attempts.of(event.lease);
      if (answer !== undefined) apply(answer, { t: 'frame', device: device.id, frame: event });
    },
    onGone(device, code, why) {
      for (const lease of [...device.leases]) {
        const answer = attempts.of(lease);
        if (answer !== undefined) apply(answer, { t: 'lost', device: device.id, code, why });
      }
    },
    pump: queue.pump,
    retrust() {
      rights.takeBack();
      queue.pump();
    },
    counts: () => ({ open: open.size, queued: queue.size() }),
    queuedByModel: queue.byModel,
    drain: (boundMs) => drain({ isOpen: () => open.size > 0, close }, boundMs, clock),
    async stop() {
      close();
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
