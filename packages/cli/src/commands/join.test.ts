/** Claims about what a lender is told by `join`, by a process of its own whose hub is nowhere. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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

test('it names its folder, where its hub has gone, and how to go on', { timeout: 30_000 }, async () => {
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
