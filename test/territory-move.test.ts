/**
 * A territory is not its hub: the hub goes, its devices go on at another, because they pin the territory. Over TLS,
 * with real processes, and a hub that is killed and its folder deleted.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hear, untilReady } from './answers.ts';
import { destroyAndImport, idlewild } from './move-territory.ts';
import { startChild, until } from './processes/child.ts';
import { fetchTrusting } from './tls.ts';
import { MODEL, createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const SHORT = { model: MODEL, prompt: 'KING HENRY:\n', seed: 3, max_tokens: 12 };

let world: World;
let hub: HubProcess;
beforeEach(async () => {
  world = await createWorld();
  hub = await start('old');
  await world.publish({ url: `${hub.url}#pin=${pinOf(hub)}`, key: hub.key });
});
afterEach(() => world.end());

/** Off loopback by its name, and so over TLS. */
function start(name: string, port = 0): Promise<HubProcess> {
  const data = join(world.folder, name);
  return world.startHub({ data, host: '127.1', port, fetch: fetchTrusting(data) });
}
const pinOf = ({ pin = '' }: HubProcess): string => Buffer.from(pin, 'hex').toString('base64url');

/** The steward keeps the key; the new hub makes none where one is good. */
const bringKey = (name: string): void => writeFileSync(join(world.folder, name, 'steward.key'), `${hub.key}\n`);

const answersOf = (hub: HubProcess, count: number): Promise<string[]> =>
  Promise.all(Array.from({ length: count }, async () => (await hear(hub.client, SHORT)).text));

interface Settings {
  readonly url: string;
  readonly territory: string;
}
const settingsOf = ({ data }: Pick<DeviceProcess, 'data'>): Settings =>
  JSON.parse(readFileSync(join(data, 'device.json'), 'utf8')) as Settings;

test('a hub is destroyed with its folder, and all devices answer at the one that took its territory', async () => {
  const names = ['ada', 'bea', 'cleo', 'dora', 'eve'];
  const devices = await Promise.all(names.map((name) => world.startDevice(hub, name)));
  const [before] = await answersOf(hub, 1);
  const { hub: oldHub } = await hub.client.status();
  const ids = (await hub.client.devices.list()).map(({ id }) => id).sort();

  await destroyAndImport(hub, join(world.folder, 'home.idlewild'), join(world.folder, 'new'));
  bringKey('new');
  const next = await start('new', hub.port);
  await untilReady(next.client, names.length);

  expect((await next.client.devices.list()).map(({ id }) => id).sort()).toEqual(ids);
  expect([next.url, next.pin]).toEqual([hub.url, hub.pin]);
  expect(await answersOf(next, 10)).toEqual(Array.from({ length: 10 }, () => before));
  expect(devices.every((device) => device.lines.every((line) => !('ended' in line)))).toBe(true);
  expect((await next.client.usage()).reduce((sum, { requests }) => sum + requests, 0)).toBe(11);
  const { hub: newHub, territory } = await next.client.status();
  expect(newHub).not.toBe(oldHub);
  expect(territory.name).toBe('home');
});

test('an old hub that is still there sends its devices to the new address, and they keep it', async () => {
  const device = await world.startDevice(hub, 'ada');
  const file = join(world.folder, 'home.idlewild');
  await idlewild(['territory', 'export', file, '--with-blobs', '--data', hub.data]);
  await idlewild(['territory', 'import', file, '--data', join(world.folder, 'new')]);
  bringKey('new');
  const next = await start('new');
  await idlewild(['territory', 'moved', `${next.url}#pin=${pinOf(next)}`, '--data', hub.data]);
  await untilReady(next.client, 1);
  await until(() => settingsOf(device).url === next.url, 'the device writing down where its hub is');
  await hub.kill();
  await device.stop();
  await world.startDevice(next, 'ada', { data: device.data });
  expect(await answersOf(next, 1)).toHaveLength(1);
});

test('a device whose hub is gone joins at a new address with what it had: its key and its consent', async () => {
  const device = await world.startDevice(hub, 'ada');
  const consent = readFileSync(join(device.data, 'consent.json'), 'utf8');
  const [{ id } = { id: '' }] = await hub.client.devices.list();
  await device.stop();
  await destroyAndImport(hub, join(world.folder, 'home.idlewild'), join(world.folder, 'new'));
  bringKey('new');
  const next = await start('new');

  const joined = startChild(CLI, [
    'join',
    `${next.url}#pin=${pinOf(next)}`,
    '--data',
    device.data,
    '--json',
    '--stop-with-stdin',
  ]);
  await untilReady(next.client, 1);
  expect((await next.client.devices.list()).map((each) => each.id)).toEqual([id]);
  expect(readFileSync(join(device.data, 'consent.json'), 'utf8')).toBe(consent);
  expect(new URL(settingsOf(device).url).port).toBe(String(next.port));
  await joined.stop();
});
