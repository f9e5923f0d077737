/**
 * What is the lender's own business: which preset, which lines were moved, and where the machine stands. It is kept on
 * the device in `lending.json` and never sent.
 */
import { z } from 'zod';
import { energySettingsSchema } from './energy-settings.ts';
import { PRESETS, PRESET_NAMES } from './presets.ts';
import { pauseRulesSchema, type PauseRules } from './rules.ts';

/** An unknown field is a mistake of whoever edited the file, and is told. */
export const lendingSettingsSchema = z.strictObject({
  v: z.literal(1),
  preset: z.enum(PRESET_NAMES),
  /** Lines that differ from the preset's, the programs that pause among them. */
  rules: pauseRulesSchema.partial(),
  /** Whose grid feeds the machine: an ISO 3166 country, in two capitals. */
  place: z
    .string()
    .regex(/^[A-Z]{2}$/, 'must be a country in two capitals, as in DE')
    .optional(),
  /** Where the lender knows better than tables what the machine's energy is. */
  energy: energySettingsSchema.optional(),
});
export type LendingSettings = z.infer<typeof lendingSettingsSchema>;

/**
 * The preset's lines, and the lender's in place of those that were moved. Load has two lines: whoever moved the one in
 * shares alone means it for every number of processors.
 */
export function rulesOf({ preset, rules }: LendingSettings): PauseRules {
  const moved = Object.fromEntries(Object.entries(rules).filter(([, line]) => line !== undefined));
  const alone = rules.otherCpuMax === undefined ? {} : { otherCoresMax: null };
  return { ...PRESETS[preset].rules, ...alone, ...moved };
}
