/**
 * From what a machine says to whether it may work, and why not. Pure: a state and what was seen make the next state.
 *
 * Each reason is held for itself. It is entered when its reading has been beyond its line for its hold (none for input
 * and programs), and left when it has been back below a lower line for another, longer hold. So a reason stays for its
 * hold at least, and noise between the two lines changes nothing. What is noisy (load, temperature, memory) goes by its
 * mean, and is entered sooner when it is far beyond; where it comes back soon it is held twice as long, up to 16
 * times. Load is suspected before it is believed, and engines stand still meanwhile (`halt.ts`). The last
 * reason is not left while the mean of another is near its line. A worse reading never ends a reason that a better one
 * would have kept.
 *
 * Any reason pauses. A signal that is absent is none; what it would pause for is listed as unknown. A machine without
 * screen and input is idle by its load alone.
 * It knows neither how signals are read nor what a pause does.
 */
import { haltAfter, type Halt } from './halt.ts';
import { DAY_MINUTES, type Hours, type LocalTime } from '../terms/hours.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import { LINES, REASON_NAMES, type Line, type ReasonName, type Seen } from './lines.ts';
import type { PauseReason, SignalName } from './port.ts';
import { textOf } from './words.ts';

/** One reason over time. All times but `sinceMs` are monotonic. */
interface Watch {
  readonly isActive: boolean;
  /** Of the wall clock, while it is active. */
  readonly sinceMs: number;
  /** When it was read beyond the line, if only once. */
  readonly overAtMs?: number | undefined;
  /** As far beyond the line as counts at once, without a break, since then. */
  readonly farSinceMs?: number | undefined;
  /** Below the line to leave at since then; while it is active. */
  readonly clearSinceMs?: number | undefined;
  readonly leftAtMs?: number | undefined;
  /** Its height, or the mean of it. */
  readonly level: number;
  /** Means of it over shorter times, of what is suspected before it is believed. */
  readonly suspicion: number;
  readonly belief: number;
  readonly seenAtMs: number;
  readonly doublings: number;
}

export interface Idleness {
  readonly watches: Readonly<Record<ReasonName, Watch>>;
  /** The share of processors that work may have, 0 to 1: less the nearer the machine is to its ceiling. */
  readonly throttle: number;
  readonly throttledAtMs?: number | undefined;
  readonly halt: Halt;
}

export interface ActiveReason extends PauseReason {
  readonly name: ReasonName;
}

const NEVER_SEEN: Watch = {
  isActive: false,
  sinceMs: 0,
  level: HOLD.heightMin,
  suspicion: HOLD.heightMin,
  belief: HOLD.heightMin,
  seenAtMs: 0,
  doublings: 0,
};

/** Nothing was seen yet. */
export const UNSEEN: Idleness = {
  watches: Object.fromEntries(REASON_NAMES.map((name) => [name, NEVER_SEEN])) as Idleness['watches'],
  throttle: 1,
  halt: {},
};

const SUSPECTED = REASON_NAMES.filter((name) => LINES[name].isSuspected === true);
const FROM_OUTSIDE = REASON_NAMES.filter((name) => LINES[name].signals === undefined);

/**
 * After a reading. `names` are the reasons that it says something of: after a touch, input alone; without a reading,
 * what is told from outside. The others stay as they are.
 */
export function look(
  before: Idleness,
  seen: Seen,
  monotonicMs: number,
  names: readonly ReasonName[] = REASON_NAMES,
): Idleness {
  const watches: Record<ReasonName, Watch> = { ...before.watches };
  for (const name of names) watches[name] = watched(watches[name], LINES[name], seen, monotonicMs);
  if (nearNames(watches).length > 0) keepLast(before, watches);
  const halt = haltAfter(before.halt, suspicionOf(watches), monotonicMs);
  if (!names.includes('temperature')) return { ...before, watches, halt };
  return { watches, halt, throttle: throttled(before, seen, monotonicMs), throttledAtMs: monotonicMs };
}

/** Of what is most suspected, while nothing pauses. */
function suspicionOf(watches: Idleness['watches']): number | undefined {
  if (REASON_NAMES.some((name) => watches[name].isActive)) return undefined;
  return Math.max(...SUSPECTED.map((name) => watches[name].suspicion));
}

/** Reasons that are about to be entered, or could be by noise alone. */
const nearNames = (watches: Idleness['watches']): readonly ReasonName[] =>
  REASON_NAMES.filter((name) => {
    const { isActive, overAtMs, level, seenAtMs } = watches[name];
    const wasOver = overAtMs !== undefined && seenAtMs - overAtMs <= HOLD.nearMs;
    return !isActive && (wasOver || level >= HOLD.heightNear);
  });

/** The last reason is not left before all others are at a distance: work for a moment in between helps nobody. */
function keepLast(before: Idleness, watches: Record<ReasonName, Watch>): void {
  if (REASON_NAMES.some((name) => watches[name].isActive)) return;
  for (const name of activeNames(before)) watches[name] = { ...watches[name], ...activeAs(before.watches[name]) };
}

const activeAs = ({ clearSinceMs, leftAtMs }: Watch): Partial<Watch> => ({ isActive: true, clearSinceMs, leftAtMs });

/** When nothing could be read: only what needs no signal. */
export const lookOutside = (before: Idleness, seen: Seen, monotonicMs: number): Idleness =>
  look(before, seen, monotonicMs, FROM_OUTSIDE);

export const activeNames = ({ watches }: Idleness): readonly ReasonName[] =>
  REASON_NAMES.filter((name) => watches[name].isActive);

/** Every active reason, in the order of `REASON_NAMES`, with what is seen now. */
export function reasonsOf(idleness: Idleness, seen: Seen, monotonicMs: number): readonly ActiveReason[] {
  return activeNames(idleness).map((name) => {
    const watch = idleness.watches[name];
    const endsInMs = endsIn(watch, LINES[name], seen, name, monotonicMs);
    const waitsFor = endsInMs === 0 ? nearNames(idleness.watches) : [];
    return { name, text: textOf(name, seen, endsInMs, waitsFor), sinceMs: watch.sinceMs, endsInMs };
  });
}

/** Signals that the lender has rules for, and that nothing on this machine tells. */
export const unknownOf = ({ signals, rules }: Pick<Seen, 'signals' | 'rules'>): readonly SignalName[] =>
  REASON_NAMES.filter((name) => LINES[name].isOn(rules))
    .flatMap((name) => LINES[name].signals ?? [])
    .filter((signal) => signals[signal] === undefined);

function watched(watch: Watch, line: Line, seen: Seen, nowMs: number): Watch {
  const height = line.isOn(seen.rules) ? line.height(seen) : undefined;
  const bounded = Math.min(HOLD.heightMax, Math.max(HOLD.heightMin, height ?? HOLD.heightMin));
  const sinceMs = nowMs - watch.seenAtMs;
  const level = line.smoothedMs === undefined ? bounded : mean(watch.level, bounded, sinceMs, line.smoothedMs);
  const countsMs = Math.min(sinceMs, HOLD.readingMsMax);
  const suspicion = mean(watch.suspicion, bounded, countsMs, HOLD.suspectedMs);
  const belief = mean(watch.belief, bounded, countsMs, HOLD.believedMs);
  const isOver = bounded >= 1;
  const isFar = bounded >= (line.smoothedMs === undefined ? 1 : HOLD.heightMax);
  const farSinceMs = isFar ? (watch.farSinceMs ?? nowMs) : undefined;
  const isFirm =
    (line.smoothedMs !== undefined && level >= 1) ||
    (line.isSuspected === true && belief >= HOLD.heightBelieved) ||
    (farSinceMs !== undefined && nowMs - farSinceMs >= line.enterAfterMs);
  const overAtMs = isOver ? nowMs : watch.overAtMs;
  const next = { ...watch, overAtMs, farSinceMs, level, suspicion, belief, seenAtMs: nowMs };
  if (!watch.isActive) return isFirm ? entered(next, line, seen, nowMs) : next;
  // Once the mean has been below, it takes more than noise to begin again.
  const isBack = isFirm || level >= HOLD.heightNear;
  const clearSinceMs = isBack ? undefined : (watch.clearSinceMs ?? (level <= 0 ? nowMs : undefined));
  const isClear = clearSinceMs !== undefined && nowMs - clearSinceMs >= leaveAfterMs(watch, line);
  if (!isClear || isOver) return { ...next, clearSinceMs };
  return { ...next, isActive: false, overAtMs: undefined, clearSinceMs: undefined, leftAtMs: nowMs };
}

function entered(watch: Watch, line: Line, seen: Seen, nowMs: number): Watch {
  const returns = watch.leftAtMs !== undefined && nowMs - watch.leftAtMs < HOLD.returnsWithinMs;
  const doublings = line.smoothedMs !== undefined && returns ? Math.min(HOLD.doublingsMax, watch.doublings + 1) : 0;
  // However short what it was entered by, its mean is beyond the line from here on.
  const level = Math.max(1, watch.level);
  return { ...watch, isActive: true, sinceMs: seen.outside.nowMs, clearSinceMs: undefined, level, doublings };
}

const leaveAfterMs = ({ doublings }: Watch, { leaveAfterMs: once }: Line): number => once * 2 ** doublings;

/** Exponential, by time. */
const mean = (before: number, height: number, sinceMs: number, overMs: number): number =>
  height + (before - height) * Math.exp(-sinceMs / overMs);

function endsIn(watch: Watch, line: Line, seen: Seen, name: ReasonName, nowMs: number): number | undefined {
  const { hours, lowCarbon, localTime } = seen.outside;
  if (name === 'hours') return hours && opensIn(hours, localTime);
  if (name === 'carbon') return lowCarbon && opensIn(lowCarbon, localTime);
  // The day is the lender's own, and its energy is counted anew from midnight on.
  if (name === 'energy') return (DAY_MINUTES - localTime.minute) * 60_000;
  if (watch.clearSinceMs !== undefined) {
    return Math.max(0, watch.clearSinceMs + leaveAfterMs(watch, line) - nowMs);
  }
  const { inputIdleMs, locked } = seen.signals;
  if (name !== 'input' || inputIdleMs === undefined) return undefined;
  const idleMs = seen.rules.inputIdleMs ?? 0;
  const untilIdleMs = (locked === true ? Math.min(idleMs, seen.rules.lockedIdleMs) : idleMs) - inputIdleMs;
  return Math.max(0, untilIdleMs) + line.leaveAfterMs;
}

/** Until the next window begins, by the wall: the night of the change of clocks is an hour off. */
function opensIn(hours: Hours, { weekday, minute }: LocalTime): number | undefined {
  let first: number | undefined;
  for (let days = 0; days <= 7; days++) {
    for (const { from } of hours[(weekday + days) % 7] ?? []) {
      const minutes = days * DAY_MINUTES + from - minute;
      if (minutes > 0) first = Math.min(first ?? minutes, minutes);
    }
  }
  return first === undefined ? undefined : first * 60_000;
}

/** Straight from all processors at the warm line to few at the ceiling; smoothed, down faster than up. */
function throttled(before: Idleness, { signals: { celsius }, rules }: Seen, nowMs: number): number {
  const { celsiusWarm: warm, celsiusMax: ceiling } = rules;
  const sinceMs = before.throttledAtMs === undefined ? 0 : nowMs - before.throttledAtMs;
  let target = 1;
  if (celsius !== undefined && warm !== null) {
    const span = Math.max(1, (ceiling ?? warm + HOLD.celsiusBetweenLines) - warm);
    target = Math.max(HOLD.throttleMin, 1 - (1 - HOLD.throttleMin) * Math.max(0, (celsius - warm) / span));
  }
  const withinMs = target < before.throttle ? HOLD.throttleDownMs : HOLD.throttleUpMs;
  const share = target + (before.throttle - target) * Math.exp(-sinceMs / withinMs);
  return share > 1 - HOLD.throttleStep / 10 && target === 1 ? 1 : share;
}
