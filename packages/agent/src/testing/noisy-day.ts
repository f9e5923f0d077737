/**
 * How steady the rules are: a simulated day of noisy signals, looked at as the driver looks at them, and every pause
 * or resume that was one too many.
 *
 * A *flap* is a pause or a resume that is undone within a minute, while a person who knows what is true would have kept
 * it: a pause undone by a resume though what was true at either moment did not ask for it, or the other way round.
 * Somebody who comes back ten seconds after the machine began to work is no flap. A halt on a suspicion is no pause;
 * how much of the time for work they take is counted apart.
 */
import type { Random } from '@idlewild/protocol';
import { UNSEEN, activeNames, look } from '../core/lending/idleness/idleness.ts';
import { DRIVER_LIMITS, IDLENESS_LIMITS } from '../core/lending/limits.ts';
import { LINES, REASON_NAMES, type Outside, type ReasonName } from '../core/lending/idleness/lines.ts';
import type { Signals } from '../core/lending/idleness/port.ts';
import { DEFAULT_PAUSE_RULES, type PauseRules } from '../core/lending/terms/rules.ts';
import { createNoisyMachine } from './noisy-machine.ts';

export interface Flap {
  readonly atMs: number;
  readonly undoneAfterMs: number;
  /** What the pause was for. */
  readonly reasons: readonly ReasonName[];
}

export interface NoisyDay {
  readonly flaps: readonly Flap[];
  readonly pauses: number;
  readonly pausedShare: number;
  /** Of the time in which something was computed, how much engines stood still on a suspicion. */
  readonly haltedShare: number;
  /** How often each reason was entered. */
  readonly entered: Readonly<Partial<Record<ReasonName, number>>>;
}

interface Change {
  readonly atMs: number;
  readonly reasons: readonly ReasonName[];
  /** What is true asks for a pause now or did so just before; and it has done so for longer than a moment. */
  readonly isAskedFor: boolean;
  readonly hasLongBeen: boolean;
}

const HOUR_MS = 3_600_000;
/** A person sees what has become true within this time, and so do holds for entering. */
const MOMENT_MS = 3_000;
/** Of the time in which it may work. */
const WORKING_SHARE = 0.2;
const OUTSIDE: Outside = { localTime: { weekday: 0, minute: 0 }, nowMs: 0 };

export function noisyDay(random: Random, rules: PauseRules = { ...DEFAULT_PAUSE_RULES, programs: ['game'] }): NoisyDay {
  const machine = createNoisyMachine(random);
  const entered: Partial<Record<ReasonName, number>> = {};
  const changes: Change[] = [];
  let state = UNSEEN;
  let before: readonly ReasonName[] = [];
  let [pausedMs, workedMs, haltedMs] = [0, 0, 0];
  let askedAtMs = -Infinity;
  let askedSinceMs = Infinity;
  let isWorking = false;
  let worksUntilMs = 0;
  for (let ms = 0; ms < 24 * HOUR_MS;) {
    const { truth, read } = machine.at(ms);
    state = look(state, { signals: read, outside: OUTSIDE, rules }, ms);
    const reasons = activeNames(state);
    const asks = isOver(truth, rules);
    if (asks) askedAtMs = ms;
    askedSinceMs = asks ? Math.min(askedSinceMs, ms) : Infinity;
    for (const name of reasons) if (!before.includes(name)) entered[name] = (entered[name] ?? 0) + 1;
    if ((reasons.length === 0) !== (before.length === 0)) {
      const isAskedFor = ms - askedAtMs <= MOMENT_MS;
      changes.push({ atMs: ms, reasons, isAskedFor, hasLongBeen: ms - askedSinceMs > MOMENT_MS });
    }
    before = reasons;
    if (ms >= worksUntilMs) {
      isWorking = random.unit() < WORKING_SHARE;
      worksUntilMs = ms + 60_000;
    }
    const paceMs = isWorking && reasons.length === 0 ? DRIVER_LIMITS.workingMs : DRIVER_LIMITS.restingMs;
    if (reasons.length > 0) pausedMs += paceMs;
    else if (isWorking) workedMs += paceMs;
    if (isWorking && state.halt.sinceMs !== undefined) haltedMs += paceMs;
    ms += paceMs;
  }
  const pauses = changes.filter(({ reasons }) => reasons.length > 0).length;
  const pausedShare = pausedMs / (24 * HOUR_MS);
  return { flaps: flapsOf(changes), pauses, pausedShare, haltedShare: haltedMs / workedMs, entered };
}

const isOver = (truth: Signals, rules: PauseRules): boolean =>
  REASON_NAMES.some((name) => {
    const line = LINES[name];
    return line.isOn(rules) && (line.height({ signals: truth, outside: OUTSIDE, rules }) ?? 0) >= 1;
  });

const isPause = ({ reasons }: Change): boolean => reasons.length > 0;
const isRight = (change: Change): boolean => (isPause(change) ? change.isAskedFor : !change.hasLongBeen);

function flapsOf(changes: readonly Change[]): Flap[] {
  return changes.flatMap((change, index) => {
    const undone = changes[index + 1];
    if (undone === undefined || undone.atMs - change.atMs >= IDLENESS_LIMITS.flapMs) return [];
    if (isRight(change) && isRight(undone)) return [];
    const { reasons } = isPause(change) ? change : undone;
    return [{ atMs: change.atMs, undoneAfterMs: undone.atMs - change.atMs, reasons }];
  });
}
