/**
 * What a device has used of the lender's day, and whether that is over. The day is the lender's own, in the time zone
 * of the machine; it begins at nothing, and a day that is not today's says nothing of today.
 */
import type { Energy, EnergyHow } from './energy.ts';
import { ENERGY_LIMITS } from './limits.ts';
import { gramsOf, type Grid } from './grid.ts';

/** Of one day, as it outlives a restart. */
export interface DayEnergy {
  /** Of the lender's calendar: `2026-11-23`. */
  readonly day: string;
  readonly wattHours: number;
  /** Of these, what was measured. */
  readonly measuredWattHours: number;
}

/** For people, and for `status`. */
export interface EnergyToday {
  readonly todayWattHours: number;
  /** `measured` where all but a twentieth of them was. */
  readonly how: EnergyHow;
  /** Of CO₂ equivalents. */
  readonly grams: number;
  /** Whose number of grams for a kilowatt-hour it is. */
  readonly grid: string;
}

export interface EnergyView extends EnergyToday {
  /** How this machine's energy is known, for people. */
  readonly source: string;
}

export interface EnergyBudget {
  add(energy: Energy): void;
  day(): DayEnergy;
  today(grid: Grid): EnergyToday;
}

export interface BudgetDeps {
  /** The lender's day now. */
  today(): string;
  readonly kept?: DayEnergy | undefined;
}

export function createEnergyBudget({ today, kept }: BudgetDeps): EnergyBudget {
  let sum: DayEnergy = kept ?? { day: today(), wattHours: 0, measuredWattHours: 0 };
  const current = (): DayEnergy => {
    const day = today();
    if (sum.day !== day) sum = { day, wattHours: 0, measuredWattHours: 0 };
    return sum;
  };
  return {
    add({ wattHours, how }) {
      const before = current();
      sum = {
        ...before,
        wattHours: before.wattHours + wattHours,
        measuredWattHours: before.measuredWattHours + (how === 'measured' ? wattHours : 0),
      };
    },
    day: current,
    today: (grid) => ({ todayWattHours: current().wattHours, ...toldOf(current(), grid) }),
  };
}

/** What there is to say of a day's energy. */
export function toldOf(day: Omit<DayEnergy, 'day'>, grid: Grid): Omit<EnergyToday, 'todayWattHours'> {
  const { wattHours, measuredWattHours } = day;
  const isMeasured = wattHours > 0 && measuredWattHours >= wattHours * (1 - ENERGY_LIMITS.modelledShareMax);
  return { how: isMeasured ? 'measured' : 'modelled', grams: gramsOf(wattHours, grid), grid: grid.text };
}
