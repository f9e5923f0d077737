/**
 * What a lender may say of the machine's energy in `lending.json`, which never leaves the device: what the grid is
 * worth, what the machine draws, and at which hours its electricity is clean.
 *
 * Nobody but the lender says those hours: how clean a grid is at an hour needs somebody to ask, and a table of a whole
 * country's noons would be made up. So without them no hour is preferred.
 */
import { z } from 'zod';
import { MACHINE_KINDS } from '../energy/energy.ts';
import { ENERGY_LIMITS } from '../energy/limits.ts';
import { parseHours, type Hours } from './hours.ts';

const { gramsPerKwhMax, wattsMax } = ENERGY_LIMITS;
const grams = z.number().min(0).max(gramsPerKwhMax);
const watts = z.number().min(0).max(wattsMax);

/** As in `daily 10:00-16:00`. */
const hoursText = z.string().refine(isHours, 'must be hours of a week, as in daily 10:00-16:00');

function isHours(text: string): boolean {
  try {
    parseHours(text);
    return true;
  } catch {
    return false;
  }
}

export const energySettingsSchema = z
  .strictObject({
    /** Counts before the table of countries. */
    gramsPerKwh: grams.optional(),
    machine: z.enum(MACHINE_KINDS).optional(),
    idleWatts: watts.optional(),
    fullWatts: watts.optional(),
    /** It works in these hours alone, which the lender names, or which a table of the lender's makes. */
    lowCarbon: z
      .union([
        hoursText,
        z.strictObject({
          /** Of each hour of the local day, from midnight on. */
          gramsPerKwh: z.array(grams).length(24),
          gramsPerKwhMax: grams,
        }),
      ])
      .optional(),
  })
  .refine(({ idleWatts = 0, fullWatts = wattsMax }) => idleWatts <= fullWatts, 'draws more when idle than when full');
export type EnergySettings = z.infer<typeof energySettingsSchema>;

/** Absent: any hour. */
export function lowCarbonHours({ lowCarbon }: EnergySettings = {}): Hours | undefined {
  if (lowCarbon === undefined) return undefined;
  if (typeof lowCarbon === 'string') return parseHours(lowCarbon);
  const clean = lowCarbon.gramsPerKwh.flatMap((each, hour) =>
    each <= lowCarbon.gramsPerKwhMax ? [{ from: hour * 60, until: (hour + 1) * 60 }] : [],
  );
  return Array.from({ length: 7 }, () => clean);
}
