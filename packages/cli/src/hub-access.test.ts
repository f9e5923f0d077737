import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { defaultDataFolder } from './data-folder.ts';
import { exitOf } from './exit-codes.ts';
import { openHub } from './hub-access.ts';
import { splitPin, withPin } from './pinned-fetch.ts';

const home = mkdtempSync(join(tmpdir(), 'idlewild-cli-'));
afterAll(() => rmSync(home, { recursive: true }));
const env = { XDG_DATA_HOME: home };
const data = defaultDataFolder(env, 'linux');

test('the command line goes before the environment, and the environment before this machine', () => {
  expect(openHub({}, env).client.hub).toBe('http://127.0.0.1:7860');
  mkdirSync(data, { recursive: true });
  writeFileSync(join(data, 'address.json'), JSON.stringify({ url: 'http://127.0.0.1:4000', pid: 1 }));
  writeFileSync(join(data, 'steward.key'), 'iw_secret\n');
  chmodSync(join(data, 'steward.key'), 0o600);
  expect(openHub({}, env).client.hub).toBe('http://127.0.0.1:4000');
  expect(openHub({}, { ...env, IDLEWILD_HUB: 'http://a:1/' }).client.hub).toBe('http://a:1');
  expect(openHub({ hub: 'https://b:2/under' }, { ...env, IDLEWILD_HUB: 'http://a:1' }).client.hub).toBe(
    'https://b:2/under',
  );
});

test("the steward's key of this machine goes to the hub of this machine and to no other", () => {
  expect(openHub({}, env).keyNote).toMatch(/steward's key/);
  expect(openHub({ hub: 'http://127.0.0.1:4000' }, env).keyNote).toMatch(/steward's key/);
  expect(openHub({ hub: 'http://127.0.0.1:4001' }, env).keyNote).toBeUndefined();
  expect(openHub({ hub: 'http://elsewhere:4000' }, env).keyNote).toBeUndefined();
  expect(openHub({ key: 'mine' }, env).keyNote).toBeUndefined();
  expect(openHub({}, { ...env, IDLEWILD_KEY: 'mine' }).keyNote).toBeUndefined();
});

test('what is no address is refused', () => {
  expect(() => openHub({ hub: 'localhost' }, env)).toThrow(/write it like http/);
  expect(() => openHub({ hub: 'ftp://a' }, env)).toThrow(/write it like http/);
});

test('an address carries its pin, and gives it back', () => {
  const pin = new Uint8Array(32).fill(7);
  const written = withPin('https://10.0.0.5:7860', pin);
  expect(splitPin(written)).toEqual({ url: 'https://10.0.0.5:7860', pin: Buffer.from(pin).toString('base64url') });
  expect(splitPin('https://10.0.0.5:7860')).toEqual({ url: 'https://10.0.0.5:7860', pin: undefined });
});

test('data folders are where each system wants them', () => {
  expect(defaultDataFolder({ XDG_DATA_HOME: '/x' }, 'linux')).toBe('/x/idlewild');
  expect(defaultDataFolder({ XDG_DATA_HOME: 'relative' }, 'linux')).toMatch(/\.local\/share\/idlewild$/);
  expect(defaultDataFolder({}, 'darwin')).toMatch(/Library\/Application Support\/Idlewild$/);
});

test('exit codes tell what a script must tell apart', () => {
  const codes = [
    'usage',
    'hub_unreachable',
    'forbidden',
    'model_not_found',
    'no_device',
    'cancelled',
    'internal',
    undefined,
  ];
  expect(codes.map(exitOf)).toEqual([2, 3, 4, 5, 6, 130, 1, 1]);
});
