/** Claims about models that devices get from each other: real processes, what the hub's store gives, and faults. */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { hear, LONG } from './answers.ts';
import { until } from './processes/child.ts';
import {
  createWorld,
  filesBelow,
  isReady,
  type DeviceOptions,
  type DeviceProcess,
  type HubProcess,
  type World,
} from './world.ts';

let world: World;
let hub: HubProcess;

beforeEach(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
});
afterEach(() => world.end());

interface Served {
  readonly store: number;
  readonly peer: number;
}

async function served(): Promise<Served> {
  const response = await fetch(`${hub.url}/metrics`, { headers: { authorization: `Bearer ${hub.key}` } });
  const text = await response.text();
  const of = (source: string): number =>
    Number(new RegExp(`^idlewild_blob_bytes_total\\{source="${source}"\\} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { store: of('store'), peer: of('peer') };
}

/** Starts them at the same time; resolves when all can answer. */
async function startAll(names: readonly string[], options: DeviceOptions = {}): Promise<DeviceProcess[]> {
  const devices = await Promise.all(names.map((name) => world.startDevice(hub, name, { ...options, atOnce: true })));
  await Promise.all(devices.map((device) => device.line(isReady, `the device ${device.name} becoming ready`)));
  return devices;
}

const modelBytes = async (): Promise<number> => (await hub.client.models.list())[0]?.bytes ?? 0;

test('four devices that want one model at once get it from the store once, and the rest from each other', async () => {
  await startAll(['ada', 'bea', 'cyd', 'dov']);
  const { store, peer } = await served();
  const bytes = await modelBytes();
  expect(store + peer).toBeGreaterThanOrEqual(4 * bytes);
  expect(store).toBeLessThan(1.9 * bytes);
  expect((await hear(hub.client, { ...LONG, max_tokens: 5 })).end.usage.completion_tokens).toBe(5);
});

test('a device that joins later gets the model from one that is idle', async () => {
  await startAll(['ada']);
  const before = await served();
  await startAll(['bea']);
  const after = await served();
  const bytes = await modelBytes();
  expect(after.peer - before.peer).toBeGreaterThan(0.6 * bytes);
  expect(after.store - before.store).toBeLessThan(0.4 * bytes);
});

test('a lender who gives nothing is not asked, and the store gives all', async () => {
  await startAll(['ada', 'bea'], { consent: { uploadBytesPerSecondMax: 0 } });
  expect((await served()).peer).toBe(0);
});

test('a device that dies while it gives costs nobody the model', async () => {
  const [ada] = await startAll(['ada']);
  const others = await Promise.all(['bea', 'cyd'].map((name) => world.startDevice(hub, name, { atOnce: true })));
  const first = others[0] as DeviceProcess;
  await first.line(
    (line) => 'state' in line && line.state.models.some(({ state }) => state === 'fetching'),
    'bea fetching',
  );
  await ada?.kill();
  await Promise.all(others.map((device) => device.line(isReady, `${device.name} becoming ready`)));
  const warm = async (): Promise<number> => (await hub.client.models.list())[0]?.devices ?? 0;
  await until(async () => (await warm()) === 2, 'the hub seeing both');
  expect(await warm()).toBe(2);
});

test('a device that gives garbage is found out, is asked no more, and nobody keeps what it gave', async () => {
  await startAll(['mallory'], { givesGarbage: true });
  const before = await served();
  const [bea] = await startAll(['bea']);
  const after = await served();
  expect(after.peer).toBe(before.peer);
  // Two leaves may have been under way to be found out.
  const found = hub.log().split('gave bytes that do not match').length - 1;
  expect(found).toBeGreaterThanOrEqual(1);
  expect(found).toBeLessThanOrEqual(2);
  expect(bea?.log()).not.toContain('hash to something else');
});

const bytesBelow = (folder: string): number => filesBelow(folder).reduce((sum, file) => sum + statSync(file).size, 0);

test('a device whose disk is too small is asked for nothing; one with room is, and keeps what is pinned', async () => {
  const small = await world.startDevice(hub, 'small', { consent: { diskBytesMax: 1_000_000 }, atOnce: true });
  await small.line((line) => 'state' in line && line.state.state === 'ready', 'the small device connecting');
  await expect(hear(hub.client, { ...LONG, max_tokens: 5 })).rejects.toMatchObject({ code: 'no_device' });
  expect(small.state().models).toEqual([]);
  expect(bytesBelow(join(small.data, 'blobs'))).toBe(0);
  const consent = JSON.parse(readFileSync(join(small.data, 'consent.json'), 'utf8')) as { consent: object };
  expect(consent.consent).toMatchObject({ diskBytesMax: 1_000_000 });
  const bytes = await modelBytes();
  const diskBytesMax = Math.ceil(bytes * 1.01);
  const roomy = await world.startDevice(hub, 'roomy', { consent: { diskBytesMax } });
  expect(bytesBelow(join(roomy.data, 'blobs'))).toBeLessThanOrEqual(diskBytesMax);
  expect((await world.idlewild(hub, ['models', 'pin', 'jacobean']).ended).code).toBe(0);
  expect((await hub.client.models.list())[0]).toMatchObject({ pinned: true, devices: 1 });
  expect((await world.idlewild(hub, ['models', 'unpin', 'jacobean']).ended).code).toBe(0);
  expect((await hub.client.models.get('jacobean')).pinned).toBe(false);
});
