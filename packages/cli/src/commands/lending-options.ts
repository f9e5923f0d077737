/**
 * The options by which a lender says what is lent, as the command line has them. What they make of a consent is in
 * `lending-flags.ts`, which is loaded when somebody lends.
 */
import type { PresetName } from '@idlewild/agent';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseSize } from '../text/size.ts';

export interface LendingFlags {
  readonly preset?: PresetName;
  readonly for?: string;
  readonly classes?: string;
  readonly cause?: string;
  readonly refuse?: string;
  readonly hours?: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly disk?: number;
  readonly download?: string;
  readonly upload?: number;
  readonly gpu?: 'never' | 'idle' | 'always';
  readonly presence?: 'respect' | 'ignore';
  readonly tokensPerSecondMax?: string;
  readonly celsiusMax?: string;
  readonly wattHours?: string;
  readonly grid?: string;
  readonly lowCarbon?: string;
  readonly programs?: string;
  readonly neverPause?: true;
}

const NAMES = {
  preset: true,
  for: true,
  classes: true,
  cause: true,
  refuse: true,
  hours: true,
  cpu: true,
  memory: true,
  disk: true,
  download: true,
  upload: true,
  gpu: true,
  presence: true,
  tokensPerSecondMax: true,
  celsiusMax: true,
  wattHours: true,
  grid: true,
  lowCarbon: true,
  programs: true,
  neverPause: true,
} satisfies Record<keyof LendingFlags, true>;

/** Whether any of them was written. */
export const saysSomething = (flags: LendingFlags): boolean =>
  (Object.keys(NAMES) as (keyof LendingFlags)[]).some((name) => flags[name] !== undefined);

const PRESETS: readonly PresetName[] = ['gentle', 'balanced', 'all-night', 'dedicated'];

export const addLendingOptions = (command: Command): Command =>
  command
    .addOption(
      new Option(
        '--preset <name>',
        'how to lend; other options change single figures of it (at first: balanced)',
      ).choices(PRESETS),
    )
    .option('--for <kinds>', 'kinds of work, as in answers,jobs (at first: answers; nobody asks for others yet)')
    .option('--classes <list>', 'what texts it may see: public, internal, confidential (at first: public,internal)')
    .option('--cause <list>', 'work for these causes alone, as in climate,education (at first: any)')
    .option('--refuse <list>', 'never work for these causes (at first: none)')
    .option('--hours <times>', `when, in local time, as in "mon-fri 20:00-07:00; sat-sun" (at first: the preset's)`)
    .option('--cpu <share>', "of the processors, as in 60% (at first: the preset's)")
    .option('--memory <size>', "for models, as in 8GB or 25% (at first: the preset's)")
    .option(
      '--disk <size>',
      "keep at most this much of models on the disk, as in 20GB (at first: the preset's)",
      parseBytes,
    )
    .option('--download <rate>', 'fetch models at no more than this a second, as in 5MB (at first: none, no limit)')
    .option(
      '--upload <rate>',
      "give other devices at most this much a second, as in 5MB; 0 is none (at first: the preset's)",
      parseBytes,
    )
    .addOption(
      new Option(
        '--gpu <when>',
        "when a graphics card may be tried; no model runs on one yet (at first: the preset's)",
      ).choices(['never', 'idle', 'always']),
    )
    .addOption(
      new Option(
        '--presence <how>',
        "whether it works only while nobody uses the machine, or also then (at first: the preset's)",
      ).choices(['respect', 'ignore']),
    )
    .option('--tokens-per-second-max <count>', 'never work faster than this (at first: none, no limit)')
    .option(
      '--celsius-max <degrees>',
      'pause above this temperature, as in 70; none is the ceiling of the preset (at first: none)',
    )
    .option('--watt-hours <amount>', 'work until this much is used up each day, as in 200 (at first: none, no limit)')
    .option(
      '--grid <where>',
      'what its electricity is: a country as in DE, or grams of CO₂ a kWh as in 350 (at first: the world)',
    )
    .option(
      '--low-carbon <times>',
      'work only at these hours of clean electricity, as in "daily 10:00-16:00" (at first: any)',
    )
    .option('--programs <list>', 'pause while one of these programs runs, as in quake,blender (at first: none)')
    .addOption(new Option('--never-pause', 'pause when its lender says so, and for nothing else').hideHelp());

function parseBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes === undefined) throw new InvalidArgumentError('It must be a size as in 20GB.');
  return bytes;
}
