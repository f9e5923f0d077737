/**
 * The energy of a device in its folder, wired: what reads this machine, the meter, the lender's day and what is kept of
 * it. Nothing of it runs while nothing is computed, but for one look half a minute after work and, where the system
 * counts processor time, one a minute at whether something is computed that nobody asked for.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { ENERGY_LIMITS } from '../../core/lending/energy/limits.ts';
import { powerCurveOf, type Energy } from '../../core/lending/energy/energy.ts';
import { createEnergyBudget, type EnergyView } from '../../core/lending/energy/budget.ts';
import { createEnergyMeter, type EnergyMeter } from '../../core/lending/energy/meter.ts';
import type { EnergySettings } from '../../core/lending/terms/energy-settings.ts';
import { gridOf } from '../../core/lending/energy/grid.ts';
import { keepEnergy, readEnergy } from './energy-file.ts';
import { kindOf, type KindPorts } from './machine-kind.ts';
import { openPower } from './open-power.ts';

export interface DeviceEnergy {
  readonly meter: EnergyMeter;
  /** Of this day. */
  wattHoursToday(): number;
  today(): EnergyView;
  /** Writes what is new; counts no more. */
  close(): Promise<void>;
}

export interface EnergyDeps {
  /** The device's. */
  readonly folder: string;
  readonly clock: Clock;
  /** Of this machine. */
  readonly ports: KindPorts;
  readonly cores: number;
  /** The lender's day at a moment of the wall clock. */
  dayOf(nowMs: number): string;
  /** Ticks of us and all that we started, at a moment of the monotonic clock. */
  ownTicks(atMs: number): number;
  /** Processor time of this process since it started. */
  ownCpuMs(): number;
  /** The same with all that it started, as the system counts it; `undefined` where it does not. */
  systemCpuMs?(): number | undefined;
  /** ISO 3166 country whose grid feeds it. */
  readonly place?: string | undefined;
  readonly settings?: EnergySettings | undefined;
  warn(message: string): void;
  /** Each time that something was drawn. */
  onDrawn?(energy: Energy): void;
}

export async function openEnergy(deps: EnergyDeps): Promise<DeviceEnergy> {
  const { folder, clock, ports, cores, settings = {}, place, warn } = deps;
  const [kept, found, kind] = await Promise.all([
    readEnergy(folder, warn),
    openPower(ports, clock, deps.ownTicks),
    settings.machine ?? kindOf(ports, cores),
  ]);
  const budget = createEnergyBudget({ today: () => deps.dayOf(clock.now()), kept: kept?.day });
  const grid = gridOf({ place, gramsPerKwh: settings.gramsPerKwh });
  const file = keepEnergy(folder, clock, () => ({ day: budget.day(), rests: meter.rests() }), warn);
  const meter = createEnergyMeter({
    clock,
    cores,
    curve: powerCurveOf(kind, cores, settings),
    reader: found.reader,
    rests: kept?.rests,
    ownCpuMs: () => deps.ownCpuMs(),
    systemCpuMs: () => deps.systemCpuMs?.(),
    onUsed(energy) {
      budget.add(energy);
      deps.onDrawn?.(energy);
      file.changed();
    },
  });
  const watch = watchUnasked(deps, meter);
  return {
    meter,
    wattHoursToday: () => budget.day().wattHours,
    today: () => ({ ...budget.today(grid), source: [meter.text, found.why ?? []].flat().join('; ') }),
    close() {
      watch.cancel();
      meter.stop();
      return file.close();
    },
  };
}

/** An engine tells what it used when it is asked for something. What else it computes shows in the system's count. */
function watchUnasked({ clock, systemCpuMs }: EnergyDeps, meter: EnergyMeter): Pick<Timer, 'cancel'> {
  let before = systemCpuMs?.();
  if (before === undefined) return { cancel: () => undefined };
  let timer: Timer;
  const look = (): void => {
    const now = systemCpuMs?.() ?? 0;
    if (now - (before ?? 0) >= ENERGY_LIMITS.unaskedMs * ENERGY_LIMITS.unaskedCpuShare) meter.used(0);
    before = now;
    timer = clock.after(ENERGY_LIMITS.unaskedMs, look);
  };
  timer = clock.after(ENERGY_LIMITS.unaskedMs, look);
  return { cancel: () => timer.cancel() };
}
