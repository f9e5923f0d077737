/** Claims about calls of the command line as a whole. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { EXIT } from './exit-codes.ts';
import { run } from './run.ts';

test('who has no key is told how to sign in; what is said of a session has its own way out', async () => {
  onTestFinished(() => void vi.restoreAllMocks());
  let said = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said += String(text);
    return true;
  });
  let message = '';
  const server = createServer((_, answer) => {
    answer.writeHead(401, { 'content-type': 'application/json' });
    answer.end(JSON.stringify({ error: { message, code: 'unauthenticated' } }));
  });
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  const hub = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  message = 'no key was sent; send it as "Authorization: Bearer iw_…"';
  expect(await run(['status', '--hub', hub])).toBe(EXIT.refused);
  expect(said).toMatch(/^idlewild: nobody is signed in .*`idlewild sign-in`.*--key.*\n$/);
  said = '';
  message = 'your membership is suspended; ask a steward';
  expect(await run(['whoami', '--hub', hub])).toBe(EXIT.refused);
  expect(said).toBe(`idlewild: ${message}\n`);
});

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
