import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { codeOf, hex, signStatement } from '@idlewild/protocol';
import { nodeCrypto, nodeRandom, systemClock } from '@idlewild/protocol/node';
import { openConsent } from '../core/consent.ts';
import { parseHours } from '../core/lending/terms/hours.ts';
import { openDataFolder, type DataFolder } from './data-folder.ts';
import { readConsent } from './kept-consent.ts';

const ports = { clock: systemClock, random: nodeRandom, crypto: nodeCrypto };
const TERRITORY = new Uint8Array(32).fill(5);
const SETTINGS = {
  url: 'https://hub:7860',
  territory: TERRITORY,
  pin: new Uint8Array(32).fill(6),
  name: 'kettle',
  enrolled: true,
};
const CHOICE = { territories: [TERRITORY], kinds: ['answers'], presence: 'respect', tokensPerSecondMax: 20 } as const;

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'idlewild-device-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

async function opened(folder: string): Promise<DataFolder> {
  const data = await openDataFolder(folder, ports);
  onTestFinished(() => data.close());
  return data;
}

const codeOfFailure = (work: Promise<unknown>): Promise<unknown> => work.then(() => 'no failure', codeOf);

test('an identity is made once, readable by its owner alone, and is the same at the next start', async () => {
  const folder = await newFolder();
  const first = await opened(folder);
  first.close();
  const second = await opened(folder);
  expect(second.identity.publicKey).toEqual(first.identity.publicKey);
  if (process.platform !== 'win32') expect((await stat(join(folder, 'device.key'))).mode & 0o777).toBe(0o600);
});

test('two processes cannot share a folder; once the first has gone the second may', async () => {
  const folder = await newFolder();
  const first = await opened(folder);
  expect(await codeOfFailure(openDataFolder(folder, ports))).toBe('data_locked');
  first.close();
  await opened(folder);
});

test('settings and consent are kept', async () => {
  const folder = await newFolder();
  const first = await opened(folder);
  expect(await first.settings()).toBeUndefined();
  expect(await first.consent()).toBeUndefined();
  await first.saveSettings(SETTINGS);
  const signed = await first.giveConsent(CHOICE);
  first.close();
  const second = await opened(folder);
  expect(await second.settings()).toEqual(SETTINGS);
  expect(await second.consent()).toEqual(signed);
  expect(await openConsent(signed, second.identity.publicKey, nodeCrypto)).toMatchObject(CHOICE);
});

test('a person can read the consent, and changing it there is noticed', async () => {
  const folder = await newFolder();
  const data = await opened(folder);
  await data.giveConsent(CHOICE);
  const path = join(folder, 'consent.json');
  const text = await readFile(path, 'utf8');
  expect(JSON.parse(text)).toMatchObject({
    consent: { kinds: ['answers'], presence: 'respect', tokensPerSecondMax: 20 },
  });
  await writeFile(path, text.replace('respect', 'ignore'));
  expect(await codeOfFailure(data.consent())).toBe('data_corrupt');
});

test('a person reads of every limit, and of hours as people say them', async () => {
  const data = await opened(await newFolder());
  const more = {
    classes: ['public'],
    refused: ['gambling'],
    hours: parseHours('mon-fri 20:00-07:00'),
    gpu: 'idle',
  } as const;
  const limits = { cpuShareMax: 0.6, memoryBytesMax: 1_000, downloadBytesPerSecondMax: 200_000, celsiusMax: 80 };
  const signed = await data.giveConsent({ ...CHOICE, ...more, ...limits, wattHoursPerDayMax: 50 });
  const { consent } = JSON.parse(await readFile(join(data.folder, 'consent.json'), 'utf8')) as { consent: object };
  expect(consent).toMatchObject({ version: 2, ...more, hours: 'mon-fri 20:00-07:00', ...limits, causes: [] });
  expect(await data.consent()).toEqual(signed);
});

test('a consent of version 1 that lies on a disk is still good, as it is written there', async () => {
  const data = await opened(await newFolder());
  const territories = [TERRITORY];
  const old = { v: 1, device: data.identity.publicKey, ...CHOICE, territories, diskBytesMax: 7, issuedAtMs: 1_000 };
  const signed = await signStatement('consent', old, data.identity, nodeCrypto);
  const consent = {
    territories: [hex(TERRITORY)],
    kinds: ['answers'],
    presence: 'respect',
    tokensPerSecondMax: 20,
    diskBytesMax: 7,
    issuedAt: '1970-01-01T00:00:01.000Z',
  };
  const path = join(data.folder, 'consent.json');
  await writeFile(path, JSON.stringify({ consent, signed: Buffer.from(signed).toString('base64') }));
  expect(await data.consent()).toEqual(signed);
  await writeFile(
    path,
    JSON.stringify({ consent: { ...consent, gpu: 'never' }, signed: Buffer.from(signed).toString('base64') }),
  );
  expect(await codeOfFailure(data.consent())).toBe('data_corrupt');
  // Nor is it shown to whoever only looks.
  expect(await codeOfFailure(readConsent(data.folder))).toBe('data_corrupt');
});

test('a consent that another device signed is refused', async () => {
  const [mine, other] = [await opened(await newFolder()), await opened(await newFolder())];
  await other.giveConsent(CHOICE);
  await writeFile(join(mine.folder, 'consent.json'), await readFile(join(other.folder, 'consent.json')));
  expect(await codeOfFailure(mine.consent())).toBe('data_corrupt');
});

test.each([
  ['device.key', 'zzzz'],
  ['device.key', ''],
  ['device.json', '{"url":'],
  ['device.json', '{"url":"https://hub","name":"x","enrolled":true,"territory":"00"}'],
  ['consent.json', '[]'],
])('a damaged %s (%s) is named and not guessed at', async (file, text) => {
  const folder = await newFolder();
  await writeFile(join(folder, file), text);
  const reading = openDataFolder(folder, ports).then(async (data) => {
    onTestFinished(() => data.close());
    await data.settings();
    await data.consent();
  });
  await expect(reading).rejects.toMatchObject({
    code: 'data_corrupt',
    message: expect.stringContaining(file) as string,
  });
});

test("a folder that cannot be made is a person's mistake, not a crash", async () => {
  const file = join(await newFolder(), 'a-file');
  await writeFile(file, '');
  expect(await codeOfFailure(openDataFolder(join(file, 'below'), ports))).toBe('usage');
});
