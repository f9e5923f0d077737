import { PRESET_NAMES, hoursText, type PresetName } from '@idlewild/agent';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { addLendingOptions, saysSomething, type LendingFlags } from './commands/lending-options.ts';
import { choiceOfPreset, chosen, presetOptions, saysOwn, settingsOf, withOwn } from './lending-flags.ts';

const MACHINE = { memoryBytes: 16_000_000_000 };
const BALANCED = choiceOfPreset('balanced', MACHINE);

/** As the command line hands them over. */
const flagsOf = (...words: string[]): LendingFlags =>
  addLendingOptions(new Command().exitOverride()).parse(words, { from: 'user' }).opts<LendingFlags>();
const from = (...words: string[]) => chosen(flagsOf(...words), BALANCED, MACHINE);

test.each(PRESET_NAMES)('the command line knows the preset %s, and the screen offers it with a sentence', (name) => {
  expect(flagsOf('--preset', name)).toEqual({ preset: name });
  const offered = presetOptions().find(({ value }) => value === name)?.label ?? '';
  expect(offered).toMatch(/^\w.*\. *$/);
  expect(offered.length).toBeLessThanOrEqual(74);
});

test('each flag changes its own figure and no other', () => {
  expect(from('--for', 'answers,jobs')).toEqual({ ...BALANCED, kinds: ['answers', 'jobs'] });
  expect(from('--classes', 'confidential, public')).toEqual({ ...BALANCED, classes: ['public', 'confidential'] });
  expect(from('--cause', 'climate,protein-folding,climate')).toEqual({
    ...BALANCED,
    causes: ['climate', 'protein-folding'],
  });
  expect(from('--refuse', 'gambling')).toEqual({ ...BALANCED, refused: ['gambling'] });
  expect(from('--cpu', '30%')).toEqual({ ...BALANCED, cpuShareMax: 0.3 });
  expect(from('--memory', '4GB')).toEqual({ ...BALANCED, memoryBytesMax: 4_000_000_000 });
  expect(from('--memory', '25%')).toEqual({ ...BALANCED, memoryBytesMax: 4_000_000_000 });
  expect(from('--disk', '500 MB')).toEqual({ ...BALANCED, diskBytesMax: 500_000_000 });
  expect(from('--download', '5MB')).toEqual({ ...BALANCED, downloadBytesPerSecondMax: 5_000_000 });
  expect(from('--upload', '0')).toEqual({ ...BALANCED, uploadBytesPerSecondMax: 0 });
  expect(from('--gpu', 'never')).toEqual({ ...BALANCED, gpu: 'never' });
  expect(from('--presence', 'ignore')).toEqual({ ...BALANCED, presence: 'ignore' });
  expect(from('--tokens-per-second-max', '2.5')).toEqual({ ...BALANCED, tokensPerSecondMax: 2.5 });
  expect(from('--watt-hours', '200')).toEqual({ ...BALANCED, wattHoursPerDayMax: 200 });
  expect(from('--celsius-max', '70 °C')).toEqual({ ...BALANCED, celsiusMax: 70 });
  const { hours, ...rest } = from('--hours', 'mon-fri 20:00-07:00');
  expect(hours && hoursText(hours)).toBe('mon-fri 20:00-07:00');
  expect({ ...rest, hours: undefined }).toEqual(BALANCED);
});

test('what was agreed stays, and what is taken back is gone', () => {
  const words = ['--hours', 'sat', '--cause', 'climate', '--refuse', 'gambling', '--download', '1MB', '--cpu', '20%'];
  const before = from(...words);
  expect(chosen({}, before, MACHINE)).toEqual(before);
  const after = chosen(flagsOf('--hours', 'always', '--cause', 'any', '--download', 'none'), before, MACHINE);
  expect(after).toMatchObject({ causes: [], refused: ['gambling'], cpuShareMax: 0.2 });
  expect([after.hours, after.downloadBytesPerSecondMax]).toEqual([undefined, undefined]);
});

test("energy is the lender's own: kept beside the preset, changed by its own flags alone, and taken back", () => {
  const plain = settingsOf('balanced', undefined);
  const machine = { ...plain, energy: { machine: 'laptop', fullWatts: 40 } } as const;
  const inGermany = withOwn(flagsOf('--grid', 'de', '--low-carbon', 'daily 10:00-16:00'), machine);
  expect(inGermany).toEqual({
    ...plain,
    place: 'DE',
    energy: { machine: 'laptop', fullWatts: 40, lowCarbon: 'daily 10:00-16:00' },
  });
  const own = withOwn(flagsOf('--grid', '350'), inGermany);
  expect(own).toMatchObject({ energy: { gramsPerKwh: 350, lowCarbon: 'daily 10:00-16:00' } });
  expect(own).not.toHaveProperty('place');
  expect(withOwn(flagsOf('--low-carbon', 'any', '--grid', 'FR'), withOwn(flagsOf('--grid', '1'), plain))).toEqual({
    ...plain,
    place: 'FR',
  });
  expect([saysOwn({}), saysOwn(flagsOf('--grid', 'FR'))]).toEqual([false, true]);
  for (const words of [
    ['--grid', 'France'],
    ['--low-carbon', 'noon'],
  ]) {
    expect(() => withOwn(flagsOf(...words), plain)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
  }
  const capped = from('--watt-hours', '200 Wh');
  expect(chosen(flagsOf('--watt-hours', 'none'), capped, MACHINE).wattHoursPerDayMax).toBeUndefined();
});

test("programs that pause are the lender's own: named, kept with another grid, and taken back", () => {
  const plain = settingsOf('gentle', undefined);
  const named = withOwn(flagsOf('--programs', 'quake, blender,quake'), plain);
  expect(named).toEqual({ ...plain, rules: { programs: ['quake', 'blender'] } });
  expect(withOwn(flagsOf('--grid', 'DE'), named)).toEqual({ ...named, place: 'DE' });
  expect(withOwn(flagsOf('--programs', 'none'), named)).toEqual({ ...plain, rules: { programs: [] } });
  for (const wrong of ['', 'quake,,blender', 'x'.repeat(129), Array.from({ length: 65 }, (_, n) => n).join()]) {
    expect(() => withOwn(flagsOf('--programs', wrong), plain)).toThrow(/--programs takes/);
  }
});

test('another preset takes the place of the figures, not of whom and what it is for', () => {
  const before = from('--hours', 'sat', '--classes', 'public', '--refuse', 'gambling', '--disk', '1GB');
  const after = chosen(flagsOf('--preset', 'dedicated', '--upload', '0'), before, MACHINE);
  const dedicated = choiceOfPreset('dedicated', MACHINE);
  expect(after).toEqual({ ...dedicated, classes: ['public'], refused: ['gambling'], uploadBytesPerSecondMax: 0 });
});

test.each([
  ['--for', 'mining', /--for takes answers, jobs/],
  ['--for', '', /--for takes/],
  ['--classes', 'secret', /--classes takes public/],
  ['--cause', 'World Peace', /--cause takes words such as/],
  ['--hours', 'nights', /no hours of a week/],
  ['--cpu', '0%', /--cpu takes a share/],
  ['--cpu', '101%', /--cpu takes a share/],
  ['--memory', 'much', /--memory takes a size/],
  ['--memory', '17GB', /what this machine has at most/],
  ['--download', '5kB', /100kB or more/],
  ['--watt-hours', '0', /--watt-hours takes an amount/],
  ['--tokens-per-second-max', '0', /takes a number above 0, or none/],
  ['--celsius-max', '20', /from 30 to 110 °C as in 70, or none, and not "20"/],
  ['--celsius-max', '185F', /from 30 to 110 °C/],
])('%s %s is refused with what it takes', (option, text, words) => {
  expect(() => from(option, text)).toThrow(words);
  expect(() => from(option, text)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
});

test('a cause is not worked for and refused at once', () => {
  expect(() => from('--cause', 'climate', '--refuse', 'climate')).toThrow(/climate cannot be/);
});

test('any flag is a choice, and none is none', () => {
  expect(saysSomething({})).toBe(false);
  for (const words of [
    ['--preset', 'gentle'],
    ['--refuse', 'none'],
    ['--upload', '0'],
    ['--gpu', 'never'],
  ]) {
    expect(saysSomething(flagsOf(...words))).toBe(true);
  }
});

test('with another preset the programs that pause and the place stay, and moved lines go', () => {
  const rules = { inputIdleMs: 5_000, programs: ['quake'] };
  const before = { v: 1, preset: 'gentle' as PresetName, rules, place: 'DE' } as const;
  expect(settingsOf('balanced', before)).toEqual({
    v: 1,
    preset: 'balanced',
    rules: { programs: ['quake'] },
    place: 'DE',
  });
  expect(settingsOf('balanced', undefined)).toEqual({ v: 1, preset: 'balanced', rules: {} });
});
