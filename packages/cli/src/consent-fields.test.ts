/**
 * Claims about every field of a consent, walked over the schema that is signed, so that a new one cannot be forgotten:
 * an option sets it, in `join` and in `lending limits` alike; the screen and `lending limits` show it; docs name it.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { consentChangeSchema } from '@idlewild/agent';
import { openDataFolder } from '@idlewild/agent/node';
import { CONSENT_FIELDS } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { Command } from 'commander';
import { expect, onTestFinished, test } from 'vitest';
import { addLendingOptions, type LendingFlags } from './commands/lending-options.ts';
import { consentLines } from './consent-screen.ts';
import { choiceOfPreset, chosen } from './lending-flags.ts';
import { limits } from './lending/limits.ts';
import { createProgram } from './program.ts';

/** Not chosen by options: who the device is, which community it joined, and when it was signed. */
const NOT_CHOSEN = ['device', 'territories', 'issuedAtMs'] as const;
type Chosen = Exclude<keyof typeof CONSENT_FIELDS, (typeof NOT_CHOSEN)[number]>;

/** For each field an option, a word that sets it, and the word that takes it back where it can be taken back. */
const OPTIONS: Readonly<Record<Chosen, readonly [option: string, word: string, back?: string]>> = {
  kinds: ['--for', 'answers,training'],
  presence: ['--presence', 'ignore'],
  classes: ['--classes', 'public'],
  causes: ['--cause', 'climate', 'any'],
  refused: ['--refuse', 'gambling', 'none'],
  hours: ['--hours', 'sat 10:00-12:00', 'always'],
  tokensPerSecondMax: ['--tokens-per-second-max', '7', 'none'],
  diskBytesMax: ['--disk', '3GB'],
  uploadBytesPerSecondMax: ['--upload', '0'],
  cpuShareMax: ['--cpu', '20%'],
  memoryBytesMax: ['--memory', '1GB'],
  downloadBytesPerSecondMax: ['--download', '2MB', 'none'],
  gpu: ['--gpu', 'always'],
  celsiusMax: ['--celsius-max', '66', 'none'],
  wattHoursPerDayMax: ['--watt-hours', '150', 'none'],
};
const FIELDS = Object.keys(CONSENT_FIELDS).filter((field) => !NOT_CHOSEN.some((not) => not === field)) as Chosen[];

const MACHINE = { memoryBytes: 16_000_000_000 };
const BALANCED = choiceOfPreset('balanced', MACHINE);
const flagsOf = (...words: string[]): LendingFlags =>
  addLendingOptions(new Command().exitOverride()).parse(words, { from: 'user' }).opts<LendingFlags>();
const doc = (name: string): string => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');

test('every field of a consent has an option here, and a change may name it', () => {
  expect([...FIELDS].sort()).toEqual(Object.keys(OPTIONS).sort());
  expect([...FIELDS].sort()).toEqual(Object.keys(consentChangeSchema.shape).sort());
});

test('`join` and `lending limits` take the same options of lending', () => {
  const find = (command: Command, name: string): Command => {
    const found = command.commands.find((each) => each.name() === name);
    if (found === undefined) throw new Error(`there is no command ${name}`);
    return found;
  };
  const program = createProgram();
  for (const command of [find(program, 'join'), find(find(program, 'lending'), 'limits')]) {
    const taken = command.options.map(({ long }) => long);
    expect(taken).toEqual(expect.arrayContaining(FIELDS.map((field) => OPTIONS[field][0])));
  }
});

const screen = async (choice: typeof BALANCED): Promise<string> =>
  (
    await consentLines({
      address: 'https://hub',
      invite: undefined,
      name: 'kettle',
      data: '/d',
      choice,
      preset: undefined,
    })
  ).join('\n');

test.each(FIELDS)(
  '%s is set by its option alone, told on the screen that asks, and named by the docs',
  async (field) => {
    const [option, word] = OPTIONS[field];
    const choice = chosen(flagsOf(option, word), BALANCED, MACHINE);
    expect({ ...choice, [field]: BALANCED[field] }).toEqual({ ...BALANCED, [field]: BALANCED[field] });
    expect(choice[field]).not.toEqual(BALANCED[field]);
    expect(await screen(choice)).not.toBe(await screen(BALANCED));
    expect(doc('cli.md')).toContain(`\`${option} `);
    const row = doc('lending.md')
      .split('\n')
      .find((line) => line.startsWith(`| \`${field}\` `));
    expect(row, `${field} in the table of docs/lending.md`).toContain(`\`${option}\``);
  },
);

interface Shown {
  readonly json: Readonly<Record<string, unknown>>;
  readonly text: string;
}

/** What `lending limits` does and shows in a folder whose device does not run. */
async function createFolder(): Promise<(...words: string[]) => Promise<Shown>> {
  const data = mkdtempSync(join(tmpdir(), 'idlewild-lender-'));
  onTestFinished(() => rmSync(data, { recursive: true }));
  const folder = await openDataFolder(data, { clock: systemClock, random: nodeRandom, crypto: nodeCrypto });
  await folder.saveSettings({
    url: 'http://127.0.0.1:9',
    territory: new Uint8Array(32),
    name: 'kettle',
    enrolled: true,
  });
  await folder.giveConsent({ ...BALANCED, territories: [new Uint8Array(32)] });
  folder.close();
  expect(existsSync(join(data, 'consent.json'))).toBe(true);
  return async (...words) => {
    let shown: Shown = { json: {}, text: '' };
    const context = {
      json: true,
      note: () => undefined,
      show(value: unknown, lines: () => readonly string[]) {
        shown = { json: value as Shown['json'], text: lines().join('\n') };
      },
    };
    await limits(context, { data, flags: flagsOf(...words), yes: true });
    return shown;
  };
}

test.each(FIELDS)('%s is changed, shown and taken back by `lending limits`', async (field) => {
  const [option, word, back] = OPTIONS[field];
  const run = await createFolder();
  const before = await run();
  const after = await run(option, word);
  expect(after.json).toHaveProperty(field);
  expect(after.json[field]).not.toEqual(before.json[field]);
  const other = (shown: Shown): unknown => ({ ...shown.json, [field]: 0, issuedAt: 0 });
  expect(other(after)).toEqual(other(before));
  expect(after.text.replace(/agreed.*/, '')).not.toBe(before.text.replace(/agreed.*/, ''));
  if (back === undefined) return;
  const again = await run(option, back);
  expect(again.json[field]).toEqual(before.json[field]);
  expect(again.text.replace(/agreed.*/, '')).toBe(before.text.replace(/agreed.*/, ''));
});

test("what is the lender's own is shown beside it", async () => {
  const run = await createFolder();
  const { json, text } = await run('--programs', 'quake, blender', '--grid', 'DE', '--low-carbon', 'daily 10:00-16:00');
  expect(json.settings).toEqual({
    v: 1,
    preset: 'balanced',
    rules: { programs: ['quake', 'blender'] },
    place: 'DE',
    energy: { lowCarbon: 'daily 10:00-16:00' },
  });
  expect(text).toMatch(/programs +pauses while one of these runs: quake, blender\ngrid +DE\nclean +daily 10:00-16:00/);
  expect((await run('--programs', 'none')).text).not.toContain('quake');
});
