/**
 * A lender's commands with the programs themselves: a hub, a device and a model, each an `idlewild` process. Of the
 * disk at the end nothing is taken on trust: it is listed.
 */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { startChild, until, type Child } from './processes/child.ts';
import { runProgram, type Ran } from './processes/program.ts';
import { MODEL, MODEL_FOLDER } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const folder = mkdtempSync(join(tmpdir(), 'idlewild-lending-'));
/** Nothing of the one who runs the tests may show through. */
const env: NodeJS.ProcessEnv = { PATH: process.env.PATH, HOME: folder, XDG_DATA_HOME: join(folder, 'share') };
const data = join(folder, 'lent');

type Line = Readonly<Record<string, unknown>>;
interface Status extends Line {
  readonly runs: boolean;
  readonly state: string;
  readonly running: readonly Line[];
  readonly pauses: readonly { readonly name: string }[];
  readonly paused?: { readonly sinceMs: number; readonly untilMs?: number } | null;
  readonly consent: Line;
}

const staying: Child<Line>[] = [];
let hub: Child<Line>;
let device: Child<Line>;

const call = (words: readonly string[]): Promise<Ran> => runProgram(process.execPath, [CLI, ...words], { env });

/** What a script reads: the JSON of a call that did what it was told. */
async function json(words: readonly string[]): Promise<unknown> {
  const { code, out, err } = await call([...words, '--json']);
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out);
}
const lending = (...words: string[]): Promise<unknown> => json(['lending', ...words, '--data', data]);
const status = async (): Promise<Status> => (await lending('status')) as Status;

function stay(words: readonly string[]): Child<Line> {
  const child = startChild<Line>(CLI, [...words, '--json', '--stop-with-stdin'], env);
  staying.push(child);
  return child;
}
const isWarm = (line: Line): boolean => (line.models as { state: string }[]).some(({ state }) => state === 'warm');
const lendAgain = async (): Promise<void> => {
  device = stay(['join', '--data', data]);
  await device.line(({ deviceId }) => typeof deviceId === 'string', 'joining again');
};

beforeAll(async () => {
  hub = stay(['up', '--port', '0']);
  const { url } = await hub.line(() => true, 'idlewild up');
  await json(['models', 'add', MODEL_FOLDER]);
  const { token } = (await json(['invite'])) as { token: string };
  // Slow enough that whoever looks sees an answer under way.
  const consent = ['--yes', '--presence', 'ignore', '--cpu', '60%', '--tokens-per-second-max', '20'];
  device = stay(['join', String(url), '--token', token, '--name', 'ada', '--data', data, ...consent]);
  await device.line(isWarm, 'idlewild join');
});

afterAll(async () => {
  await Promise.all(staying.map((child) => child.kill()));
  rmSync(folder, { recursive: true, force: true });
});

test('status says what runs, and nothing where nothing does', async () => {
  expect(await status()).toMatchObject({
    runs: true,
    name: 'ada',
    community: 'home',
    running: [],
    consent: { kinds: ['answers'], presence: 'ignore', cpuShareMax: 0.6 },
    preset: 'balanced',
    today: { pauses: [] },
  });
  const asked = json(['chat', '--max-tokens', '60', 'What news of the king?']);
  await until(async () => (await status()).running.length === 1, 'the answer is in the status');
  expect(await asked).toMatchObject({ idlewild: { devices: ['ada'] } });
  const told = await call(['lending', 'status', '--data', data]);
  expect(told.out).toMatch(/^device {5}ada \(dev_/);
  expect(told.out).toMatch(new RegExp(`^models {5}${MODEL} \\(bafy`, 'm'));
  expect(told.out).toMatch(/^now {8}nothing/m);
});

test('limits: narrower is taken up at once and no answer is lost; wider needs a yes', async () => {
  const asked = json(['chat', '--max-tokens', '60', '--seed', '3', 'What news of the king?']);
  await until(async () => (await status()).running.length === 1, 'the answer is in the status');
  const from = device.lines.length;
  expect(await lending('limits', '--cpu', '40%', '--refuse', 'gambling')).toMatchObject({
    cpuShareMax: 0.4,
    refused: ['gambling'],
  });
  const { idlewild, usage } = (await asked) as { idlewild: Line; usage: Line };
  expect({ idlewild, usage }).toMatchObject({ idlewild: { exact: true }, usage: { completion_tokens: 60 } });
  await device.line((line) => line.state === 'ready' && isWarm(line), 'ready again', { from });
  expect((await status()).consent).toMatchObject({ cpuShareMax: 0.4, presence: 'ignore' });
  const unasked = await call(['lending', 'limits', '--cpu', '80%', '--data', data, '--json']);
  expect(unasked).toMatchObject({ code: EXIT.usage, out: '' });
  expect(JSON.parse(unasked.err)).toMatchObject({
    error: { message: expect.stringContaining('(more processors)') as string },
  });
  expect((await status()).consent).toMatchObject({ cpuShareMax: 0.4 });
  expect(await lending('limits', '--cpu', '50%', '--yes')).toMatchObject({ cpuShareMax: 0.5 });
  await until(async () => (await status()).consent.cpuShareMax === 0.5, 'the wider consent holds');
});

test('a pause for a time is the one of the key and the signal, and outlives a kill -9', async () => {
  const { until: end } = (await lending('pause', '--for', '2h')) as { until: string };
  expect(Math.abs(Date.parse(end) - Date.now() - 7_200_000)).toBeLessThan(60_000);
  expect(await status()).toMatchObject({ state: 'paused', pauses: [{ name: 'lender' }] });
  await device.kill();
  const resting = await call(['lending', 'status', '--data', data, '--json']);
  expect(resting.code).toBe(EXIT.notNow);
  expect(JSON.parse(resting.err)).toMatchObject({ error: { code: 'not_running' } });
  expect(JSON.parse(resting.out)).toMatchObject({ runs: false, consent: { cpuShareMax: 0.5 } });
  await lendAgain();
  const again = await status();
  expect(again.state).toBe('paused');
  expect(again.paused?.untilMs).toBe(Date.parse(end));
  const from = device.lines.length;
  process.kill(device.pid, 'SIGUSR2');
  await device.line(({ state }) => state === 'ready', 'resumed by the signal', { from });
  expect((await status()).pauses).toEqual([]);
  process.kill(device.pid, 'SIGUSR2');
  await until(async () => (await status()).state === 'paused', 'paused by the signal');
  expect(await lending('resume')).toEqual({ paused: false, until: null, running: true });
  expect((await status()).pauses).toEqual([]);
});

test('a watch shows each change and ends with the device', async () => {
  const watching = startChild<Status>(CLI, ['lending', 'status', '--watch', '--json', '--data', data], env);
  await watching.line(({ state }) => state === 'ready', 'the first status');
  await lending('pause');
  await watching.line(({ state }) => state === 'paused', 'the pause');
  await lending('resume');
  await watching.line(({ state }) => state === 'ready', 'the end of the pause', { from: 2 });
  await json(['chat', '--max-tokens', '8', 'What news of the king?']);
  await device.stop();
  expect((await watching.ended).code).toBe(EXIT.ok);
});

test('the history outlives the device: what was done, and why it was paused', async () => {
  const history = (await lending('history', '--days', '2')) as { work: Line[]; pauses: Line[] }[];
  const work = history.flatMap((day) => day.work);
  expect(work.reduce((sum, { answers }) => sum + Number(answers), 0)).toBeGreaterThanOrEqual(1);
  expect(history.flatMap((day) => day.pauses)).toContainEqual(expect.objectContaining({ pause: 'lender' }));
  expect((await call(['lending', 'history', '--data', data])).out).toMatch(/^DAY .*COMMUNITY.*\n20/);
});

test('a device at rest is paused and changed for the next time', async () => {
  expect(await lending('pause')).toMatchObject({ running: false });
  // A day that is not today anywhere.
  const day = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'][(new Date().getDay() + 3) % 7] ?? '';
  const hours = `${day} 10:00-12:00`;
  expect(await lending('limits', '--cpu', '30%', '--hours', hours)).toMatchObject({ cpuShareMax: 0.3, hours });
  expect((await call(['lending', 'limits', '--cpu', '30%', '--data', data])).err).toContain('agreed so already');
  await lendAgain();
  expect(await status()).toMatchObject({ state: 'paused', consent: { cpuShareMax: 0.3 } });
  const resumed = await call(['lending', 'resume', '--data', data]);
  expect(resumed.out).toMatch(/^resumed\nstill paused, by hours: it is outside the hours that are lent; .* days\n$/);
  const again = await call(['lending', 'resume', '--data', data]);
  expect(again.out).toMatch(/^its lender had not paused it\nstill paused, by hours:/);
});

test('leave leaves an empty disk: one receipt, and the hub has written it down', async () => {
  const told = await call(['lending', 'leave', '--data', data, '--json']);
  expect(told).toMatchObject({ code: EXIT.usage, out: '' });
  expect(existsSync(join(data, 'device.key'))).toBe(true);
  const report = (await lending('leave', '--yes')) as { receipt: string; leftAlone: string[]; acknowledged: boolean };
  expect(report).toMatchObject({ acknowledged: true, leftAlone: [] });
  expect(await device.ended).toEqual({ code: EXIT.ok, signal: null });
  expect(readdirSync(data).map((name) => join(data, name))).toEqual([report.receipt]);
  const receipt = JSON.parse(readFileSync(report.receipt, 'utf8')) as { answers: number; signed: string };
  expect(receipt.answers).toBeGreaterThanOrEqual(2);
  expect(receipt.signed).toMatch(/^[\w+/=]+$/);
  expect(await json(['devices', 'list'])).toEqual([]);
  expect(await json(['models', 'list'])).toEqual([expect.objectContaining({ name: MODEL, devices: 0 })]);
  const again = await call(['lending', 'leave', '--yes', '--data', data, '--json']);
  expect(again.code).toBe(EXIT.notFound);
});

test('with its hub gone for good it leaves all the same, from a folder of which nothing is left then', async () => {
  const { token } = (await json(['invite'])) as { token: string };
  const second = join(folder, 'second');
  const receipt = join(folder, 'receipt.json');
  const lent = stay(['join', '--token', token, '--yes', '--name', 'bob', '--presence', 'ignore', '--data', second]);
  await lent.line(() => true, 'idlewild join');
  await hub.kill();
  const { code, out } = await call(['lending', 'leave', '--yes', '--receipt', receipt, '--data', second]);
  expect(code).toBe(EXIT.ok);
  expect(out).toMatch(/^left, but the hub did not acknowledge it: .*\n.*\n.*idlewild devices revoke dev_\w+\n$/);
  expect(existsSync(second)).toBe(false);
  expect(JSON.parse(readFileSync(receipt, 'utf8'))).toMatchObject({ acknowledged: false });
  expect(await lent.ended).toEqual({ code: EXIT.ok, signal: null });
});
