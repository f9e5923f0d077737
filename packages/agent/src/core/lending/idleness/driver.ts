/**
 * Looks at the machine and pauses the agent: often while something is computed, seldom while nothing is, at once when
 * somebody touches it. While it suspects that there is something to pause for, engines stand still, if there are any
 * that compute; for no longer than a halt may take, whatever becomes of the readings.
 *
 * One reading at a time. One that fails, or takes too long, is told and changes nothing: what held before it holds
 * after it, and only what needs no signal is looked at. While too many readings hang no further one is begun.
 * What the readings mean is decided in `idleness.ts`; what a pause does is the agent's.
 *
 * Idle is more than not paused: by rules of its own where the device works beside its person, and never while the
 * machine cannot be read.
 */
import { asIdlewildError, IdlewildError, type Clock, type Timer } from '@idlewild/protocol';
import {
  UNSEEN,
  activeNames,
  look,
  lookOutside,
  reasonsOf,
  unknownOf,
  type ActiveReason,
  type Idleness,
} from './idleness.ts';
import { DRIVER_LIMITS, IDLENESS_LIMITS } from '../limits.ts';
import type { Outside, ReasonName, Seen } from './lines.ts';
import type { Cooled, Signals, SignalsView, SignalSource } from './port.ts';
import { readingsOf } from './readings.ts';
import type { PauseRules } from '../terms/rules.ts';
import { TOLD, cooledText } from './words.ts';

export interface DriverPorts {
  readonly clock: Clock;
  readonly source: SignalSource;
  readonly rules: PauseRules;
  outside(): Outside;
  /** Something is computed now. A change is told with `looked`. */
  isWorking(): boolean;
  /** `text` is for the lender, `told` for the hub. */
  pause(name: ReasonName, text: string, told: string): void;
  resume(name: ReasonName): void;
  /** Engines stand still, for a moment and without a word, or go on unless they are paused. */
  halt?(is: boolean): void;
  /** The share of processors that work may have, 0 to 1; told when it changes. */
  onThrottle?(share: number): void;
  /** Where something is lent for idle times alone: by which rules it is idle, and who is told of each change. */
  readonly idle?: { readonly rules: PauseRules; tell(isIdle: boolean): void } | undefined;
  /** Once for each run of failures, and once when readings come again. */
  onTrouble(message: string | undefined): void;
}

/** What there is to say of idleness now. */
export interface IdlenessView {
  /** In their order; empty: it may work. */
  readonly reasons: readonly ActiveReason[];
  readonly signals: SignalsView;
  readonly cooled?: Cooled;
}

export interface Driver {
  /** Resolves after the first reading, or its failure: whoever was there before is seen by then. */
  readonly hasLooked: Promise<void>;
  /** Something changed that no signal tells: work began, energy was used up. */
  lookNow(): void;
  view(): IdlenessView;
  /** Reasons stay as they are, a suspicion is dropped; the source is closed. */
  stop(): void;
}

/** What the functions below share. */
interface Parts {
  readonly ports: DriverPorts;
  state: Idleness;
  /** By the rules for idle times. */
  idle: Idleness;
  toldIdle: boolean;
  /** Of the last reading that came. */
  signals: Signals;
  toldThrottle: number;
  /** Set while engines stand still on a suspicion: when they go on in any case. */
  halted: Timer | undefined;
  trouble: string | undefined;
  /** Set while a reading is waited for. */
  reading: boolean;
  /** Readings that nobody waits for any more and that have not ended. */
  hanging: number;
  next: Timer | undefined;
  /** `lookNow` was called during a reading: the next one follows at once. */
  again: boolean;
  stopped: boolean;
  onLooked(): void;
}

export function startDriver(ports: DriverPorts): Driver {
  const looked = Promise.withResolvers<void>();
  const parts: Parts = {
    ports,
    onLooked: looked.resolve,
    state: UNSEEN,
    idle: UNSEEN,
    toldIdle: false,
    signals: {},
    toldThrottle: 1,
    halted: undefined,
    trouble: undefined,
    reading: false,
    hanging: 0,
    next: undefined,
    again: false,
    stopped: false,
  };
  const input = ports.source.onInput?.(() => touched(parts));
  lookOnce(parts);
  return {
    hasLooked: looked.promise,
    lookNow() {
      lookAway(parts);
      if (parts.reading) parts.again = true;
      else lookOnce(parts);
    },
    view: () => viewOf(parts),
    stop() {
      parts.stopped = true;
      parts.next?.cancel();
      goOn(parts);
      input?.stop();
      ports.source.close();
    },
  };
}

const seenBy = ({ ports, signals }: Parts): Seen => ({ signals, rules: ports.rules, outside: ports.outside() });

/** In the turn in which it is told. */
function touched(parts: Parts): void {
  if (parts.stopped) return;
  parts.signals = { ...parts.signals, inputIdleMs: 0 };
  lookAt(parts, (state, seen, nowMs) => look(state, seen, nowMs, ['input']));
}

/** What needs no signal. */
function lookAway(parts: Parts): void {
  if (!parts.stopped) lookAt(parts, lookOutside);
}

function lookOnce(parts: Parts): void {
  if (parts.stopped) return;
  const { clock } = parts.ports;
  parts.next?.cancel();
  parts.again = false;
  const startedMs = clock.monotonic();
  const whenDone = (failure: IdlewildError | undefined): void => {
    parts.reading = false;
    parts.onLooked();
    if (parts.stopped) return;
    tellTrouble(parts, failure?.message);
    if (failure !== undefined) lookAway(parts);
    if (parts.again) return lookOnce(parts);
    const paceMs = mayWork(parts) && parts.ports.isWorking() ? DRIVER_LIMITS.workingMs : DRIVER_LIMITS.restingMs;
    // A reading that takes long does not take all the time.
    const waitMs = Math.max(paceMs / 2, paceMs - (clock.monotonic() - startedMs));
    parts.next = clock.after(waitMs, () => lookOnce(parts));
  };
  if (parts.hanging >= DRIVER_LIMITS.hangingMax) return whenDone(hung(`${parts.hanging} readings before it have`));
  parts.reading = true;
  readWithin(parts, DRIVER_LIMITS.readMsMax)
    .then((signals) => read(parts, signals))
    .then(
      () => whenDone(undefined),
      (thrown: unknown) => whenDone(asIdlewildError(thrown, 'reading what this machine says of itself')),
    );
}

const mayWork = ({ state }: Parts): boolean => activeNames(state).length === 0;

const hung = (what: string): IdlewildError =>
  new IdlewildError(
    'internal',
    `reading whether this machine is in use: ${what} not ended; pauses stay as they are until one does`,
  );

/** A source's own failures pass through; one that does not answer is a failure, too. */
function readWithin(parts: Parts, ms: number): Promise<Signals> {
  const { clock, source } = parts.ports;
  return new Promise((resolve, reject) => {
    let isLate = false;
    const timer = clock.after(ms, () => {
      isLate = true;
      parts.hanging++;
      reject(hung(`after ${ms / 1_000} s it has`));
    });
    const ended = (): void => {
      if (isLate) parts.hanging--;
      timer.cancel();
    };
    source.read().finally(ended).then(resolve, reject);
  });
}

function read(parts: Parts, signals: Signals): void {
  if (parts.stopped) return;
  parts.signals = signals;
  lookAt(parts, look);
}

/** By the rules that pause, and by those for idle times where there are some. */
function lookAt(parts: Parts, by: (before: Idleness, seen: Seen, nowMs: number) => Idleness): void {
  const { clock, idle, rules } = parts.ports;
  const seen = seenBy(parts);
  const nowMs = clock.monotonic();
  become(parts, by(parts.state, seen, nowMs), seen);
  if (idle === undefined) return;
  parts.idle = idle.rules === rules ? parts.state : by(parts.idle, { ...seen, rules: idle.rules }, nowMs);
  tellIdle(parts);
}

/** Nothing that was read yet, or that cannot be read now, says that nobody is there. */
function tellIdle(parts: Parts): void {
  const { idle } = parts.ports;
  const wasRead = Object.keys(parts.signals).length > 0 && parts.trouble === undefined;
  const isIdle = wasRead && activeNames(parts.idle).length === 0;
  if (isIdle === parts.toldIdle) return;
  parts.toldIdle = isIdle;
  idle?.tell(isIdle);
}

/** Pauses before it resumes: a device that goes from one reason to another does not work in between. */
function become(parts: Parts, state: Idleness, seen: Seen): void {
  const { ports } = parts;
  const before = activeNames(parts.state);
  parts.state = state;
  const now = activeNames(state);
  if (now.some((name) => !before.includes(name))) {
    for (const { name, text } of reasonsOf(state, seen, ports.clock.monotonic())) {
      if (!before.includes(name)) ports.pause(name, text, TOLD[name]);
    }
  }
  for (const name of before) if (!now.includes(name)) ports.resume(name);
  if (state.halt.sinceMs === undefined) goOn(parts);
  else if (parts.halted === undefined && ports.isWorking()) standStill(parts);
  const { throttle } = state;
  const isEnd = throttle === 1 && parts.toldThrottle !== 1;
  if (!isEnd && Math.abs(throttle - parts.toldThrottle) < IDLENESS_LIMITS.throttleStep) return;
  parts.toldThrottle = throttle;
  ports.onThrottle?.(throttle);
}

function standStill(parts: Parts): void {
  const { clock } = parts.ports;
  // Readings may fail or hang from now on.
  parts.halted = clock.after(IDLENESS_LIMITS.haltMsMax, () => goOn(parts));
  parts.ports.halt?.(true);
}

function goOn(parts: Parts): void {
  if (parts.halted === undefined) return;
  parts.halted.cancel();
  parts.halted = undefined;
  parts.ports.halt?.(false);
}

function tellTrouble(parts: Parts, message: string | undefined): void {
  const isNew = (message === undefined) !== (parts.trouble === undefined);
  parts.trouble = message;
  if (!isNew) return;
  parts.ports.onTrouble(message);
  tellIdle(parts);
}

function viewOf(parts: Parts): IdlenessView {
  const seen = seenBy(parts);
  const { ports, state, toldThrottle, trouble } = parts;
  const { headless, sources } = ports.source;
  return {
    ...(toldThrottle < 1 ? { cooled: { share: toldThrottle, text: cooledText(seen, toldThrottle) } } : {}),
    reasons: reasonsOf(state, seen, ports.clock.monotonic()),
    signals: {
      headless,
      read: sources,
      now: readingsOf(seen),
      unknown: unknownOf(seen),
      ...(trouble === undefined ? {} : { trouble }),
    },
  };
}
