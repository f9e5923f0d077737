/**
 * Claims about disks that fill up, made on small ones: whoever asks is told, what runs goes on, and all is well again
 * when there is room. A small disk is a tmpfs, which takes root to mount; without it these tests are skipped.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, rmdirSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hear, LONG, untilReady } from './answers.ts';
import { until } from './processes/child.ts';
import { createWorld, isReady, type HubProcess, type World } from './world.ts';

const MIB = 1_048_576;
/** The model has 13 MB. */
const HUB_MIB = 24;
const DEVICE_MIB = 8;

interface SmallDisk {
  readonly folder: string;
  /** Takes all the room that is left. */
  fill(): void;
  /** Gives it back. */
  empty(): void;
  resize(mib: number): void;
  remove(): void;
}

function mountSmallDisk(mib: number): SmallDisk | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mib}m`, 'tmpfs', folder], { stdio: 'ignore' });
  } catch {
    rmdirSync(folder); // No root, or no such system: `skip` says so.
    return undefined;
  }
  const ballast = join(folder, 'ballast');
  return {
    folder,
    fill() {
      const file = openSync(ballast, 'w');
      for (const bytes of [MIB, 4_096]) writeUntilFull(file, Buffer.alloc(bytes, 1));
      closeSync(file);
    },
    empty: () => rmSync(ballast),
    resize: (to) => void execFileSync('mount', ['-o', `remount,size=${to}m`, folder]),
    remove() {
      execFileSync('umount', ['-l', folder]);
      rmdirSync(folder);
    },
  };
}

function writeUntilFull(file: number, block: Buffer): void {
  for (;;) {
    try {
      writeSync(file, block);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
  }
}

const hubDisk = mountSmallDisk(HUB_MIB);
const deviceDisk = mountSmallDisk(DEVICE_MIB);
const skip = hubDisk === undefined || deviceDisk === undefined;
const [onHub, onDevice] = [hubDisk as SmallDisk, deviceDisk as SmallDisk];

let world: World;
let hub: HubProcess;

beforeAll(async () => {
  world = await createWorld();
  if (skip) return;
  hub = await world.startHub({ data: join(onHub.folder, 'hub') });
  await world.publish(hub);
});
afterAll(async () => {
  await world.end();
  for (const disk of [hubDisk, deviceDisk]) disk?.remove();
});

test('a device whose disk is full says so, and fetches the rest when there is room', { skip }, async () => {
  const data = join(onDevice.folder, 'device');
  mkdirSync(data, { mode: 0o700 });
  const device = await world.startDevice(hub, 'ada', { data, consent: { tokensPerSecondMax: 160 }, atOnce: true });
  const failed = await device.line(
    (line) => 'state' in line && line.state.models.some((model) => model.state === 'failed'),
    'the device telling of it',
  );
  const message = expect.stringMatching(/disk|space/) as string;
  expect(failed).toMatchObject({ state: { state: 'ready', models: [{ state: 'failed', reason: message }] } });
  const [told] = await hub.client.devices.list();
  expect(told?.models).toEqual([]);
  onDevice.resize(4 * DEVICE_MIB);
  await device.line(isReady, 'the device becoming ready');
  await untilReady(hub.client, 1);
});

test('a hub whose disk is full finishes what it has, tells who asks, and lives', { skip }, async () => {
  const whole = await hear(hub.client);
  const heard = await hear(hub.client, LONG, (count) => {
    if (count === 30) onHub.fill();
  });
  expect(heard.text).toBe(whole.text);

  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'none',
      (error: unknown) => (error as { code?: string }).code,
    );
  const short = { ...LONG, max_tokens: 2 };
  // The log of the database may have room left in a page that it has already.
  await until(async () => (await codeOf(hear(hub.client, short))) === 'disk_full', 'an answer being refused');
  const headers = { authorization: `Bearer ${hub.key}`, 'content-type': 'application/json' };
  const asked = await fetch(`${hub.url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify(short) });
  expect(asked.status).toBe(507);
  expect(await codeOf(hub.client.keys.create({ role: 'caller' }))).toBe('disk_full');
  expect((await fetch(`${hub.url}/healthz`)).status).toBe(200);
  expect(await hub.client.modelNames()).toEqual(['jacobean']);
  expect((await hub.client.devices.list())[0]?.state).toBe('ready');

  onHub.empty();
  await until(async () => (await codeOf(hear(hub.client, short))) === 'none', 'answers being given again');
  expect((await hear(hub.client)).text).toBe(whole.text);
  const records = async (): Promise<string[]> => (await hub.client.requests.list()).map(({ state }) => state);
  await until(async () => (await records()).every((state) => state === 'done'), 'every record being closed');
  await hub.stop();
  expect(await hub.ended).toEqual({ code: 0, signal: null });
});
