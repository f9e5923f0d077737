/**
 * What work costs in watt-hours: the *marginal* ones, which the machine would not have drawn without it. Pure.
 *
 *   modelled   Wh = (W_full − W_idle) × t_cpu ⁄ cores ⁄ 3600
 *   measured   Wh = (E − W_rest × t) × t_cpu ⁄ t_busy ⁄ 3600
 *
 * t_cpu is processor time of ours, t_busy that of all programs, t the time that passed, E the joules that were read,
 * and W_rest what the same source read while nothing of ours ran. Which of the two it was is always said. Neither
 * knows anything of a graphics card, of disks, or of what a power supply loses; docs/lending.md says what that means.
 */
import { ENERGY_LIMITS } from './limits.ts';

export type EnergyHow = 'measured' | 'modelled';

export interface Energy {
  readonly wattHours: number;
  readonly how: EnergyHow;
}

export const MACHINE_KINDS = ['laptop', 'desktop', 'server', 'board'] as const;
export type MachineKind = (typeof MACHINE_KINDS)[number];

/** What a whole machine draws with nothing to do, and with all its processors busy; straight in between. */
export interface PowerCurve {
  readonly idleWatts: number;
  readonly fullWatts: number;
}

/**
 * By kind of machine: watts with nothing to do, what each busy hardware thread adds, and what its cooling lets all of
 * them add. Round figures within the range of what makers state; servers are the mean of Cloud Carbon Footprint's
 * table, 0.74 to 3.5 W for each thread. Where they come from, and how far they may be off, is in docs/lending.md.
 */
const KINDS: Readonly<
  Record<
    MachineKind,
    { readonly idle: number; readonly idlePerThread: number; readonly perThread: number; readonly most: number }
  >
> = {
  laptop: { idle: 6, idlePerThread: 0, perThread: 2.5, most: 45 },
  desktop: { idle: 30, idlePerThread: 0, perThread: 5, most: 180 },
  server: { idle: 0, idlePerThread: 0.74, perThread: 2.76, most: Number.POSITIVE_INFINITY },
  board: { idle: 3, idlePerThread: 0, perThread: 1.25, most: 12 },
};

interface OwnWatts {
  readonly idleWatts?: number | undefined;
  readonly fullWatts?: number | undefined;
}

/** `threads`: processors as the system counts them. What the lender says of the machine counts before all of it. */
export function powerCurveOf(kind: MachineKind, threads: number, own: OwnWatts = {}): PowerCurve {
  const { idle, idlePerThread, perThread, most } = KINDS[kind];
  const idleWatts =
    own.idleWatts ?? Math.min(idle + idlePerThread * threads, own.fullWatts ?? Number.POSITIVE_INFINITY);
  const fullWatts = own.fullWatts ?? idleWatts + Math.min(perThread * threads, most);
  return { idleWatts, fullWatts: Math.max(idleWatts, fullWatts) };
}

const SECONDS_PER_HOUR = 3_600;

/** Of so much processor time on a machine of so many processors. */
export const modelledWattHours = (cpuMs: number, { idleWatts, fullWatts }: PowerCurve, cores: number): number =>
  ((fullWatts - idleWatts) * cpuMs) / cores / 1_000 / SECONDS_PER_HOUR;

/** What was read between two looks at a machine. */
export interface Drawn {
  readonly ms: number;
  /** Of everything that is read, whoever caused it. */
  readonly joules: number;
  /** Processor time in it, of all programs, and of this one with all that it started. */
  readonly busyMs: number;
  readonly ownMs: number;
}

export const wattsOf = ({ joules, ms }: Drawn): number => (joules * 1_000) / ms;

/** Our part of what was drawn beyond a rest. A program that ran beside us has its part of that, too. */
export function measuredWattHours(drawn: Drawn, restWatts: number): number {
  const beyond = Math.max(0, drawn.joules - (restWatts * drawn.ms) / 1_000);
  // Two clocks of the system disagree by a tick: no part is over the whole.
  const busyMs = Math.max(drawn.busyMs, drawn.ownMs);
  return busyMs === 0 ? 0 : (beyond * drawn.ownMs) / busyMs / SECONDS_PER_HOUR;
}

/** Whether nothing of ours ran in it, for long enough to tell what the machine draws without us. */
export const isRest = ({ ms, ownMs }: Drawn): boolean =>
  ms >= ENERGY_LIMITS.restMsMin && ownMs <= ms * ENERGY_LIMITS.restCpuShare;

/** Reads what a machine draws. One for each source; all are held to `node/power/testing/reader-conformance.ts`. */
export interface PowerReader {
  /** One word, stable: a rest that one source read tells another nothing. */
  readonly name: string;
  /** How it reads, for people. */
  readonly text: string;
  /** Since the call before; absent where nothing tells: the first call, one that came too late, what cannot be read. */
  take(): Promise<Drawn | undefined>;
}
