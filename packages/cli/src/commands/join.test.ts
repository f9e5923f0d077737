/** Claims about what a lender is told by `join`, by a process of its own whose hub is nowhere. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeInvite } from '@idlewild/protocol';
import { expect, onTestFinished, test } from 'vitest';

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const [OLD, NEW] = ['http://127.0.0.1:9', 'http://127.0.0.1:19'];
const INVITE = encodeInvite({ url: OLD, secret: new Uint8Array(16).fill(1), territory: new Uint8Array(32).fill(2) });

const quoted = (path: string): string => `'${path.replace("'", String.raw`'\''`)}'`;

/** What it said beside its results, up to its end; it is told to end once `sign` is among it. */
function joining(words: readonly string[], sign: string): Promise<string> {
  const child = spawn(process.execPath, [MAIN, 'join', ...words, '--stop-with-stdin'], { stdio: 'pipe' });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
    if (said.includes(sign)) child.stdin.end();
  });
  return new Promise((resolve) => {
    child.once('close', () => resolve(said));
  });
}

test('it names its folder, where its hub has gone, and how to go on', async () => {
  const folder = mkdtempSync(join(tmpdir(), "idlewild-lender's "));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const first = await joining(['--token', INVITE, '--yes', '--data', folder], 'offline');
  expect(first).toContain(`what this device has is kept in ${folder}\n`);
  expect(first).toContain(`join --data ${quoted(folder)}\` goes on with what was agreed`);
  expect(first).not.toContain('its hub is at');

  const settings = join(folder, 'device.json');
  const kept = JSON.parse(readFileSync(settings, 'utf8')) as object;
  writeFileSync(settings, JSON.stringify({ ...kept, enrolled: true, url: NEW, movedFrom: OLD, before: { url: OLD } }));
  const second = await joining([`${OLD}/`, '--data', folder], 'offline');
  expect(second).toContain(`its hub is at ${NEW} now, and no longer at ${OLD}; an invite or #pin=…`);
  expect(second).toContain('no connection to the hub at 127.0.0.1:19');
});

test('an invite that is cut short leaves nothing behind', async () => {
  const folder = join(tmpdir(), `idlewild-lender-${process.pid}-cut`);
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const said = await joining(['--token', INVITE.slice(0, 30), '--yes', '--data', folder], 'invite');
  expect(said).toMatch(/^idlewild: this is not an invite: it is damaged or cut short; copy all of it/);
  expect(existsSync(folder)).toBe(false);
});

test('what was agreed stays, and a flag changes its own figure', { timeout: 60_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-lender-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const kept = (file: string): unknown => JSON.parse(readFileSync(join(folder, file), 'utf8'));
  const choice = ['--preset', 'gentle', '--hours', 'mon-fri 20:00-07:00', '--refuse', 'gambling'];
  const said = await joining(['--token', INVITE, '--yes', '--data', folder, ...choice, '--cpu', 'much'], 'offline');
  expect(said).toContain('--cpu takes a share as in 60%');
  expect(() => kept('consent.json')).toThrow(/ENOENT/);

  await joining(['--token', INVITE, '--yes', '--data', folder, ...choice], 'offline');
  const agreed = {
    version: 2,
    kinds: ['answers'],
    presence: 'respect',
    classes: ['public', 'internal'],
    refused: ['gambling'],
    hours: 'mon-fri 20:00-07:00',
    cpuShareMax: 0.3,
    gpu: 'never',
  };
  expect(kept('consent.json')).toMatchObject({ consent: agreed });
  expect(kept('lending.json')).toEqual({ v: 1, preset: 'gentle', rules: {} });

  await joining(['--yes', '--data', folder, '--cpu', '20%', '--classes', 'public'], 'offline');
  expect(kept('consent.json')).toMatchObject({ consent: { ...agreed, cpuShareMax: 0.2, classes: ['public'] } });
  expect(kept('lending.json')).toEqual({ v: 1, preset: 'gentle', rules: {} });
});
