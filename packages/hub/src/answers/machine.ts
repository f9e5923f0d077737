/**
 * One answer, as a state machine without a platform: events in, effects out, nothing else touched.
 *
 *   queued ──dispatched──► running ──finished──► over
 *     ▲                       │
 *     └──── lost, stalled, ───┘   the attempt's lease dies with it; the next attempt has the next epoch and
 *           failed retryably      starts from every token that was emitted
 *
 * Any phase goes to `over` by cancel, deadline, or a failure that another device would only repeat.
 * Invariants: a token is emitted once, by index, and never changes; a frame that does not carry the current lease and
 * epoch changes nothing; `over` is final. It knows neither devices' speeds nor HTTP.
 */
import {
  ERRORS,
  isErrorCode,
  type AnswerEvent,
  type AnswerWork,
  type CallPart,
  type ErrorCode,
  type FinishReason,
  type Logprobs,
} from '@idlewild/protocol';
import { HUB_LIMITS } from '../limits.ts';

export interface Attempt {
  readonly lease: string;
  readonly epoch: number;
  readonly device: string;
  readonly numericClass: string;
  /** Time without any sign of life that makes it a stall. */
  readonly stallMs: number;
  /**
   * Its events come over the bus, or another replica began it: some may be lost, and the device can be asked to tell
   * them again.
   */
  readonly mayRepeat: boolean;
  started: boolean;
  progressAtMs: number;
  /** When it was asked to tell again what was lost; not twice before there was progress or time. */
  askedAtMs?: number | undefined;
}

export interface AnswerState {
  readonly request: string;
  readonly model: string;
  readonly work: Omit<AnswerWork, 'tokens'>;
  readonly createdAtMs: number;
  readonly deadlineAtMs: number;
  /** How long it may wait for its first device. */
  readonly queueMs: number;
  /** How long it waits for a device once it had one. */
  readonly lostMs: number;
  /** Ids of all emitted tokens. */
  readonly tokens: number[];
  /** Tokens that its caller had when this owner took it over: more than there are is for their class alone to say. */
  readonly heard: number;
  phase: 'queued' | 'running' | 'over';
  queuedAtMs: number;
  attempt: Attempt | undefined;
  epoch: number;
  promptTokens: number | undefined;
  /** Of these, how many the first device to start had kept. */
  cachedTokens: number;
  /** Ids of devices that contributed or tried, in order, without repeats in a row. */
  readonly devices: string[];
  failovers: number;
  engineFailures: number;
  /** Attempts that never began because a slot was gone: they say nothing about the answer. */
  refusals: number;
  /** The class that the emitted tokens belong to. */
  numericClass: string | undefined;
  exact: boolean;
  /** Devices that will refuse this answer again. */
  readonly excluded: Set<string>;
  lastFailure: string | undefined;
}

export type MachineEvent =
  | { readonly t: 'dispatched'; readonly attempt: Attempt }
  | { readonly t: 'frame'; readonly device: string; readonly frame: AnswerEvent }
  | { readonly t: 'lost'; readonly device: string; readonly code: ErrorCode; readonly why: string }
  | { readonly t: 'tick' }
  | { readonly t: 'cancel'; readonly code: ErrorCode; readonly why: string }
  /** It has all the tokens that it may have: it ends here, as if its caller had asked for no more. */
  | { readonly t: 'cut' };

export type Effect =
  | { readonly t: 'started'; readonly promptTokens: number }
  | {
      readonly t: 'token';
      readonly i: number;
      readonly id: number;
      readonly s: string;
      readonly calls: readonly CallPart[] | undefined;
      readonly lp: Logprobs | undefined;
    }
  | {
      readonly t: 'finished';
      readonly finish: FinishReason;
      readonly s: string;
      readonly calls: readonly CallPart[] | undefined;
      /** Absent: it was cut, and its device has not signed anything. */
      readonly receipt: Uint8Array | undefined;
    }
  | { readonly t: 'failed'; readonly code: ErrorCode; readonly message: string }
  /** Tell the device that its attempt is over. */
  | { readonly t: 'revoke'; readonly attempt: Attempt }
  /** Ask the device for its events again, tokens from this index on. */
  | { readonly t: 'resume'; readonly attempt: Attempt; readonly from: number }
  | { readonly t: 'requeue'; readonly code: ErrorCode };

export function createAnswerState(
  input: Pick<AnswerState, 'request' | 'model' | 'work'> & {
    nowMs: number;
    deadlineMs: number;
    queueMs?: number;
    lostMs?: number;
    tokens?: readonly number[];
    heard?: number;
  },
): AnswerState {
  return {
    request: input.request,
    model: input.model,
    work: input.work,
    createdAtMs: input.nowMs,
    deadlineAtMs: input.nowMs + input.deadlineMs,
    queueMs: input.queueMs ?? HUB_LIMITS.queueMsMax,
    lostMs: input.lostMs ?? HUB_LIMITS.failoverWaitMsMax,
    tokens: [...(input.tokens ?? [])],
    heard: input.heard ?? 0,
    phase: 'queued',
    queuedAtMs: input.nowMs,
    attempt: undefined,
    epoch: 0,
    promptTokens: undefined,
    cachedTokens: 0,
    devices: [],
    failovers: 0,
    engineFailures: 0,
    refusals: 0,
    numericClass: undefined,
    exact: true,
    excluded: new Set(),
    lastFailure: undefined,
  };
}

/** Applies one event. Frames of another lease or epoch, and anything after the end, give no effect. */
export function applyEvent(state: AnswerState, event: MachineEvent, nowMs: number): readonly Effect[] {
  if (state.phase === 'over') return [];
  switch (event.t) {
    case 'dispatched':
      return dispatch(state, event.attempt);
    case 'frame':
      return onFrame(state, event.device, event.frame, nowMs);
    case 'lost':
      return state.attempt?.device === event.device ? failAttempt(state, event.code, event.why, nowMs, false) : [];
    case 'tick':
      return onTick(state, nowMs);
    case 'cancel':
      return end(state, event.code, event.why);
    case 'cut':
      return cut(state);
  }
}

function cut(state: AnswerState): readonly Effect[] {
  const { attempt } = state;
  if (attempt === undefined) return [];
  state.phase = 'over';
  state.attempt = undefined;
  const finished = { t: 'finished', finish: 'length', s: '', calls: undefined, receipt: undefined } as const;
  return [{ t: 'revoke', attempt }, finished];
}

function dispatch(state: AnswerState, attempt: Attempt): readonly Effect[] {
  state.phase = 'running';
  state.attempt = attempt;
  state.epoch = attempt.epoch;
  if (state.devices.at(-1) !== attempt.device) state.devices.push(attempt.device);
  return [];
}

function onFrame(state: AnswerState, device: string, frame: AnswerEvent, nowMs: number): readonly Effect[] {
  const attempt = state.attempt;
  if (
    attempt === undefined ||
    attempt.device !== device ||
    attempt.lease !== frame.lease ||
    attempt.epoch !== frame.epoch
  )
    return [];
  attempt.progressAtMs = nowMs;
  switch (frame.t) {
    case 'answer.progress':
      return [];
    case 'answer.started':
      return onStarted(state, attempt, frame.promptTokens, frame.cachedTokens ?? 0);
    case 'answer.token': {
      const { i } = frame;
      if (attempt.mayRepeat && i < state.tokens.length && state.tokens[i] === frame.id) return [];
      if (attempt.mayRepeat && i > state.tokens.length) return askAgain(state, attempt, nowMs);
      if (!attempt.started || frame.i !== state.tokens.length) {
        return failAttempt(
          state,
          'frame_invalid',
          `it sent token ${frame.i} where token ${state.tokens.length} was due`,
          nowMs,
          true,
        );
      }
      if (state.numericClass === undefined) state.numericClass = attempt.numericClass;
      else if (state.numericClass !== attempt.numericClass) state.exact = false;
      state.tokens.push(frame.id);
      return [{ t: 'token', i: frame.i, id: frame.id, s: frame.s, calls: frame.calls, lp: frame.lp }];
    }
    case 'answer.finished': {
      if (attempt.mayRepeat && frame.answerTokens > state.tokens.length) return askAgain(state, attempt, nowMs);
      if (!attempt.started || frame.answerTokens !== state.tokens.length) {
        return failAttempt(
          state,
          'frame_invalid',
          `it finished after ${frame.answerTokens} tokens, having sent ${state.tokens.length}`,
          nowMs,
          true,
        );
      }
      // Where an answer ends is a choice of the class as well, even when it adds no token.
      if (state.numericClass !== undefined && state.numericClass !== attempt.numericClass) state.exact = false;
      state.phase = 'over';
      state.attempt = undefined;
      return [{ t: 'finished', finish: frame.finish, s: frame.s, calls: frame.calls, receipt: frame.receipt }];
    }
    case 'answer.failed': {
      const code = isErrorCode(frame.code) ? frame.code : 'engine_failed';
      return failAttempt(state, code, frame.message, nowMs, true);
    }
  }
}

function askAgain(state: AnswerState, attempt: Attempt, nowMs: number): readonly Effect[] {
  if (attempt.askedAtMs !== undefined && nowMs - attempt.askedAtMs < HUB_LIMITS.resumeAskMs) return [];
  attempt.askedAtMs = nowMs;
  return [{ t: 'resume', attempt, from: state.tokens.length }];
}

function onStarted(
  state: AnswerState,
  attempt: Attempt,
  promptTokens: number,
  cachedTokens: number,
): readonly Effect[] {
  if (attempt.started) return [];
  attempt.started = true;
  if (state.promptTokens !== undefined) return [];
  state.promptTokens = promptTokens;
  state.cachedTokens = Math.min(cachedTokens, promptTokens);
  return [{ t: 'started', promptTokens }];
}

/** Codes of a device that say something about the request, not about the device: another would say the same. */
const FINAL: ReadonlySet<ErrorCode> = new Set([
  'invalid_request',
  'unsupported_field',
  'context_length_exceeded',
  'model_unsupported',
]);
/** Codes after which this device is not asked again for this answer. */
const EXCLUDING: ReadonlySet<ErrorCode> = new Set([
  'consent_refused',
  'frame_invalid',
  'model_refused',
  'model_invalid',
]);

/** Replicas give out the same slot at the same moment, and one is too late. */
const REFUSING: ReadonlySet<ErrorCode> = new Set(['device_full', 'lease_unknown', 'bus_no_responder']);

function failAttempt(
  state: AnswerState,
  code: ErrorCode,
  why: string,
  nowMs: number,
  byFrame: boolean,
): readonly Effect[] {
  const attempt = state.attempt as Attempt;
  if (FINAL.has(code)) return state.tokens.length === 0 ? end(state, code, why) : end(state, 'attempts_exhausted', why);
  const revoke: Effect[] = byFrame && code !== 'frame_invalid' ? [] : [{ t: 'revoke', attempt }];
  state.attempt = undefined;
  state.lastFailure = why;
  if (attempt.started) state.failovers++;
  if (EXCLUDING.has(code)) state.excluded.add(attempt.device);
  if (code === 'engine_failed') state.engineFailures++;
  if (!attempt.started && REFUSING.has(code)) state.refusals++;
  if (state.epoch - state.refusals >= HUB_LIMITS.attemptsMax || state.engineFailures >= HUB_LIMITS.engineFailuresMax) {
    const message = `the answer was tried ${state.epoch} times and failed each time; the last time: ${why}`;
    // Always: it is also what takes the lease back, and nothing else will.
    return [{ t: 'revoke', attempt }, ...end(state, 'attempts_exhausted', message)];
  }
  state.phase = 'queued';
  state.queuedAtMs = nowMs;
  return [...revoke, { t: 'requeue', code }];
}

function onTick(state: AnswerState, nowMs: number): readonly Effect[] {
  if (nowMs >= state.deadlineAtMs) {
    return end(
      state,
      'deadline_exceeded',
      `the answer was not finished within ${Math.round((nowMs - state.createdAtMs) / 1000)} s`,
    );
  }
  const attempt = state.attempt;
  if (attempt !== undefined) {
    const silentMs = nowMs - attempt.progressAtMs;
    const allowedMs = attempt.started ? attempt.stallMs : Math.max(attempt.stallMs, HUB_LIMITS.startMsMax);
    if (silentMs < allowedMs) {
      const isLost = attempt.mayRepeat && silentMs >= HUB_LIMITS.resumeAskMs;
      return isLost ? askAgain(state, attempt, nowMs) : [];
    }
    return failAttempt(
      state,
      'stalled',
      `device ${attempt.device} was silent for ${Math.round(silentMs)} ms`,
      nowMs,
      false,
    );
  }
  const waitedMs = nowMs - state.queuedAtMs;
  if (state.epoch > 0 && waitedMs >= state.lostMs) {
    const why = state.lastFailure ?? 'no reason given';
    const waited = `${Math.round(waitedMs / 1000)} s`;
    return end(state, 'no_device', `the device was lost (${why}) and no other came within ${waited}`);
  }
  if (waitedMs < state.queueMs) return [];
  return end(
    state,
    'too_busy',
    `the request waited ${Math.round(waitedMs / 1000)} s for a free device; try again later`,
  );
}

function end(state: AnswerState, code: ErrorCode, message: string): readonly Effect[] {
  const attempt = state.attempt;
  state.phase = 'over';
  state.attempt = undefined;
  const failed: Effect = { t: 'failed', code, message: message === '' ? ERRORS[code].meaning : message };
  return attempt === undefined ? [failed] : [{ t: 'revoke', attempt }, failed];
}
