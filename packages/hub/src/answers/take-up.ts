/** An answer that another owner began, as the journal has it, made into one that goes on here. Pure. */
import { HUB_LIMITS } from '../limits.ts';
import { createAnswerState, type AnswerState, type Attempt } from './machine.ts';
import type { JournalledAnswer } from './journal/runs.ts';
import type { AnswerOutcome, AnswerRequest, AnswerSink, AnswerSummary } from './port.ts';

export interface TakenUp {
  readonly state: AnswerState;
  /** Names of its devices, by id. */
  readonly names: Map<string, string>;
  /** Its last attempt, which its device may still go on with, and the index of that attempt's first token. */
  readonly last: { readonly attempt: Attempt; readonly from: number } | undefined;
}

/** Tells a sink what was told before. */
export function retell({ started, tokens }: JournalledAnswer, sink: AnswerSink): void {
  if (started !== undefined) sink.started(started.promptTokens);
  for (const [i, { id, s, calls, lp }] of tokens.entries()) sink.token(i, id, s, calls, lp);
}

/** `nowMs`, `deadlineMs`, `stallMs`: monotonic here; the time that it took elsewhere is not counted. */
export function takeUp(
  found: JournalledAnswer,
  { model, work, run }: Pick<AnswerRequest, 'model' | 'work' | 'run'>,
  { nowMs, deadlineMs, stallMs }: { readonly nowMs: number; readonly deadlineMs: number; readonly stallMs: number },
): TakenUp {
  const tokens = found.tokens.map(({ id }) => id);
  const heard = run?.heard ?? 0;
  const common = { request: found.request, model: model.cid, work, nowMs, deadlineMs };
  const waitMs = HUB_LIMITS.takeUpWaitMsMax;
  const state = createAnswerState({ ...common, tokens, heard, queueMs: waitMs, lostMs: waitMs });
  const names = new Map<string, string>();
  for (const { device, name } of found.attempts) {
    names.set(device, name);
    if (state.devices.at(-1) !== device) state.devices.push(device);
  }
  const last = found.attempts.at(-1);
  state.epoch = last?.epoch ?? 0;
  state.failovers = Math.max(found.failovers, found.attempts.length - 1, 0);
  // Its caller may have heard tokens of the last attempt that were not written down any more.
  state.numericClass = last?.numericClass;
  if (tokens.length > 0) {
    // Nobody wrote down which attempt made which token.
    state.exact = found.attempts.every(({ numericClass }) => numericClass === last?.numericClass);
  }
  if (found.started !== undefined) {
    state.promptTokens = found.started.promptTokens;
    state.cachedTokens = found.started.cachedTokens;
  }
  if (last === undefined) return { state, names, last };
  const { lease, epoch, device, numericClass, from } = last;
  const attempt: Attempt = {
    lease,
    epoch,
    device,
    numericClass,
    stallMs,
    mayRepeat: true,
    started: false,
    progressAtMs: nowMs,
  };
  return { state, names, last: { attempt, from } };
}

export const summaryOf = (
  { devices, failovers, work, exact, numericClass }: AnswerState,
  names: ReadonlyMap<string, string>,
): AnswerSummary => ({
  devices: devices.map((id) => ({ id, name: names.get(id) ?? id })),
  failovers,
  seed: work.sampling.seed,
  exact,
  numericClass: numericClass ?? '',
});

/** The outcome of one that ended before its caller had all of it. */
export function outcomeOf(found: JournalledAnswer, { names, state }: TakenUp): AnswerOutcome {
  return {
    ...summaryOf(state, names),
    failovers: found.failovers,
    exact: found.exact,
    finish: found.finished?.finish ?? 'stop',
    s: found.finished?.s ?? '',
    calls: found.finished?.calls,
    promptTokens: state.promptTokens ?? 0,
    cachedTokens: state.cachedTokens,
    answerTokens: found.tokens.length,
  };
}
