/**
 * What a lender says on the command line about what is lent, and what that makes of what was chosen before: a preset,
 * or the consent that this device has. A flag changes its own figure and leaves the others.
 */
import {
  IDLENESS_LIMITS,
  PRESETS,
  PRESET_NAMES,
  consentOfPreset,
  openConsent,
  parseGrid,
  parseHours,
  type LendingSettings,
  type PresetName,
} from '@idlewild/agent';
import type { LenderChoice } from '@idlewild/agent/node';
import {
  CONSENT_UNSAID,
  DATA_CLASSES,
  IdlewildError,
  LIMITS,
  WORK_KINDS,
  causeSchema,
  type Crypto,
  type KeyPair,
} from '@idlewild/protocol';
import type { LendingFlags } from './commands/lending-options.ts';
import { parseSize } from './text/size.ts';

/** A first lending: the preset, for answers. */
export const choiceOfPreset = (preset: PresetName, machine: { readonly memoryBytes: number }): LenderChoice => ({
  kinds: ['answers'],
  ...CONSENT_UNSAID,
  ...consentOfPreset(preset, machine),
});

/** What was agreed to before, without whom it was for. */
export async function choiceOfConsent(signed: Uint8Array, identity: KeyPair, crypto: Crypto): Promise<LenderChoice> {
  const consent = await openConsent(signed, identity.publicKey, crypto);
  const { v: _version, device: _device, territories: _territories, issuedAtMs: _issuedAtMs, ...choice } = consent;
  return choice;
}

/** `base` with what the flags say in place of it. Throws `usage` for what cannot be read. */
export function chosen(
  flags: LendingFlags,
  base: LenderChoice,
  machine: { readonly memoryBytes: number },
): LenderChoice {
  const { preset, presence, gpu, disk: diskBytesMax, upload: uploadBytesPerSecondMax } = flags;
  const read = <Value>(text: string | undefined, how: (text: string) => Value): Value | undefined =>
    text === undefined ? undefined : how(text);
  const changes: { [Field in keyof LenderChoice]?: LenderChoice[Field] | undefined } = {
    kinds: read(flags.for, (text) => wordsOf('--for', text, WORK_KINDS)),
    classes: read(flags.classes, (text) => wordsOf('--classes', text, DATA_CLASSES)),
    causes: read(flags.cause, (text) => causesOf('--cause', text, 'any')),
    refused: read(flags.refuse, (text) => causesOf('--refuse', text, 'none')),
    cpuShareMax: read(flags.cpu, (text) => shareOf('--cpu', text)),
    memoryBytesMax: read(flags.memory, (text) => memoryOf(text, machine.memoryBytes)),
    presence,
    gpu,
    diskBytesMax,
    uploadBytesPerSecondMax,
  };
  const said = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const choice: LenderChoice = {
    ...base,
    ...(preset === undefined ? {} : consentOfPreset(preset, machine)),
    ...said,
    ...(flags.hours === undefined ? {} : { hours: flags.hours === 'always' ? undefined : parseHours(flags.hours) }),
    ...(flags.download === undefined ? {} : { downloadBytesPerSecondMax: downloadOf(flags.download) }),
    ...(flags.tokensPerSecondMax === undefined ? {} : { tokensPerSecondMax: tokensOf(flags.tokensPerSecondMax) }),
    ...(flags.celsiusMax === undefined ? {} : { celsiusMax: celsiusOf(flags.celsiusMax) }),
    ...(flags.wattHours === undefined ? {} : { wattHoursPerDayMax: wattHoursOf(flags.wattHours) }),
  };
  refuseContradiction(choice);
  return choice;
}

/** The settings to keep with a preset: lines are its own; which programs pause stays, and what the machine is. */
export const settingsOf = (preset: PresetName, before: LendingSettings | undefined): LendingSettings => ({
  ...before,
  v: 1,
  preset,
  rules: before?.rules.programs === undefined ? {} : { programs: before.rules.programs },
});

/** The settings to keep after what the flags say; absent where they say nothing of them. Throws as `withOwn` does. */
export function settingsAfter(flags: LendingFlags, before: LendingSettings | undefined): LendingSettings | undefined {
  const { preset } = flags;
  const said = preset === undefined ? undefined : settingsOf(preset, before);
  return saysOwn(flags) ? withOwn(flags, said ?? before ?? settingsOf('balanced', before)) : said;
}

/** Whether the flags say anything of what is the lender's own business: the machine's electricity, and its programs. */
export const saysOwn = ({ grid, lowCarbon, programs }: LendingFlags): boolean =>
  [grid, lowCarbon, programs].some((said) => said !== undefined);

/** The settings with what the flags say in place of it. Throws `usage` for what cannot be read. */
export const withOwn = (flags: LendingFlags, settings: LendingSettings): LendingSettings =>
  withPrograms(flags, withEnergy(flags, settings));

function withPrograms({ programs }: LendingFlags, settings: LendingSettings): LendingSettings {
  if (programs === undefined) return settings;
  const { programsMax, programCharactersMax } = IDLENESS_LIMITS;
  const names = programs === 'none' ? [] : [...new Set(programs.split(',').map((name) => name.trim()))];
  if (names.length > programsMax) throw usage(`--programs takes ${programsMax} programs at most`);
  if (names.some((name) => name === '' || name.length > programCharactersMax)) {
    throw usage(`--programs takes names as in quake,blender, or none, and not "${programs.slice(0, 128)}"`);
  }
  return { ...settings, rules: { ...settings.rules, programs: names } };
}

/** A country takes the place of the lender's own grams, and they of it. */
function withEnergy({ grid, lowCarbon }: LendingFlags, settings: LendingSettings): LendingSettings {
  const {
    place: placeBefore,
    energy: { gramsPerKwh: gramsBefore, lowCarbon: hoursBefore, ...machine } = {},
    ...rest
  } = settings;
  const { place, gramsPerKwh } =
    grid === undefined ? { place: placeBefore, gramsPerKwh: gramsBefore } : parseGrid(grid);
  // It is kept as it was written, once it can be read.
  if (lowCarbon !== undefined && lowCarbon !== 'any') parseHours(lowCarbon);
  const hours = lowCarbon === undefined ? hoursBefore : lowCarbon === 'any' ? undefined : lowCarbon;
  const energy = {
    ...machine,
    ...(gramsPerKwh === undefined ? {} : { gramsPerKwh }),
    ...(hours === undefined ? {} : { lowCarbon: hours }),
  };
  return {
    ...rest,
    ...(place === undefined ? {} : { place }),
    ...(Object.keys(energy).length === 0 ? {} : { energy }),
  };
}

export const presetOptions = (): { value: PresetName; label: string }[] =>
  PRESET_NAMES.map((value) => ({ value, label: `${PRESETS[value].title.padEnd(11)}${PRESETS[value].sentence}` }));

function refuseContradiction({ causes = [], refused = [] }: LenderChoice): void {
  const both = causes.filter((cause) => refused.includes(cause));
  if (both.length > 0) throw usage(`${both.join(', ')} cannot be a cause that is worked for and one that is refused`);
}

function wordsOf<Word extends string>(option: string, text: string, words: readonly Word[]): Word[] {
  const said = listOf(text);
  const unknown = said.find((word) => !words.some((known) => known === word));
  if (said.length === 0 || unknown !== undefined) {
    throw usage(`${option} takes ${words.join(', ')}, several joined by commas, and not "${unknown ?? text}"`);
  }
  return words.filter((word) => said.includes(word));
}

function causesOf(option: string, text: string, nothing: string): string[] {
  if (text === nothing) return [];
  const causes = [...new Set(listOf(text))];
  const wrong = causes.find((cause) => !causeSchema.safeParse(cause).success);
  if (causes.length === 0 || wrong !== undefined) {
    throw usage(`${option} takes words such as climate or protein-folding, or ${nothing}, and not "${wrong ?? text}"`);
  }
  if (causes.length > LIMITS.causesMax) throw usage(`${option} takes ${LIMITS.causesMax} causes at most`);
  return causes;
}

const listOf = (text: string): string[] =>
  text
    .split(',')
    .map((word) => word.trim().toLowerCase())
    .filter((word) => word !== '');

/** `60%` or `60`. */
function shareOf(option: string, text: string): number {
  const [, digits = ''] = /^(\d{1,3}(?:\.\d+)?) ?%?$/.exec(text.trim()) ?? [];
  const percent = digits === '' ? Number.NaN : Number(digits);
  if (!(percent > 0 && percent <= 100)) throw usage(`${option} takes a share as in 60%, and not "${text}"`);
  return percent / 100;
}

/** `8GB` or `25%`. */
function memoryOf(text: string, memoryBytes: number): number {
  const bytes = text.includes('%') ? Math.floor(shareOf('--memory', text) * memoryBytes) : parseSize(text);
  if (bytes === undefined || bytes === 0) throw usage(`--memory takes a size as in 8GB or 25%, and not "${text}"`);
  if (bytes > memoryBytes) throw usage(`--memory takes what this machine has at most, which is ${memoryBytes} bytes`);
  return bytes;
}

function downloadOf(text: string): number | undefined {
  if (text === 'none') return undefined;
  const bytes = parseSize(text);
  if (bytes === undefined || bytes < LIMITS.downloadBytesPerSecondMin) {
    throw usage(
      `--download takes a rate of 100kB or more a second, as in 5MB, or none for no limit, and not "${text}"`,
    );
  }
  return bytes;
}

/** A figure, with its unit after it or not; `none` takes the limit away. */
function figureOf(text: string, unit: string, is: (figure: number) => boolean, takes: string): number | undefined {
  if (text === 'none') return undefined;
  const [, digits] = new RegExp(`^(\\d+(?:\\.\\d+)?) ?(?:${unit})?$`, 'i').exec(text.trim()) ?? [];
  const figure = Number(digits ?? Number.NaN);
  if (!is(figure)) throw usage(`${takes}, and not "${text}"`);
  return figure;
}

const tokensOf = (text: string): number | undefined =>
  figureOf(text, 'tokens/s', isAmount, '--tokens-per-second-max takes a number above 0, or none for no limit');

const wattHoursOf = (text: string): number | undefined =>
  figureOf(text, 'Wh', isAmount, '--watt-hours takes an amount a day as in 200, or none for no limit');

function celsiusOf(text: string): number | undefined {
  const { celsiusMin, celsiusMax } = IDLENESS_LIMITS;
  const isOne = (celsius: number): boolean => celsius >= celsiusMin && celsius <= celsiusMax;
  const takes = `--celsius-max takes a temperature from ${celsiusMin} to ${celsiusMax} °C as in 70, or none`;
  return figureOf(text, '°?C', isOne, takes);
}

const isAmount = (figure: number): boolean => figure > 0 && Number.isFinite(figure);

const usage = (message: string): IdlewildError => new IdlewildError('usage', message);
