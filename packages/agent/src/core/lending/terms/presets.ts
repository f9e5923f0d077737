/**
 * Four ways to lend, as data: what the lender's consent says, and where the lines of the pauses are. A person picks one
 * before any figure; every figure can be changed on top of it, and then the figure holds.
 *
 * What is in `consent` is signed and seen by the hub; `rules` never leave the device.
 */
import type { ConsentChoice } from '../../consent.ts';
import { parseHours } from './hours.ts';
import { DEFAULT_PAUSE_RULES, ignoringPresence, type PauseRules } from './rules.ts';

export const PRESET_NAMES = ['gentle', 'balanced', 'all-night', 'dedicated'] as const;
export type PresetName = (typeof PRESET_NAMES)[number];

/** What a preset settles of a consent; whom and what it is for is asked beside it. */
export type PresetConsent = Pick<
  ConsentChoice,
  'presence' | 'hours' | 'cpuShareMax' | 'memoryBytesMax' | 'diskBytesMax' | 'uploadBytesPerSecondMax' | 'gpu'
>;

export interface Preset {
  readonly title: string;
  /** For people, in a list of four; one line of a terminal with the title before it. */
  readonly sentence: string;
  readonly consent: Omit<PresetConsent, 'memoryBytesMax'>;
  /** Of the machine's memory, for all engines together. */
  readonly memoryShareMax: number;
  readonly rules: PauseRules;
}

/** Absent limits of disk and uploads are those of every device: `AGENT_LIMITS`. */
export const PRESETS: Readonly<Record<PresetName, Preset>> = {
  gentle: {
    title: 'Gentle',
    sentence: 'Works on 30 % of the processors after ten minutes untouched.',
    consent: {
      presence: 'respect',
      cpuShareMax: 0.3,
      diskBytesMax: 10_000_000_000,
      uploadBytesPerSecondMax: 1_000_000,
      gpu: 'never',
    },
    memoryShareMax: 0.25,
    rules: {
      ...DEFAULT_PAUSE_RULES,
      inputIdleMs: 600_000,
      lockedIdleMs: 60_000,
      otherCpuMax: 0.15,
      otherGpuMax: 0.1,
      chargeMin: 0.5,
      celsiusWarm: 55,
      celsiusMax: 75,
      memoryFreeMin: 0.2,
    },
  },
  balanced: {
    title: 'Balanced',
    sentence: 'Works on 60 % of the processors after three minutes untouched.',
    consent: { presence: 'respect', cpuShareMax: 0.6, gpu: 'idle' },
    memoryShareMax: 0.5,
    rules: DEFAULT_PAUSE_RULES,
  },
  'all-night': {
    title: 'All night',
    sentence: 'Works as Balanced does, but from 22:00 to 07:00 only.',
    consent: { presence: 'respect', hours: parseHours('daily 22:00-07:00'), cpuShareMax: 0.6, gpu: 'idle' },
    memoryShareMax: 0.5,
    rules: DEFAULT_PAUSE_RULES,
  },
  dedicated: {
    title: 'Dedicated',
    sentence: 'Works on all processors at any hour, also while you are there.',
    consent: { presence: 'ignore', cpuShareMax: 1, gpu: 'always' },
    memoryShareMax: 0.5,
    // It stops all the same where the machine would suffer: on a battery, too hot, out of memory, on a metered line.
    rules: { ...ignoringPresence(DEFAULT_PAUSE_RULES), celsiusWarm: 80, celsiusMax: 90 },
  },
};

/** What a preset means on a machine of this size. A limit that it does not set is named too: it is none. */
export function consentOfPreset(name: PresetName, machine: { readonly memoryBytes: number }): PresetConsent {
  const { consent, memoryShareMax } = PRESETS[name];
  const { hours, diskBytesMax, uploadBytesPerSecondMax } = consent;
  const memoryBytesMax = Math.floor(machine.memoryBytes * memoryShareMax);
  return { ...consent, hours, diskBytesMax, uploadBytesPerSecondMax, memoryBytesMax };
}
