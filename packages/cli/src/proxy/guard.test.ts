/** Claims about who may use the proxy's port, and about keys that people pin. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { createGuard } from './guard.ts';
import { pinnedStewards, readKey } from './trusted.ts';

const authorization = 'Bearer let-me-in';
const guard = createGuard({ token: 'let-me-in', host: '127.0.0.1' });
const codeOf = (act: () => unknown): string | undefined => {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

test.each(['127.0.0.1:7861', 'localhost:7861', 'LOCALHOST', '[::1]:7861'])('a program here asks as %s', (host) => {
  expect(codeOf(() => guard({ headers: { host, authorization } }))).toBeUndefined();
});

test.each<[string, Record<string, string>, string]>([
  ['under a name that somebody made resolve here', { host: 'evil.example:7861', authorization }, 'forbidden'],
  ['under one that only begins like ours', { host: '127.0.0.1.evil.example', authorization }, 'forbidden'],
  ['under none', { authorization }, 'forbidden'],
  ['from a page of another site', { host: '127.0.0.1', authorization, origin: 'http://evil.example' }, 'forbidden'],
  ['from a page on this machine', { host: 'localhost', authorization, origin: 'http://localhost:3000' }, 'forbidden'],
  ['as an image of a page', { host: '127.0.0.1', authorization, 'sec-fetch-site': 'cross-site' }, 'forbidden'],
  ['without the token', { host: '127.0.0.1' }, 'unauthenticated'],
  ['with another token', { host: '127.0.0.1', authorization: 'Bearer let-me-ix' }, 'unauthenticated'],
  ['with the beginning of it', { host: '127.0.0.1', authorization: 'Bearer let' }, 'unauthenticated'],
])('nobody gets in %s', (_, headers, code) => {
  expect(codeOf(() => guard({ headers }))).toBe(code);
});

test('on an address that it was told to listen on it is asked for under that', () => {
  const open = createGuard({ token: 'let-me-in', host: '192.0.2.7' });
  expect(codeOf(() => open({ headers: { host: '192.0.2.7:7861', authorization } }))).toBeUndefined();
  expect(codeOf(() => open({ headers: { host: 'other.example', authorization } }))).toBe('forbidden');
});

test('keys are pinned by name or by file, and nothing is done without one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-pins-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'stewards.pinned');
  const [one, other] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  expect(codeOf(() => pinnedStewards([], file))).toBe('usage');
  writeFileSync(file, `# of the library\n${text(other)} Bea, at her desk\n\n`);
  expect(pinnedStewards([text(one)], file)).toEqual([one, other]);
  expect(codeOf(() => readKey('stk_abc', "steward's key"))).toBe('usage');
  writeFileSync(file, 'not a key\n');
  expect(codeOf(() => pinnedStewards([text(one)], file))).toBe('usage');
});
