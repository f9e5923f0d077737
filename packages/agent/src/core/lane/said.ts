/**
 * What one attempt at an answer has said, kept so that it can be said again, and how far the hub has heard it.
 *
 *   tell ──► kept ──► heard at once, by a hub that is up to date
 *              └────► resume(i): the beginning, tokens from i on at the pace that the channel takes, then what is new
 *
 * - Who hears gets every event once and in order; while nobody hears, events are kept and nothing else.
 * - Kept are the newest tokens without a gap; `trim` forgets the oldest of them.
 * - An attempt of a hub that never asks again is not kept: what was heard is forgotten.
 */
import {
  type AnswerFailed,
  type AnswerFinished,
  type AnswerProgress,
  type AnswerStarted,
  type AnswerToken,
  type CallPart,
  type Clock,
  type Timer,
  type ToHub,
} from '@idlewild/protocol';
import { AGENT_LIMITS } from '../limits.ts';

export interface Said {
  /** Index of the next token, over all attempts. */
  next(): number;
  /** Whether a hub hears it. */
  isHeard(): boolean;
  /** Whether who hears has not heard all yet. */
  isBehind(): boolean;
  tell(event: AnswerStarted | AnswerToken | AnswerFinished | AnswerFailed): void;
  /** For a hub that is up to date only, and never kept. */
  mention(event: AnswerProgress): void;
  /** A hub hears it from the beginning again, with tokens from index `from` on. Returns why that cannot be. */
  resume(from: number): string | undefined;
  /** Nobody hears it any more. */
  mute(): void;
  /** Nobody will hear it again: nothing is kept. */
  clear(): void;
  /** Forgets the older half of the tokens that were heard; false when there is nothing to forget. */
  trim(): boolean;
}

export interface SaidPorts {
  readonly clock: Clock;
  send(message: ToHub): void;
  /** What waits in the channel. */
  backlogBytes(): number;
  /** Roughly what is kept of all attempts in memory. */
  readonly tally: { bytes: number };
}

interface State {
  readonly ports: SaidPorts;
  readonly keeps: boolean;
  started: AnswerStarted | undefined;
  tokens: AnswerToken[];
  /** Index of the first of `tokens`. */
  from: number;
  end: AnswerFinished | AnswerFailed | undefined;
  /** What is to be heard next; absent while nobody hears. */
  heard: { started: boolean; next: number; ended: boolean } | undefined;
  pause: Timer | undefined;
}

/** `first`: index of the attempt's first token. */
export function createSaid(ports: SaidPorts, first: number, keeps: boolean): Said {
  const state: State = {
    ports,
    keeps,
    started: undefined,
    tokens: [],
    from: first,
    end: undefined,
    heard: { started: false, next: first, ended: false },
    pause: undefined,
  };
  return {
    next: () => state.from + state.tokens.length,
    isHeard: () => state.heard !== undefined,
    isBehind: () => isBehind(state),
    tell: (event) => tell(state, event),
    mention(event) {
      if (state.heard !== undefined && !isBehind(state)) ports.send(event);
    },
    resume: (from) => resume(state, from),
    mute: () => mute(state),
    clear() {
      mute(state);
      forget(state, state.tokens.length);
    },
    trim: () => trim(state),
  };
}

function isBehind({ heard, started, from, tokens, end }: State): boolean {
  if (heard === undefined) return false;
  const { length } = tokens;
  return (started !== undefined && !heard.started) || heard.next < from + length || (end !== undefined && !heard.ended);
}

function mute(state: State): void {
  state.heard = undefined;
  state.pause?.cancel();
  state.pause = undefined;
}

function tell(state: State, event: AnswerStarted | AnswerToken | AnswerFinished | AnswerFailed): void {
  const isLive = !isBehind(state);
  if (event.t === 'answer.started') state.started = event;
  else if (event.t === 'answer.token') {
    state.tokens.push(event);
    state.ports.tally.bytes += bytesOf(event);
  } else state.end = event;
  // What is new is sent whatever waits, since a channel that takes nothing must be noticed; what is old can wait.
  if (isLive) sendNext(state);
}

/** Sends what is next to be heard; false when there is nothing, or nobody. */
function sendNext(state: State): boolean {
  const { heard, started, end, ports } = state;
  if (heard === undefined) return false;
  if (started !== undefined && !heard.started) {
    heard.started = true;
    ports.send(started);
    return true;
  }
  const token = state.tokens[heard.next - state.from];
  if (token !== undefined) {
    heard.next++;
    if (!state.keeps) forget(state, 1);
    ports.send(token);
    return true;
  }
  if (end === undefined || heard.ended) return false;
  heard.ended = true;
  ports.send(end);
  return true;
}

function resume(state: State, from: number): string | undefined {
  const next = state.from + state.tokens.length;
  if (from > next) return `it has no token ${from} yet: the next one is ${next}`;
  if (from < state.from) return `its tokens before ${state.from} are not here any more`;
  state.heard = { started: false, next: from, ended: false };
  catchUp(state);
  return undefined;
}

function catchUp(state: State): void {
  state.pause?.cancel();
  state.pause = undefined;
  const { clock, backlogBytes } = state.ports;
  // A channel can be lost by what is sent, so that nobody hears the next one.
  while (isBehind(state)) {
    if (backlogBytes() > AGENT_LIMITS.replayBacklogBytesMax) {
      state.pause = clock.after(AGENT_LIMITS.replayPauseMs, () => catchUp(state));
      return;
    }
    sendNext(state);
  }
}

function trim(state: State): boolean {
  const half = Math.ceil(state.tokens.length / 2);
  const count = state.heard === undefined ? half : Math.min(half, state.heard.next - state.from);
  if (count <= 0) return false;
  forget(state, count);
  return true;
}

function forget(state: State, count: number): void {
  for (const token of state.tokens.splice(0, count)) state.ports.tally.bytes -= bytesOf(token);
  state.from += count;
}

/** As measured in V8: an object with its fields and its text, and 300 bytes for every one that holds bytes. */
function bytesOf({ s, calls = [], lp }: AnswerToken): number {
  const ofCall = (part: CallPart): number => 96 + 2 * (part.s.length + (part.name?.length ?? 0));
  const ofLogprobs = lp === undefined ? 0 : lp.top.reduce((sum, { b }) => sum + 300 + b.length, 300 + lp.b.length);
  return 128 + 2 * s.length + calls.reduce((sum, part) => sum + ofCall(part), 0) + ofLogprobs;
}
