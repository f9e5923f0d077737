/** Claims about data folders and ports: one process each, damage is named and left alone, and there is a way out. */
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { hear, LONG, untilReady } from './answers.ts';
import { createWorld, type DeviceProcess, type HubProcess, type World } from './world.ts';

let world: World;
let hub: HubProcess;
let device: DeviceProcess;

beforeAll(async () => {
  world = await createWorld();
  hub = await world.startHub();
  await world.publish(hub);
  device = await world.startDevice(hub, 'ada');
});
afterAll(() => world.end());

const answers = async (): Promise<void> => {
  expect((await hear(hub.client, { ...LONG, max_tokens: 5 })).end.usage.completion_tokens).toBe(5);
};

test('a second hub on one data folder is refused, and the first goes on', async () => {
  await expect(world.startHub({ data: hub.data })).rejects.toMatchObject({
    code: 'data_locked',
    message: expect.stringContaining(hub.data) as string,
  });
  await answers();
});

test('a second device on one data folder is refused, and the first goes on', async () => {
  const second = await world.startDevice(hub, 'ada', { atOnce: true });
  await second.ended;
  expect(second.lines).toMatchObject([{ ended: { code: 'data_locked' } }]);
  await answers();
});

test('of two processes with one identity the older is dropped, told why, and ends', async () => {
  const copy = join(world.folder, 'copy');
  cpSync(device.data, copy, { recursive: true });
  const newer = await world.startDevice(hub, 'ada', { data: copy, invite: undefined });
  await device.line((line) => 'ended' in line, 'the older device ending');
  expect(device.lines.at(-1)).toMatchObject({
    ended: { code: 'superseded', message: expect.stringContaining('same identity') as string },
  });
  expect(await device.ended).toMatchObject({ code: 0 });
  expect(device.log()).toContain('superseded');
  await answers();
  await newer.stop();
  device = await world.startDevice(hub, 'ada');
});

test('a port in use is said so, and nothing is left behind', async () => {
  const taken = await new Promise<Server>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => resolve(server));
  });
  onTestFinished(() => void taken.close());
  const { port } = taken.address() as AddressInfo;
  const data = join(world.folder, 'taken');
  await expect(world.startHub({ data, port })).rejects.toMatchObject({
    code: 'port_in_use',
    message: expect.stringMatching(new RegExp(`${port}.*--port`)) as string,
  });
  expect(existsSync(join(data, 'steward.key'))).toBe(false);
  const second = await world.startHub({ data });
  expect((await second.client.status()).territory.name).toBe('home');
  await second.stop();
});

test('a damaged database is said so with the way out, left as it was, and its backup starts', async () => {
  await hub.stop();
  const file = join(hub.data, 'hub.db');
  const backup = join(world.folder, 'hub.db.backup');
  copyFileSync(file, backup);
  const bytes = readFileSync(file);
  for (const damaged of [bytes.subarray(0, bytes.length >> 1), Buffer.from(bytes).fill(0xa5, 8_192, 20_000)]) {
    writeFileSync(file, damaged);
    await expect(world.startHub({ data: hub.data })).rejects.toMatchObject({
      code: 'data_corrupt',
      message: expect.stringMatching(/hub\.db.*backup/s) as string,
    });
    expect(readFileSync(file).equals(damaged)).toBe(true);
  }
  copyFileSync(backup, file);
  hub = await world.startHub({ data: hub.data, port: hub.port });
});

test('a damaged key is named and not replaced', async () => {
  await hub.stop();
  for (const name of ['territory.key', 'hub.key', 'journal.key']) {
    const file = join(hub.data, name);
    const whole = readFileSync(file);
    const [header = '', body = ''] = whole.toString().split('\n');
    for (const text of ['', `${header}\n${body.slice(0, 20)}\n`]) {
      writeFileSync(file, text);
      await expect(world.startHub({ data: hub.data }), name).rejects.toMatchObject({
        code: 'data_corrupt',
        message: expect.stringContaining(name) as string,
      });
      expect(readFileSync(file, 'utf8')).toBe(text);
    }
    writeFileSync(file, whole);
  }
  hub = await world.startHub({ data: hub.data, port: hub.port });
});

test('without its territory key a hub refuses to become another, and with it all is as it was', async () => {
  await hub.stop();
  const file = join(hub.data, 'territory.key');
  const whole = readFileSync(file);
  rmSync(file);
  await expect(world.startHub({ data: hub.data })).rejects.toMatchObject({
    code: 'data_corrupt',
    message: expect.stringContaining('territory.key') as string,
  });
  expect(existsSync(file)).toBe(false);
  writeFileSync(file, whole, { mode: 0o600 });
  hub = await world.startHub({ data: hub.data, port: hub.port });
  await untilReady(hub.client, 1);
  await answers();
});
