import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { defaultDataFolder } from './data-folder.ts';
import { openHubAddress, openHubAsNobody } from './hub-access.ts';
import { forgetSession, keepSession, keptBeside, keptSession, sessionsFile } from './kept-sessions.ts';

let home: string;
let env: Record<string, string>;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'idlewild-cli-'));
  env = { XDG_CONFIG_HOME: home, XDG_DATA_HOME: home };
});
afterEach(() => rmSync(home, { recursive: true }));

const session = (token: string, expiresAt = '2100-01-01T00:00:00.000Z') => ({
  token: `iws_${token}`,
  session: 'sis_a',
  person: 'per_a',
  expiresAt,
});

test('a session is kept for its owner alone, and goes to the address that gave it and to no other', () => {
  keepSession('http://127.0.0.1:7860', session('one'), env);
  keepSession('https://hub.example#pin=' + 'A'.repeat(43), session('two'), env);
  expect(statSync(sessionsFile(env)).mode & 0o777).toBe(0o600);
  const keyFor = (hub?: string): string | undefined => openHubAddress({ hub }, env).key;
  expect(keyFor()).toBe('iws_one');
  expect(keyFor('http://127.0.0.1:7860/')).toBe('iws_one');
  expect(keyFor(`https://hub.example/#pin=${'A'.repeat(43)}`)).toBe('iws_two');
  for (const other of [
    'http://127.0.0.1:7861',
    'https://127.0.0.1:7860',
    'https://hub.example',
    'http://evil.test:7860',
  ])
    expect(keyFor(other)).toBeUndefined();
  expect(keyFor(`https://hub.example#pin=${'B'.repeat(43)}`)).toBeUndefined();
});

test('a key that is named outweighs a session, and a session the steward’s key of this machine', () => {
  writeFileSync(join(home, 'nothing'), '');
  keepSession('http://127.0.0.1:7860', session('one'), env);
  expect(openHubAddress({ key: 'iw_mine' }, env).key).toBe('iw_mine');
  expect(openHubAddress({}, { ...env, IDLEWILD_KEY: 'iw_theirs' }).key).toBe('iw_theirs');
  expect(openHubAddress({}, env)).toMatchObject({ key: 'iws_one', keyNote: undefined });
  expect(openHubAsNobody({}, env).address).toBe('http://127.0.0.1:7860');
});

test('what is over, or was signed out of, is not sent', () => {
  keepSession('http://a:1', session('one', '2000-01-01T00:00:00.000Z'), env);
  keepSession('http://b:1', session('two'), env);
  expect(keptSession('http://a:1', env)).toBeUndefined();
  expect(forgetSession('http://b:1', env)).toBe(true);
  expect(forgetSession('http://b:1', env)).toBe(false);
  expect(openHubAsNobody({ hub: 'http://b:1' }, env).signedIn).toBeUndefined();
  expect(readFileSync(sessionsFile(env), 'utf8')).not.toContain('iws_two');
});

test('the only hub that somebody is signed in to needs no name; one of two does, or one beside our own', () => {
  const hubNow = (more: object = {}): string => openHubAddress({}, { ...env, ...more }).hub;
  keepSession('http://old:1', session('over', '2000-01-01T00:00:00.000Z'), env);
  expect(hubNow()).toBe('http://127.0.0.1:7860');
  const pinned = `https://hub.example/t/ter_a#pin=${'A'.repeat(43)}`;
  keepSession(pinned, session('one'), env);
  expect(openHubAddress({}, env)).toMatchObject({ hub: 'https://hub.example/t/ter_a', key: 'iws_one' });
  expect(openHubAsNobody({}, env).address).toBe(pinned);
  expect(hubNow({ IDLEWILD_HUB: 'http://b:1' })).toBe('http://b:1');
  const data = defaultDataFolder(env, 'linux');
  mkdirSync(data, { recursive: true });
  writeFileSync(join(data, 'address.json'), JSON.stringify({ url: 'http://127.0.0.1:4000', pid: 1 }));
  expect(hubNow()).toBe('http://127.0.0.1:4000');
  rmSync(join(data, 'address.json'));
  keepSession('http://b:1', session('two'), env);
  expect(openHubAddress({}, env)).toMatchObject({ hub: 'http://127.0.0.1:7860', key: undefined });
});

test('a damaged file is told with the way out', () => {
  keepSession('http://a:1', session('one'), env);
  writeFileSync(sessionsFile(env), '{');
  expect(() => keptSession('http://a:1', env)).toThrow(/damaged; remove it and sign in again/);
});

test('beside an address are the sessions of the same hub, by host, port and pin, and those that hold', () => {
  const pin = `#pin=${'A'.repeat(43)}`;
  keepSession(`https://hub.example${pin}`, session('own'), env);
  keepSession(`https://hub.example/t/ter_a${pin}`, session('one'), env);
  keepSession(`https://hub.example/t/ter_b${pin}`, session('over', '2000-01-01T00:00:00.000Z'), env);
  for (const [i, other] of [
    'https://hub.example/t/ter_c',
    `https://hub.example/t/ter_d#pin=${'B'.repeat(43)}`,
    `https://hub.example:7860/t/ter_e${pin}`,
    `http://hub.example/t/ter_f${pin}`,
    `https://hub.example.evil.test/t/ter_g${pin}`,
  ].entries())
    keepSession(other, session(`other${i}`), env);
  const beside = (address: string): string[] => keptBeside(address, env).map(({ token }) => token);
  expect(beside(`https://hub.example${pin}`)).toEqual(['iws_one']);
  expect(beside(`https://hub.example/t/ter_new${pin}`).sort()).toEqual(['iws_one', 'iws_own']);
  expect(beside('https://hub.example')).toEqual(['iws_other0']);
});
