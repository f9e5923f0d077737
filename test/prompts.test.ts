/**
 * What a lender is asked, at a real terminal and with the programs themselves: nothing runs, and nothing is changed or
 * removed, before a yes; a no and Ctrl-C leave everything as it was.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, until, type Child } from './processes/child.ts';
import { KEYS, noTerminal, openTerminal, type Terminal } from './processes/terminal.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-prompts-'));
/** Nothing of the one who runs the tests may show through. */
const env: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: join(folder, 'share') };
const data = join(folder, 'lent');

const why = noTerminal();
if (why !== undefined) process.stderr.write(`${why}: skipping what a lender is asked at a terminal\n`);

let hub: Child<{ url?: string }>;
let token = '';
const open: Terminal[] = [];

function json(...words: string[]): unknown {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...words, '--json'], { env, encoding: 'utf8' });
  expect({ words, status, stderr }).toEqual({ words, status: EXIT.ok, stderr: '' });
  return JSON.parse(stdout);
}
function terminal(words: readonly string[], columns?: number): Terminal {
  const opened = openTerminal([process.execPath, CLI, ...words, '--data', data], env, columns);
  open.push(opened);
  return opened;
}
const joining = (columns?: number): Terminal => terminal(['join', '--token', token, '--name', 'ada'], columns);
/** What there would be if anything had begun. */
const traces = (): unknown => ({ folder: existsSync(data), devices: json('devices', 'list') });
const NONE = { folder: false, devices: [] };
const consent = (): { consent: Record<string, unknown> } =>
  JSON.parse(readFileSync(join(data, 'consent.json'), 'utf8')) as { consent: Record<string, unknown> };

describe.skipIf(why !== undefined)('at a terminal', () => {
  beforeAll(async () => {
    hub = startChild(CLI, ['up', '--port', '0', '--json', '--stop-with-stdin'], env);
    await hub.line(() => true, 'idlewild up');
    ({ token } = json('invite') as { token: string });
  });

  afterAll(async () => {
    for (const each of open) each.kill();
    await Promise.all(open.map(({ ended }) => ended));
    await hub.kill();
    rmSync(folder, { recursive: true, force: true });
  });

  test('before a choice and before a yes nothing runs and nothing is kept; Ctrl-C at either leaves it so', async () => {
    const early = joining();
    await early.shows(/How do you want to lend this machine\?[\s\S]*Enter/);
    early.press(KEYS.ctrlC);
    expect(await early.ended).toBe(EXIT.refused);
    expect(early.shown()).toContain('nothing was started');
    const late = joining();
    await late.shows(/Enter: confirm/);
    late.press(KEYS.enter);
    await late.shows(/Do you agree\?[\s\S]*yes \/ /);
    expect(traces()).toEqual(NONE);
    late.press(KEYS.ctrlC);
    expect(await late.ended).toBe(EXIT.refused);
    expect(late.shown()).toContain('nothing was started');
    expect(traces()).toEqual(NONE);
  });

  test.each([
    ['Gentle', KEYS.up, /up to 30 %/],
    ['Balanced', '', /up to 60 %/],
    ['All night', KEYS.down, /22:00-07:00/],
    ['Dedicated', KEYS.down + KEYS.down, /also while somebody\s+uses the machine/],
  ])('%s is shown with all that it means, and Enter alone is a no', async (title, keys, meaning) => {
    const asked = joining();
    await asked.shows(/Enter: confirm/);
    asked.press(keys + KEYS.enter);
    await asked.shows(/Do you agree\?[\s\S]*yes \/ /);
    expect(asked.shown()).toMatch(new RegExp(`Like +${title}`));
    expect(asked.shown()).toMatch(meaning);
    asked.press(KEYS.enter);
    expect(await asked.ended).toBe(EXIT.refused);
    expect(traces()).toEqual(NONE);
  });

  test('on a narrow terminal no line is wider, and what goes on below stands in its column', async () => {
    const asked = joining(40);
    await asked.shows(/Enter: confirm/);
    asked.press(KEYS.enter);
    await asked.shows(/Do you agree\?[\s\S]*yes \/ /);
    const lines = asked.shown().split('\n');
    const box = lines.slice(
      lines.findIndex((line) => line.includes('Lend this machine ─')),
      lines.findIndex((line) => line.includes('╯')),
    );
    expect(box.filter((line) => line.length > 40)).toEqual([]);
    expect(box.join('\n')).toMatch(/│ {2}For {4}answering prompts and +│\n│ {9}reading texts with the +│\n│ {9}models/);
    asked.press('n');
    expect(await asked.ended).toBe(EXIT.refused);
    expect(traces()).toEqual(NONE);
  });

  test('a yes lends it; p pauses and resumes it; Ctrl-C takes it back, and says how it goes on', async () => {
    const lent = joining();
    await lent.shows(/Enter: confirm/);
    lent.press(KEYS.down + KEYS.down + KEYS.enter);
    await lent.shows(/Do you agree\?[\s\S]*yes \/ /);
    lent.press('y');
    await lent.shows(/ada {2}ready/);
    expect(json('devices', 'list')).toMatchObject([{ name: 'ada', state: 'ready' }]);
    lent.press('p');
    await lent.shows(/ada {2}paused · its lender paused it/);
    lent.press('p');
    await lent.shows(/ada {2}ready/);
    lent.press(KEYS.ctrlC);
    expect(await lent.ended).toBe(EXIT.ok);
    expect(lent.shown()).toMatch(/the lending has ended; `.*idlewild join --data .*` goes on with what was agreed/);
    expect(consent().consent).toMatchObject({ presence: 'ignore', cpuShareMax: 1 });
  });

  test('a watch is ended by Ctrl-C, as a command that stays and was told to stop', async () => {
    const lent = startChild(CLI, ['join', '--data', data, '--json', '--stop-with-stdin'], env);
    await lent.line(() => true, 'joining again');
    const watch = terminal(['lending', 'status', '--watch'], 60);
    await watch.shows(/device +ada .*[\s\S]*now +nothing: nobody asks/);
    watch.press(KEYS.ctrlC);
    expect(await watch.ended).toBe(EXIT.ok);
    expect(watch.shown()).not.toContain('the device has ended');
    await lent.stop();
  });

  test('what lends more is asked with what it is: a no and Ctrl-C change nothing, a yes does', async () => {
    const signed = consent();
    for (const no of ['n', KEYS.ctrlC]) {
      const asked = terminal(['lending', 'limits', '--disk', '30GB']);
      await asked.shows(/lends more than you agreed to \(more disk\)[\s\S]*yes \/ /);
      asked.press(no);
      expect(await asked.ended).toBe(EXIT.refused);
      expect(asked.shown()).toContain('nothing was changed');
      expect(consent()).toEqual(signed);
    }
    const agreed = terminal(['lending', 'limits', '--disk', '30GB']);
    await agreed.shows(/\(more disk\)[\s\S]*yes \/ /);
    agreed.press('y');
    expect(await agreed.ended).toBe(EXIT.ok);
    expect(consent().consent).toMatchObject({ diskBytesMax: 30_000_000_000, cpuShareMax: 1 });
  });

  test('leaving is asked: a no and Ctrl-C remove nothing, a yes removes everything but a receipt', async () => {
    const before = readdirSync(data).sort();
    for (const no of ['n', KEYS.ctrlC]) {
      const asked = terminal(['lending', 'leave']);
      await asked.shows(/Leave\?[\s\S]*yes \/ /);
      asked.press(no);
      expect(await asked.ended).toBe(EXIT.refused);
      expect(asked.shown()).toContain('nothing was removed');
      expect(readdirSync(data).sort()).toEqual(before);
    }
    const left = terminal(['lending', 'leave']);
    await left.shows(/Leave\?[\s\S]*yes \/ /);
    left.press('y');
    expect(await left.ended).toBe(EXIT.ok);
    expect(readdirSync(data)).toEqual([expect.stringMatching(/^left-.*\.json$/)]);
    await until(() => (json('devices', 'list') as unknown[]).length === 0, 'the hub has no device any more');
  });
});
