/**
 * The decisions of a device's session with its hub: `state, event → state, effects`, pure; `session.ts` acts on them.
 *
 *   stopped ──start──► dialling ──dialled──► greeting ──challenge──► checking ──checked──► proving ──welcome──► open
 *      ▲                  ▲ │                   │ hello is sent         │ the hub is     │ prove is sent      │
 *      │                  │ ▼                   ▼                       ▼ verified       ▼                    ▼
 *      └──final reason── waiting ◄── any failure, silence, garbage, a refusal that is not final, a lost channel ┘
 *
 * - Nothing secret is sent before the hub has proved itself: `prove` follows `checked` alone.
 * - From dialling to the welcome there is one deadline. In `open`, silence of `heartbeatLostMs` gives the channel up,
 *   and `move` closes it at its time and dials at once, perhaps at another place; a hub that does nothing but move a
 *   device is dialled as slowly as one that fails.
 * - Back-off is full jitter, doubled from `reconnectMsMin`, unless a busy hub says when to come back.
 * - Some reasons are final: trying again cannot help. While a device has not been enrolled a person is joining it and
 *   must hear why; later only a hub that has proved itself may end it, and not for an older connection of its own.
 */
import {
  LIMITS,
  IdlewildError,
  isErrorCode,
  type ErrorCode,
  type ToDevice,
  type ToHub,
  type UnknownMessage,
} from '@idlewild/protocol';
import { FROM_HUB_LIMITS } from './from-hub-limits.ts';
import { AGENT_LIMITS } from './limits.ts';

export type Welcome = Extract<ToDevice, { t: 'welcome' }>;
/** What a welcomed device may be told; the session's own messages never leave it. */
export type WorkMessage = Extract<
  ToDevice,
  {
    t:
      | 'hold'
      | 'answer'
      | 'answer.resume'
      | 'answer.kept'
      | 'embed'
      | 'sealed'
      | 'cancel'
      | 'drain'
      | 'left'
      | 'blob.want';
  }
>;
type Move = Extract<ToDevice, { t: 'move' }>;
export type SessionTimer = 'retry' | 'handshake' | 'beat' | 'silence' | 'flush' | 'move';

/** What is remembered of earlier connections. */
interface Past {
  /** In a row. */
  readonly failures: number;
  /** When the last one ended to which this device had proved itself: some replica may come to it only now. */
  readonly provedUntilMs: number | undefined;
  /** How often in a row a connection was superseded by what may have been an older one of our own. */
  readonly echoes: number;
}

interface Open {
  readonly phase: 'open';
  readonly past: Past;
  readonly openedAtMs: number;
  readonly heardAtMs: number;
  readonly heartbeatMs: number;
  /** Number of the next beat. */
  readonly beat: number;
  readonly inFlight: readonly { readonly n: number; readonly sentAtMs: number }[];
  readonly flushing: boolean;
  readonly roundTripMs: number | undefined;
}

type Running =
  { readonly phase: 'waiting' | 'dialling' | 'greeting' | 'checking' | 'proving'; readonly past: Past } | Open;

export type SessionState = { readonly phase: 'stopped' } | Running;

export type SessionEvent =
  | { readonly e: 'start' | 'dialled' | 'checked' | 'changed' | 'urgent' }
  | { readonly e: 'stop' | 'closed'; readonly reason: string }
  | { readonly e: 'timer'; readonly timer: SessionTimer }
  /** Dialling failed, the hub did not prove itself, or a frame was garbage. */
  | { readonly e: 'failed'; readonly error: IdlewildError }
  | { readonly e: 'message'; readonly message: ToDevice | UnknownMessage };

export type SessionEffect =
  | { readonly do: 'dial' | 'hello' | 'prove' | 'disarm' }
  | { readonly do: 'hangUp'; readonly reason: string }
  | { readonly do: 'check'; readonly proof: Uint8Array }
  | { readonly do: 'send'; readonly message: ToHub }
  | { readonly do: 'beat'; readonly n: number }
  | { readonly do: 'arm'; readonly timer: SessionTimer; readonly afterMs: number }
  | { readonly do: 'opened'; readonly welcome: Welcome }
  /** The one before is about to end. */
  | { readonly do: 'ticket'; readonly ticket: string }
  /** Where the next channels are to be tried, too. */
  | { readonly do: 'place'; readonly move: Move }
  | { readonly do: 'deliver'; readonly message: WorkMessage }
  /** An open session is over. */
  | { readonly do: 'lost'; readonly reason: string }
  | { readonly do: 'backOff'; readonly error: IdlewildError; readonly afterMs: number }
  /** Nothing more will be tried. Without an error the owner asked for it. */
  | { readonly do: 'ended'; readonly error: IdlewildError | undefined };

/** What the shell knows at the moment of the event. */
export interface SessionFacts {
  readonly nowMs: number;
  /** In [0, 1). */
  readonly jitter: number;
  /** Whether a hub of this territory has ever welcomed this device. */
  readonly enrolled: boolean;
  /** Whether it dials a place that it was only told of. */
  readonly trial: boolean;
}

export interface SessionStep {
  readonly state: SessionState;
  readonly effects: readonly SessionEffect[];
}

const FINAL: ReadonlySet<string> = new Set<ErrorCode>([
  'device_revoked',
  'join_token_invalid',
  'hub_untrusted',
  'version_unsupported',
  'pin_mismatch',
  'superseded',
]);

/** With these a hub may say when to come back. */
const BUSY: ReadonlySet<string> = new Set<ErrorCode>(['too_busy', 'hub_stopping']);

export const STOPPED: SessionState = { phase: 'stopped' };
const NO_PAST: Past = { failures: 0, provedUntilMs: undefined, echoes: 0 };

const stay = (state: SessionState): SessionStep => ({ state, effects: [] });

export function decideSession(state: SessionState, event: SessionEvent, facts: SessionFacts): SessionStep {
  if (event.e === 'start') return state.phase === 'stopped' ? dial(NO_PAST) : stay(state);
  if (state.phase === 'stopped') return stay(state);
  switch (event.e) {
    case 'stop':
      return end(state, event.reason, undefined);
    case 'failed':
      return fail(state, event.error, facts, isProved(state));
    case 'closed':
      return fail(state, disconnected(`the channel closed: ${event.reason}`), facts, false);
    case 'timer':
      return onTimer(state, event.timer, facts);
    case 'message':
      return onMessage(state, event.message, facts);
    case 'dialled':
      if (state.phase !== 'dialling') return stay(state);
      return { state: { phase: 'greeting', past: state.past }, effects: [{ do: 'hello' }] };
    case 'checked':
      if (state.phase !== 'checking') return stay(state);
      return { state: { phase: 'proving', past: state.past }, effects: [{ do: 'prove' }] };
    case 'changed':
      if (state.phase !== 'open' || state.flushing) return stay(state);
      return { state: { ...state, flushing: true }, effects: [{ do: 'arm', timer: 'flush', afterMs: 0 }] };
    case 'urgent':
      return state.phase === 'open' ? beat(state, facts) : stay(state);
  }
}

const disconnected = (seen: string): IdlewildError => new IdlewildError('disconnected', seen);

const isProved = (state: SessionState): boolean => state.phase === 'proving' || state.phase === 'open';

const dial = (past: Past): SessionStep => ({
  state: { phase: 'dialling', past },
  effects: [{ do: 'arm', timer: 'handshake', afterMs: LIMITS.handshakeMs }, { do: 'dial' }],
});

function end(state: SessionState, reason: string, error: IdlewildError | undefined): SessionStep {
  const lost: SessionEffect[] = state.phase === 'open' ? [{ do: 'lost', reason }] : [];
  return { state: STOPPED, effects: [{ do: 'disarm' }, { do: 'hangUp', reason }, ...lost, { do: 'ended', error }] };
}

/** `proved`: whether it was a hub that had proved itself who said so. */
function fail(state: Running, error: IdlewildError, facts: SessionFacts, proved: boolean): SessionStep {
  if (state.phase === 'waiting') return stay(state);
  const isEcho = error.code === 'superseded' && mayBeOurs(state.past, facts);
  const isBinding = proved ? !isEcho && !facts.trial : !facts.enrolled;
  if (FINAL.has(error.code) && isBinding) return end(state, error.message, error);
  const past = pastAfter(state, facts, isEcho);
  const afterMs = Math.round(delayMs(error, past.failures, facts));
  const effects: SessionEffect[] = [{ do: 'disarm' }, { do: 'hangUp', reason: error.message }];
  if (state.phase === 'open') effects.push({ do: 'lost', reason: error.message });
  effects.push({ do: 'backOff', error, afterMs }, { do: 'arm', timer: 'retry', afterMs });
  return { state: { phase: 'waiting', past: { ...past, failures: past.failures + 1 } }, effects };
}

const mayBeOurs = ({ provedUntilMs, echoes }: Past, { nowMs }: SessionFacts): boolean =>
  provedUntilMs !== undefined && nowMs - provedUntilMs < AGENT_LIMITS.ownEchoMs && echoes < AGENT_LIMITS.ownEchoesMax;

/** With this connection among what is past. */
function pastAfter(state: Running, { nowMs }: SessionFacts, isEcho: boolean): Past {
  const { past } = state;
  const livedMs = state.phase === 'open' ? nowMs - state.openedAtMs : 0;
  const echoes = livedMs >= AGENT_LIMITS.ownEchoMs ? 0 : past.echoes;
  return {
    failures: livedMs >= AGENT_LIMITS.settledSessionMs ? 0 : past.failures,
    provedUntilMs: isProved(state) ? nowMs : past.provedUntilMs,
    echoes: isEcho ? echoes + 1 : echoes,
  };
}

function delayMs({ code, details }: IdlewildError, failures: number, { jitter }: SessionFacts): number {
  if (BUSY.has(code) && typeof details.retryAfterMs === 'number') {
    const leastMs = Math.min(LIMITS.reconnectMsMin, FROM_HUB_LIMITS.busyMsMin * 2 ** Math.min(failures, 16));
    const saidMs = Math.min(Math.max(details.retryAfterMs, leastMs), AGENT_LIMITS.retryAfterMsMax);
    return saidMs * (0.75 + 0.5 * jitter);
  }
  return jitter * Math.min(LIMITS.reconnectMsMax, LIMITS.reconnectMsMin * 2 ** Math.min(failures, 16));
}

/** Closes the channel and dials at once, unless that is all that this hub has it do. */
function move(state: Open, facts: SessionFacts): SessionStep {
  const reason = 'the hub asked this device to connect anew';
  const past = pastAfter(state, facts, false);
  if (past.failures >= FROM_HUB_LIMITS.movesAtOnceMax)
    return fail(state, disconnected(`${reason}, again and again`), facts, true);
  const isSettled = facts.nowMs - state.openedAtMs >= AGENT_LIMITS.settledSessionMs;
  const dialled = dial({ ...past, failures: isSettled ? 0 : past.failures + 1 });
  return {
    state: dialled.state,
    effects: [{ do: 'disarm' }, { do: 'hangUp', reason }, { do: 'lost', reason }, ...dialled.effects],
  };
}

function onTimer(state: Running, timer: SessionTimer, facts: SessionFacts): SessionStep {
  if (timer === 'retry') return state.phase === 'waiting' ? dial(state.past) : stay(state);
  if (timer === 'handshake') {
    if (state.phase === 'waiting' || state.phase === 'open') return stay(state);
    const seen = `the hub did not finish the handshake within ${LIMITS.handshakeMs} ms (it came to ${state.phase})`;
    return fail(state, new IdlewildError('hub_unreachable', seen), facts, false);
  }
  if (state.phase !== 'open') return stay(state);
  if (timer === 'silence') return onSilence(state, facts);
  if (timer === 'move') return move(state, facts);
  return beat(state, facts);
}

function onSilence(state: Open, facts: SessionFacts): SessionStep {
  const leftMs = state.heardAtMs + LIMITS.heartbeatLostMs - facts.nowMs;
  if (leftMs > 0) return { state, effects: [{ do: 'arm', timer: 'silence', afterMs: leftMs }] };
  return fail(state, disconnected(`nothing was heard from the hub for ${LIMITS.heartbeatLostMs} ms`), facts, true);
}

function beat(state: Open, facts: SessionFacts): SessionStep {
  const n = state.beat;
  const inFlight = [...state.inFlight, { n, sentAtMs: facts.nowMs }].slice(-AGENT_LIMITS.beatsInFlightMax);
  return {
    state: { ...state, beat: n + 1, inFlight, flushing: false },
    effects: [
      { do: 'beat', n },
      { do: 'arm', timer: 'beat', afterMs: state.heartbeatMs },
    ],
  };
}

function onMessage(state: Running, message: ToDevice | UnknownMessage, facts: SessionFacts): SessionStep {
  if (state.phase === 'waiting' || state.phase === 'dialling') return stay(state);
  switch (message.t) {
    case '?':
      return {
        state: heard(state, facts),
        effects: [{ do: 'send', message: { t: 'unsupported', kind: message.kind } }],
      };
    case 'unsupported':
      return stay(heard(state, facts));
    case 'refused':
      return fail(state, peerError(message), facts, isProved(state));
    case 'challenge':
      if (state.phase !== 'greeting') return outOfOrder(state, message.t, facts);
      return { state: { ...state, phase: 'checking' }, effects: [{ do: 'check', proof: message.proof }] };
    case 'welcome':
      return state.phase === 'proving' ? open(state.past, message, facts) : outOfOrder(state, message.t, facts);
    default:
  }
  if (state.phase !== 'open') return outOfOrder(state, message.t, facts);
  if (message.t === 'dropped') return fail(state, peerError(message), facts, true);
  if (message.t === 'heartbeat.ack') {
    const { n, ticket } = message;
    return { state: acknowledge(state, n, facts), effects: ticket === undefined ? [] : [{ do: 'ticket', ticket }] };
  }
  if (message.t === 'move') {
    const there: SessionEffect[] = message.url === undefined ? [] : [{ do: 'place', move: message }];
    const when: SessionEffect = { do: 'arm', timer: 'move', afterMs: message.afterMs };
    return { state: heard(state, facts), effects: [...there, when] };
  }
  return { state: heard(state, facts), effects: [{ do: 'deliver', message }] };
}

function open(past: Past, welcome: Welcome, facts: SessionFacts): SessionStep {
  const heartbeatMs = Math.min(AGENT_LIMITS.heartbeatMsMax, Math.max(AGENT_LIMITS.heartbeatMsMin, welcome.heartbeatMs));
  const fresh: Open = {
    phase: 'open',
    past,
    openedAtMs: facts.nowMs,
    heardAtMs: facts.nowMs,
    heartbeatMs,
    beat: 0,
    inFlight: [],
    flushing: false,
    roundTripMs: undefined,
  };
  // The first beat goes at once: it measures the round trip, and the status in `prove` may have aged.
  const first = beat(fresh, facts);
  return {
    state: first.state,
    effects: [
      { do: 'disarm' },
      { do: 'opened', welcome },
      ...first.effects,
      { do: 'arm', timer: 'silence', afterMs: LIMITS.heartbeatLostMs },
    ],
  };
}

function acknowledge(state: Open, n: number, facts: SessionFacts): SessionState {
  const sent = state.inFlight.find((flying) => flying.n === n);
  return {
    ...state,
    heardAtMs: facts.nowMs,
    inFlight: state.inFlight.filter((flying) => flying.n > n),
    roundTripMs: sent === undefined ? state.roundTripMs : facts.nowMs - sent.sentAtMs,
  };
}

const heard = <State extends SessionState>(state: State, facts: SessionFacts): State =>
  state.phase === 'open' ? { ...state, heardAtMs: facts.nowMs } : state;

function outOfOrder(state: Running, kind: string, facts: SessionFacts): SessionStep {
  const error = new IdlewildError('frame_invalid', `the hub sent "${kind}" out of order (in ${state.phase})`);
  return fail(state, error, facts, false);
}

function peerError(ended: Extract<ToDevice, { t: 'refused' | 'dropped' }>): IdlewildError {
  const { code, message, retryAfterMs } = ended;
  const left = ended.t === 'refused' && ended.left !== undefined ? { left: ended.left } : {};
  return new IdlewildError(isErrorCode(code) ? code : 'handshake_refused', message, {
    details: { retryAfterMs, ...left },
  });
}
