/**
 * docs/stewards.md is a walk that works: every command of it is run in its order, on the machine that it names, by a
 * shell that knows nothing but `idlewild`. Files that it shows are written first. An id with an ellipsis is the last of
 * its kind that was printed.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startChild, type Child } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';

const root = dirname(import.meta.dirname);
const CLI = join(root, 'packages/cli/bin/idlewild.mjs');
const WALK = readFileSync(join(root, 'docs/stewards.md'), 'utf8');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-stewards-'));
const place = join(folder, 'place');

type Line = Readonly<Record<string, unknown>>;
const staying: Child<Line>[] = [];
/** By the letters before the underscore. */
const seen = new Map<string, string>();

const envOf = (who: string): NodeJS.ProcessEnv => ({
  PATH: `${join(folder, 'bin')}:${dirname(process.execPath)}:/usr/bin:/bin`,
  HOME: join(folder, who),
  XDG_DATA_HOME: join(folder, who, 'share'),
  XDG_CONFIG_HOME: join(folder, who, 'config'),
});

interface Step {
  readonly who: string;
  readonly command: string;
  readonly isRefused: boolean;
}

interface Block {
  readonly language: string;
  readonly name: string;
  readonly text: string;
}
const blocks: Block[] = [...WALK.matchAll(/^```(\w+)(?: (\S+))?\n([\s\S]*?)^```$/gm)].map(
  ([, language = '', name = '', text = '']) => ({ language, name, text }),
);
const steps: Step[] = blocks
  .filter(({ language }) => language === 'sh')
  .flatMap(({ name, text }) =>
    text
      .trim()
      .split('\n')
      .map((line) => ({
        who: name === '' ? 'steward' : name,
        command: line.replace(/\s+# .*$/, ''),
        isRefused: / {2,}# refused: /.test(line),
      })),
  );

function remember({ out, err }: Ran): void {
  for (const [text, kind = ''] of `${out}\n${err}`.matchAll(/\b([a-z]{2,4})_[a-z2-7]{26,}\b/g)) seen.set(kind, text);
}
const filled = (command: string): string =>
  command
    .replaceAll(/\b([a-z]{2,4})_…/g, (text, kind: string) => seen.get(kind) ?? text)
    .replaceAll('https://hub.example', url);

let url = '';
const run = (who: string, command: string): Promise<Ran> =>
  runProgram('/bin/sh', ['-c', `cd '${place}' && ${command}`], { env: envOf(who) });

beforeAll(async () => {
  mkdirSync(join(folder, 'bin'));
  mkdirSync(place);
  symlinkSync(CLI, join(folder, 'bin/idlewild'));
  mkdirSync(join(place, 'models'));
  symlinkSync(join(root, 'models/jacobean'), join(place, 'models/jacobean'));
  for (const { language, name, text } of blocks) {
    if (language !== 'sh' && name !== '') writeFileSync(join(place, name), text);
  }
  const hub = startChild<Line>(CLI, ['up', '--port', '0', '--json', '--stop-with-stdin'], envOf('steward'));
  staying.push(hub);
  url = String((await hub.line(() => true, 'idlewild up')).url);
});
afterAll(async () => {
  for (const child of staying.toReversed()) await child.kill();
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** The lender does what the document says in words: joins with the invite, on a machine of Ada's. */
async function lend(token: string): Promise<void> {
  const words = ['join', url, '--token', token, '--yes', '--name', 'ada-laptop', '--presence', 'ignore'];
  const device = startChild<Line>(
    CLI,
    [...words, '--classes', 'public,internal,confidential', '--json', '--stop-with-stdin'],
    envOf('ada'),
  );
  staying.push(device);
  const isWarm = (line: Line): boolean => (line.models as { state: string }[]).some(({ state }) => state === 'warm');
  await device.line(isWarm, 'idlewild join');
}

test('the walk has commands for each of its chapters', () => {
  expect(steps.length).toBeGreaterThan(30);
  expect(
    WALK.split(/^## /m)
      .slice(1)
      .every((chapter) => chapter.includes('```sh')),
  ).toBe(true);
});

test('every command of the walk does what it says', async () => {
  for (const { who, command, isRefused } of steps) {
    const ran = await run(who, filled(command));
    const said = `${ran.out}\n${ran.err}`;
    expect({ command, isRefused: ran.code !== 0, said }).toEqual({ command, isRefused, said });
    remember(ran);
    const token = /iwj1\.\S+/.exec(said)?.[0];
    if (token !== undefined) await lend(token);
  }
});
