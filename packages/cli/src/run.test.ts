/** Claims about calls of the command line as a whole. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { EXIT } from './exit-codes.ts';
import { run } from './run.ts';

test('a variable that is empty counts as unset', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-run-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  onTestFinished(() => void vi.unstubAllEnvs());
  onTestFinished(() => void vi.restoreAllMocks());
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  for (const name of ['IDLEWILD_DATABASE', 'IDLEWILD_HUB', 'IDLEWILD_KEY']) vi.stubEnv(name, '');
  const data = join(folder, 'nothing');
  expect(await run(['backup', join(folder, 'out'), '--data', data])).not.toBe(EXIT.ok);
  expect(said).toContain(data);
  expect(await run(['up', '--port', '0', '--data', data, '--secrets-key', 'a.key'])).toBe(EXIT.usage);
  expect(said).toContain('give --database');
});
