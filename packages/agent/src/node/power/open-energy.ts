/**
 * The energy of a device in its folder, wired: what reads this machine, the meter, the lender's day and what is kept of
 * it. Nothing of it runs while nothing is computed, but for one look half a minute after work.
 */
import type { Clock } from '@idlewild/protocol';
import { powerCurveOf, type Energy } from '../../core/lending/energy.ts';
import { createEnergyBudget, type EnergyView } from '../../core/lending/energy-budget.ts';
import { createEnergyMeter, type EnergyMeter } from '../../core/lending/energy-meter.ts';
import type { EnergySettings } from '../../core/lending/energy-settings.ts';
import { gridOf } from '../../core/lending/grid.ts';
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
    onUsed(energy) {
      budget.add(energy);
      deps.onDrawn?.(energy);
      file.changed();
    },
  });
  return {
    meter,
    wattHoursToday: () => budget.day().wattHours,
    today: () => ({ ...budget.today(grid), source: [meter.text, found.why ?? []].flat().join('; ') }),
    close() {
      meter.stop();
      return file.close();
    },
  };
}
