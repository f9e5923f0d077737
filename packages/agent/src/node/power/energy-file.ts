/**
 * `energy.json` in a device's folder: what it has used of this day, and what the machine draws at rest. Written at most
 * once a minute, and at a stop. A damaged one is told and begun anew: it holds a day's sum, and no more.
 */
import { join } from 'node:path';
import { asIdlewildError, type Clock, type Timer } from '@idlewild/protocol';
import { z } from 'zod';
import { ENERGY_LIMITS } from '../../core/lending/energy/limits.ts';
import type { DayEnergy } from '../../core/lending/energy/budget.ts';
import type { KnownRests } from '../../core/lending/energy/meter.ts';
import { readJson, writeJson } from '../whole-file.ts';

export const ENERGY_FILE = 'energy.json';

const wattHours = z.number().min(0).max(ENERGY_LIMITS.wattHoursPerDayMax);
const schema = z.object({
  v: z.literal(1),
  day: z.string().regex(/^\d{4}-\d\d-\d\d$/),
  wattHours,
  measuredWattHours: wattHours,
  rests: z
    .object({
      reader: z.string().max(32),
      watts: z.array(z.number().min(0).max(ENERGY_LIMITS.wattsMax)).max(ENERGY_LIMITS.restsMax),
    })
    .optional(),
});

export interface KeptEnergy {
  readonly day: DayEnergy;
  readonly rests?: KnownRests | undefined;
}

type Warn = (message: string) => void;

export async function readEnergy(folder: string, warn: Warn): Promise<KeptEnergy | undefined> {
  try {
    const kept = await readJson(join(folder, ENERGY_FILE), schema, 'what was counted today begins anew');
    if (kept === undefined) return undefined;
    const { v: _, rests, ...day } = kept;
    return { day, rests };
  } catch (thrown) {
    warn(asIdlewildError(thrown, 'reading what was used today').message);
    return undefined;
  }
}

export interface EnergyFile {
  /** Something was added. */
  changed(): void;
  /** Writes what is new and stops. */
  close(): Promise<void>;
}

export function keepEnergy(folder: string, clock: Clock, now: () => KeptEnergy, warn: Warn): EnergyFile {
  let waiting: Timer | undefined;
  let writing: Promise<void> = Promise.resolve();
  const write = (): Promise<void> => {
    waiting?.cancel();
    waiting = undefined;
    const { day, rests } = now();
    writing = writing
      .then(() => writeJson(join(folder, ENERGY_FILE), { v: 1, ...day, rests }))
      .catch((thrown: unknown) => warn(asIdlewildError(thrown, 'noting what was used today').message));
    return writing;
  };
  return {
    changed() {
      waiting ??= clock.after(ENERGY_LIMITS.writeMs, () => void write());
    },
    close: () => (waiting === undefined ? writing : write()),
  };
}
