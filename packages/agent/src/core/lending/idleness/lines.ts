/**
 * The reasons for a pause, each with its line: what it reads, how far that is beyond the line, how long it has to stay
 * there to count, and how long it has to stay away.
 *
 * A *height* is the reading as a part of the way from where a reason is left (0) to where it is entered (1), whatever
 * its unit; more is worse. In between nothing changes. Absent signals have no height: they pause nothing.
 * What is said to people is in `words.ts`. The lender's own pause is no reading and has no line: it is in `control/`.
 */
import { isWithin, type Hours, type LocalTime } from '../terms/hours.ts';
import { IDLENESS_LIMITS as HOLD } from '../limits.ts';
import type { SignalName, Signals } from './port.ts';
import type { PauseRules } from '../terms/rules.ts';

/** In the order in which they are told: the lender's word, then people, then the machine. */
export const REASON_NAMES = [
  'hours',
  'energy',
  'carbon',
  'programs',
  'input',
  'locked',
  'full-screen',
  'audio',
  'camera',
  'load',
  'gpu',
  'battery',
  'charge',
  'temperature',
  'memory',
  'metered',
] as const;
export type ReasonName = (typeof REASON_NAMES)[number];

/** What no signal tells. */
export interface Outside {
  readonly localTime: LocalTime;
  /** Of the wall clock. */
  readonly nowMs: number;
  /** Absent: always. */
  readonly hours?: Hours | undefined;
  /** Hours of clean electricity, where the lender named some. */
  readonly lowCarbon?: Hours | undefined;
  readonly energy?: { readonly wattHoursToday: number; readonly wattHoursPerDayMax: number } | undefined;
}

export interface Seen {
  readonly signals: Signals;
  readonly outside: Outside;
  readonly rules: PauseRules;
}

export interface Line {
  /** Absent for what is told from outside. */
  readonly signals?: readonly SignalName[];
  /** Whether the lender wants it at all. */
  isOn(rules: PauseRules): boolean;
  height(seen: Seen): number | undefined;
  /** Beyond the line without a break; of a noisy one, at `heightMax` or more. */
  readonly enterAfterMs: number;
  readonly leaveAfterMs: number;
  /** Suspected and believed by its means over shorter times, whatever `enterAfterMs` is; engines stand meanwhile. */
  readonly isSuspected?: boolean;
  /** Noisy, or what our own work may cause: also entered, and left, by its mean over about this long. */
  readonly smoothedMs?: number;
}

/** Of something that is or is not. */
const either = (is: boolean | undefined): number | undefined => (is === undefined ? undefined : is ? 1 : 0);
const between = (value: number | undefined, leave: number, enter: number): number | undefined =>
  value === undefined ? undefined : (value - leave) / (enter - leave);
/** As soon as it is there, and until it has been gone for a while. */
const atOnce = { enterAfterMs: 0, leaveAfterMs: HOLD.stateLeaveMs } as const;
/** What takes its time to change, and is read with errors until then. */
const slow = {
  enterAfterMs: HOLD.strainEnterMs,
  leaveAfterMs: HOLD.strainLeaveMs,
  smoothedMs: HOLD.strainSmoothedMs,
} as const;
/** Told from outside: nothing to believe or to doubt. */
const told = { isOn: () => true, enterAfterMs: 0, leaveAfterMs: 0 } as const;

export const LINES: Readonly<Record<ReasonName, Line>> = {
  hours: {
    ...told,
    height: ({ outside: { hours, localTime } }) => either(hours !== undefined && !isWithin(hours, localTime)),
  },
  energy: {
    ...told,
    height: ({ outside: { energy } }) =>
      either(energy !== undefined && energy.wattHoursToday >= energy.wattHoursPerDayMax),
  },
  carbon: {
    ...told,
    height: ({ outside: { lowCarbon, localTime } }) =>
      either(lowCarbon !== undefined && !isWithin(lowCarbon, localTime)),
  },
  programs: {
    signals: ['programs'],
    isOn: ({ programs }) => programs.length > 0,
    height: ({ signals: { programs } }) => either(programs && programs.length > 0),
    ...atOnce,
  },
  input: {
    signals: ['inputIdleMs'],
    isOn: ({ inputIdleMs }) => inputIdleMs !== null,
    height: ({ signals, rules }) => between(signals.inputIdleMs, ...inputLines(signals, rules)),
    enterAfterMs: 0,
    leaveAfterMs: HOLD.inputLeaveMs,
  },
  locked: {
    signals: ['locked'],
    isOn: ({ whenLocked }) => whenLocked,
    height: ({ signals }) => either(signals.locked),
    ...atOnce,
  },
  'full-screen': {
    signals: ['fullScreen'],
    isOn: ({ fullScreen }) => fullScreen,
    // What fills a locked screen is the lock.
    height: ({ signals: { fullScreen, locked } }) => either(fullScreen && locked !== true),
    ...atOnce,
  },
  audio: {
    signals: ['audio'],
    isOn: ({ audio }) => audio,
    height: ({ signals }) => either(signals.audio),
    enterAfterMs: HOLD.audioEnterMs,
    leaveAfterMs: HOLD.stateLeaveMs,
  },
  camera: {
    signals: ['camera'],
    isOn: ({ camera }) => camera,
    height: ({ signals }) => either(signals.camera),
    ...atOnce,
  },
  load: {
    signals: ['otherCpu'],
    isOn: ({ otherCpuMax }) => otherCpuMax !== null,
    height: ({ signals, rules: { otherCpuMax: line } }) =>
      between(signals.otherCpu, (line ?? 1) * HOLD.cpuLeaveShare, line ?? 1),
    isSuspected: true,
    enterAfterMs: Infinity,
    leaveAfterMs: HOLD.loadLeaveMs,
    smoothedMs: HOLD.loadSmoothedMs,
  },
  gpu: {
    signals: ['otherGpu'],
    isOn: ({ otherGpuMax }) => otherGpuMax !== null,
    height: ({ signals, rules: { otherGpuMax: line } }) =>
      between(signals.otherGpu, (line ?? 1) * HOLD.gpuLeaveShare, line ?? 1),
    enterAfterMs: HOLD.gpuEnterMs,
    leaveAfterMs: HOLD.loadLeaveMs,
    smoothedMs: HOLD.loadSmoothedMs,
  },
  battery: {
    signals: ['onBattery'],
    isOn: ({ onBattery }) => onBattery,
    height: ({ signals }) => either(signals.onBattery),
    ...atOnce,
  },
  charge: {
    signals: ['charge'],
    isOn: ({ chargeMin }) => chargeMin !== null,
    height: ({ signals, rules: { chargeMin: line } }) =>
      between(signals.charge, (line ?? 0) + HOLD.chargeLeaveBy, line ?? 0),
    ...slow,
  },
  temperature: {
    signals: ['celsius'],
    isOn: ({ celsiusMax }) => celsiusMax !== null,
    height: ({ signals, rules: { celsiusMax: line } }) =>
      between(signals.celsius, (line ?? 0) - HOLD.celsiusBetweenLines, line ?? 0),
    ...slow,
  },
  memory: {
    signals: ['memoryPressure', 'memoryFree'],
    isOn: ({ memoryPressureMax, memoryFreeMin }) => memoryPressureMax !== null || memoryFreeMin !== null,
    height: memoryHeight,
    ...slow,
  },
  metered: {
    signals: ['meteredNetwork'],
    isOn: ({ meteredNetwork }) => meteredNetwork,
    height: ({ signals }) => either(signals.meteredNetwork),
    ...atOnce,
  },
};

/** Idle for so long a person has gone, and for so short one is there. */
export function inputLines(
  { locked }: Signals,
  { inputIdleMs, lockedIdleMs }: PauseRules,
): [leave: number, enter: number] {
  const idle = inputIdleMs ?? 0;
  const leave = locked === true ? Math.min(idle, lockedIdleMs) : idle;
  return [leave, leave * HOLD.inputEnterShare];
}

/** The worse of both. */
function memoryHeight({ signals, rules }: Seen): number | undefined {
  const { memoryPressureMax: pressure, memoryFreeMin: free } = rules;
  const heights = [
    pressure === null ? undefined : between(signals.memoryPressure, pressure * HOLD.pressureLeaveShare, pressure),
    free === null ? undefined : between(signals.memoryFree, free + HOLD.memoryLeaveBy, free),
  ].filter((height) => height !== undefined);
  return heights.length === 0 ? undefined : Math.max(...heights);
}
