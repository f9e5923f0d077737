/**
 * Counts what the work of a device costs in energy, measured where something measures, and modelled otherwise.
 *
 * It has no beat of its own: it looks when a piece of work begins or ends and when an engine tells what it has used,
 * which is every few seconds while something is computed; and once when the machine has rested for half a minute, to
 * know what it draws without us. Between those it costs nothing.
 *
 * A piece of work gets the processor time that its engine tells of it, at the rate (watt-hours for each millisecond of
 * ours) that was measured while it ran; a device gets everything, also what came to nothing. Until a first rest has
 * been seen there is no measuring, and a reading that is missing or late makes what lies in it modelled.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import {
  isRest,
  measuredWattHours,
  modelledWattHours,
  wattsOf,
  type Drawn,
  type Energy,
  type EnergyHow,
  type PowerCurve,
  type PowerReader,
} from './energy.ts';
import { ENERGY_LIMITS } from './limits.ts';

/** What it learnt of the machine, for the next start. */
export interface KnownRests {
  /** The reader's name. */
  readonly reader: string;
  /** Newest last. */
  readonly watts: readonly number[];
}

export interface MeterDeps {
  readonly clock: Clock;
  readonly curve: PowerCurve;
  readonly cores: number;
  readonly reader?: PowerReader | undefined;
  /** Of earlier starts. */
  readonly rests?: KnownRests | undefined;
  /** Processor time of this process itself since it started. */
  ownCpuMs?(): number;
  /**
   * Processor time of this process and of all that it started, engines included, by the system's own count. Where that
   * is told nothing is counted that engines say of themselves: one that was taken over would say less.
   */
  systemCpuMs?(): number | undefined;
  /** The device has used so much more. */
  onUsed(energy: Energy): void;
}

export interface WorkMeter {
  /**
   * Its work is over, and its engine says that this was its processor time; more than the system saw meanwhile is not
   * believed. Never rejects.
   */
  end(cpuMs: number): Promise<Energy>;
}

export interface EnergyMeter {
  /** A piece of work begins. */
  begin(): WorkMeter;
  /** Engines have used so much more processor time. */
  used(cpuMs: number): void;
  /** Of everything that was counted since it was made. */
  drawnWattHours(): number;
  rests(): KnownRests | undefined;
  /** How this machine's energy is known, for people. */
  readonly text: string;
  /** Counts what is left and looks no more. */
  stop(): void;
}

/** What the functions below share. */
interface Meter {
  readonly deps: MeterDeps;
  /** Told by engines and by our own process, and in no sum yet. */
  waitingMs: number;
  ownMs: number;
  /** The system's count at the last look. */
  systemMs: number | undefined;
  watts: number[];
  looking: Promise<void> | undefined;
  /** A reading that was given up and has not ended. */
  isStuck: boolean;
  lookedMs: number;
  /** Of all looks that measured. */
  readonly sums: { wattHours: number; cpuMs: number };
  /** Looks that did not. */
  gaps: number;
  /** Watt-hours for each millisecond, when it was last worth saying. */
  rate: { readonly wattHoursPerMs: number; readonly atMs: number } | undefined;
  resting: Timer | undefined;
  stopped: boolean;
}

export function createEnergyMeter(deps: MeterDeps): EnergyMeter {
  const { reader, rests, curve } = deps;
  let drawnWattHours = 0;
  const onUsed = (energy: Energy): void => {
    drawnWattHours += energy.wattHours;
    deps.onUsed(energy);
  };
  const meter: Meter = {
    deps: { ...deps, onUsed },
    waitingMs: 0,
    ownMs: deps.ownCpuMs?.() ?? 0,
    systemMs: deps.systemCpuMs?.(),
    watts: rests !== undefined && rests.reader === reader?.name ? [...rests.watts] : [],
    looking: undefined,
    isStuck: false,
    lookedMs: Number.NEGATIVE_INFINITY,
    sums: { wattHours: 0, cpuMs: 0 },
    gaps: 0,
    rate: undefined,
    resting: undefined,
    stopped: false,
  };
  void touch(meter);
  return {
    begin: () => begin(meter),
    used(cpuMs) {
      meter.waitingMs += cpuMs;
      void touch(meter);
    },
    drawnWattHours: () => drawnWattHours,
    rests: () =>
      reader === undefined || meter.watts.length === 0 ? undefined : { reader: reader.name, watts: meter.watts },
    text: `${reader === undefined ? '' : `${reader.text}; else `}${curveText(curve)}`,
    stop() {
      meter.resting?.cancel();
      if (!meter.stopped) model(meter);
      meter.stopped = true;
    },
  };
}

const curveText = ({ idleWatts, fullWatts }: PowerCurve): string =>
  `modelled: ${rounded(idleWatts)} W idle, ${rounded(fullWatts)} W with all processors busy`;
const rounded = (watts: number): string => (watts < 10 ? watts.toFixed(1) : String(Math.round(watts)));

function begin(meter: Meter): WorkMeter {
  const { curve, cores, clock, systemCpuMs } = meter.deps;
  const systemMs = systemCpuMs?.();
  // What was read until now was drawn before, however long that is.
  const begun = touch(meter).then(() => ({ ...meter.sums, gaps: meter.gaps }));
  return {
    async end(saidMs) {
      const before = await begun;
      const seenMs = systemMs === undefined ? undefined : (systemCpuMs?.() ?? systemMs) - systemMs;
      const cpuMs = Math.min(saidMs, Math.max(0, seenMs ?? saidMs) + ENERGY_LIMITS.rateCpuMsMin);
      await touch(meter);
      const spentMs = meter.sums.cpuMs - before.cpuMs;
      if (meter.gaps === before.gaps && spentMs >= ENERGY_LIMITS.rateCpuMsMin) {
        return costs((cpuMs * (meter.sums.wattHours - before.wattHours)) / spentMs, 'measured');
      }
      const { rate } = meter;
      if (rate !== undefined && clock.monotonic() - rate.atMs <= ENERGY_LIMITS.rateMsMax) {
        return costs(cpuMs * rate.wattHoursPerMs, 'measured');
      }
      return costs(modelledWattHours(cpuMs, curve, cores), 'modelled');
    },
  };
}

/** No more digits than anybody could know. */
const costs = (wattHours: number, how: EnergyHow): Energy => ({ wattHours: Number(wattHours.toPrecision(4)), how });

/** Something is under way: looks, unless it has just looked, and once more when nothing has been for a while. */
function touch(meter: Meter): Promise<void> {
  const { reader, clock } = meter.deps;
  if (meter.stopped) return Promise.resolve();
  if (reader === undefined) {
    model(meter);
    return Promise.resolve();
  }
  meter.resting?.cancel();
  meter.resting = clock.after(ENERGY_LIMITS.restMs, () => void look(meter, reader));
  if (clock.monotonic() - meter.lookedMs < ENERGY_LIMITS.lookMsMin) return meter.looking ?? Promise.resolve();
  return look(meter, reader);
}

function look(meter: Meter, reader: PowerReader): Promise<void> {
  meter.looking ??= lookOnce(meter, reader).finally(() => {
    meter.looking = undefined;
  });
  return meter.looking;
}

async function lookOnce(meter: Meter, reader: PowerReader): Promise<void> {
  meter.lookedMs = meter.deps.clock.monotonic();
  const drawn = await readWithin(meter, reader);
  if (meter.stopped) return;
  if (drawn !== undefined && isRest(drawn)) {
    meter.watts = [...meter.watts, wattsOf(drawn)].slice(-ENERGY_LIMITS.restsMax);
  }
  if (drawn === undefined || meter.watts.length === 0) {
    meter.gaps++;
    meter.rate = undefined;
    return model(meter);
  }
  measure(meter, drawn);
}

/** A reader that fails or hangs tells nothing, and one that hangs is not asked again before it has ended. */
function readWithin(meter: Meter, reader: PowerReader): Promise<Drawn | undefined> {
  if (meter.isStuck) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const timer = meter.deps.clock.after(ENERGY_LIMITS.readMsMax, () => {
      meter.isStuck = true;
      resolve(undefined);
    });
    void takeFrom(reader).then((drawn) => {
      timer.cancel();
      meter.isStuck = false;
      resolve(drawn);
    });
  });
}

async function takeFrom(reader: PowerReader): Promise<Drawn | undefined> {
  try {
    return await reader.take();
  } catch {
    return undefined;
  }
}

/** What was told of processor time is in what was read. */
function measure(meter: Meter, drawn: Drawn): void {
  const wattHours = measuredWattHours(drawn, Math.min(...meter.watts));
  forgetWaiting(meter);
  meter.sums.wattHours += wattHours;
  meter.sums.cpuMs += drawn.ownMs;
  if (drawn.ownMs >= ENERGY_LIMITS.rateCpuMsMin) {
    meter.rate = { wattHoursPerMs: wattHours / drawn.ownMs, atMs: meter.deps.clock.monotonic() };
  }
  if (wattHours > 0) meter.deps.onUsed({ wattHours, how: 'measured' });
}

function model(meter: Meter): void {
  const { curve, cores, onUsed } = meter.deps;
  const wattHours = modelledWattHours(forgetWaiting(meter), curve, cores);
  if (wattHours > 0) onUsed({ wattHours, how: 'modelled' });
}

/** What was waiting, with our own process's part since the last time; or what the system counted since then. */
function forgetWaiting(meter: Meter): number {
  const ownMs = meter.deps.ownCpuMs?.() ?? 0;
  const saidMs = meter.waitingMs + ownMs - meter.ownMs;
  meter.ownMs = ownMs;
  meter.waitingMs = 0;
  const systemMs = meter.deps.systemCpuMs?.();
  const before = meter.systemMs;
  meter.systemMs = systemMs;
  if (systemMs === undefined || before === undefined) return saidMs;
  // Less than before: a process went and was buried by nobody. From there on it is counted anew.
  return Math.max(0, systemMs - before);
}
