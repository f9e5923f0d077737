/**
 * Where the lines are: what the lender wants to pause for, and at which reading. Data: presets are values of this type,
 * and `lending.json` changes single ones. `idleness/` says how a line is held: where it is left again, and when.
 *
 * It is the lender's own business and never leaves the device. What the hub may know (hours, a ceiling of temperature,
 * energy per day) is in the signed consent, which `withinConsent` lays over it: the stricter of both holds.
 */
import { z } from 'zod';
import { IDLENESS_LIMITS } from '../limits.ts';

/** `null`: this signal pauses nothing. */
type Line = number | null;

export interface PauseRules {
  /** Nobody has touched the machine for this long: nobody is there. */
  readonly inputIdleMs: Line;
  /** The same where the screen is locked: who locked it went away, and who unlocks it touches it. */
  readonly lockedIdleMs: number;
  /** A locked screen pauses, too; otherwise it only says that nobody is there. */
  readonly whenLocked: boolean;
  readonly fullScreen: boolean;
  readonly audio: boolean;
  readonly camera: boolean;
  /** Processors that other programs may keep busy, of all: 0 to 1. */
  readonly otherCpuMax: Line;
  /** The same in processors, however many there are: most of one is a program that computes. */
  readonly otherCoresMax: Line;
  readonly otherGpuMax: Line;
  readonly onBattery: boolean;
  /** Of the battery, 0 to 1, plugged in or not. */
  readonly chargeMin: Line;
  /** From here on work gets fewer processors, the fewer the hotter, °C. */
  readonly celsiusWarm: Line;
  /** Above it nothing runs, °C. */
  readonly celsiusMax: Line;
  /** Share of time in which something waits for memory, 0 to 1. */
  readonly memoryPressureMax: Line;
  /** Share of memory that has to be available, 0 to 1. */
  readonly memoryFreeMin: Line;
  readonly meteredNetwork: boolean;
  /** While one of them runs, nothing of ours does: names of programs, as the system's list of processes has them. */
  readonly programs: readonly string[];
}

/** For a device whose consent says `ignore` and whose lender wrote no rules: only what the consent says pauses it. */
export const NO_PAUSE_RULES: PauseRules = {
  inputIdleMs: null,
  lockedIdleMs: 20_000,
  whenLocked: false,
  fullScreen: false,
  audio: false,
  camera: false,
  otherCpuMax: null,
  otherCoresMax: null,
  otherGpuMax: null,
  onBattery: false,
  chargeMin: null,
  celsiusWarm: null,
  celsiusMax: null,
  memoryPressureMax: null,
  memoryFreeMin: null,
  meteredNetwork: false,
  programs: [],
};

/** A laptop whose owner is not to notice: everything that says "somebody is there" pauses. */
export const DEFAULT_PAUSE_RULES: PauseRules = {
  inputIdleMs: 180_000,
  lockedIdleMs: 20_000,
  whenLocked: false,
  fullScreen: true,
  audio: true,
  camera: true,
  otherCpuMax: 0.25,
  otherCoresMax: 0.75,
  otherGpuMax: 0.2,
  onBattery: true,
  chargeMin: 0.3,
  celsiusWarm: 65,
  celsiusMax: 85,
  memoryPressureMax: 0.1,
  memoryFreeMin: 0.08,
  meteredNetwork: true,
  programs: [],
};

const share = z.number().gt(0).max(1).nullable();
const shareToReach = z.number().gt(0).max(IDLENESS_LIMITS.chargeMinMax).nullable();
const { idleMsMin, idleMsMax, celsiusMin, celsiusMax, programsMax, programCharactersMax } = IDLENESS_LIMITS;
const celsius = z.number().min(celsiusMin).max(celsiusMax).nullable();
const idleMs = z.int().min(idleMsMin).max(idleMsMax);

/** For whoever reads a file: every line is optional there, and an unknown one is a mistake. */
export const pauseRulesSchema = z.strictObject({
  inputIdleMs: idleMs.nullable(),
  lockedIdleMs: idleMs,
  whenLocked: z.boolean(),
  fullScreen: z.boolean(),
  audio: z.boolean(),
  camera: z.boolean(),
  otherCpuMax: share,
  otherCoresMax: z.number().gt(0).max(IDLENESS_LIMITS.coresMax).nullable(),
  otherGpuMax: share,
  onBattery: z.boolean(),
  chargeMin: shareToReach,
  celsiusWarm: celsius,
  celsiusMax: celsius,
  memoryPressureMax: share,
  memoryFreeMin: shareToReach,
  meteredNetwork: z.boolean(),
  programs: z.array(z.string().min(1).max(programCharactersMax)).max(programsMax).readonly(),
} satisfies Record<keyof PauseRules, z.ZodType>);

/** Without the signs of a person: for a device whose consent says `ignore`. The machine is still looked after. */
export const ignoringPresence = (rules: PauseRules): PauseRules => ({
  ...rules,
  inputIdleMs: null,
  whenLocked: false,
  fullScreen: false,
  audio: false,
  camera: false,
  otherCpuMax: null,
  otherCoresMax: null,
  otherGpuMax: null,
  programs: [],
});

/** A temperature that the consent names is a ceiling for both lines. */
export function withinConsent(rules: PauseRules, consent: { readonly celsiusMax?: number | undefined }): PauseRules {
  if (consent.celsiusMax === undefined) return rules;
  const ceiling = Math.min(rules.celsiusMax ?? consent.celsiusMax, consent.celsiusMax);
  const warm = Math.min(rules.celsiusWarm ?? ceiling, ceiling - IDLENESS_LIMITS.celsiusBetweenLines);
  return { ...rules, celsiusMax: ceiling, celsiusWarm: warm };
}

/**
 * With one line for load, on a machine of so many processors: whichever of share and processors is reached first. A
 * line in processors goes no lower than what a machine of many is busy with by itself; one in shares goes as low as it
 * says.
 */
export function onProcessors(rules: PauseRules, cores: number): PauseRules {
  const { otherCpuMax, otherCoresMax } = rules;
  if (otherCoresMax === null) return rules;
  const byCores = Math.min(1, Math.max(IDLENESS_LIMITS.cpuShareMin, otherCoresMax / cores));
  return { ...rules, otherCpuMax: Math.min(otherCpuMax ?? 1, byCores), otherCoresMax: null };
}
