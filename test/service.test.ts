/**
 * Living on a machine: a device that starts before its hub can be reached, and one that the user's systemd starts,
 * stops and starts again after a power cut. The systemd is a real one in namespaces of its own.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EXIT } from '@idlewild/cli';
import { wholeAnswer } from '@idlewild/client';
import { LIMITS } from '@idlewild/protocol';
import { startChild, until, type Child } from './processes/child.ts';
import type { Ran } from './processes/program.ts';
import { startUserManager, whyNoUserManager, type UserManager } from './processes/user-manager.ts';
import { MODEL, createWorld, type HubProcess, type World } from './world.ts';

type Line = Readonly<Record<string, unknown>>;

const CLI = join(import.meta.dirname, '../packages/cli/bin/idlewild.mjs');
const why = whyNoUserManager();
/** A service comes after everything else that runs, and a build machine is seldom idle. */
const DEADLINE_MS = 120_000;

let world: World;
let hub: HubProcess;
/** What a person might call a folder; each sign means something to systemd. */
let data: string;

beforeAll(async () => {
  world = await createWorld();
  data = join(world.folder, 'Ada\'s %h $HOME "idle" déviçe');
  hub = await world.startHub();
  await world.publish(hub);
  const { token } = await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 });
  const words = ['join', hub.url, '--token', token, '--name', 'ada', '--yes', '--presence', 'ignore', '--data', data];
  const device = startDevice(words);
  await device.line(isWarm, 'joining', { deadlineMs: DEADLINE_MS });
  await device.stop();
});

afterAll(() => world.end());

const startDevice = (words: readonly string[]): Child<Line> =>
  startChild<Line>(CLI, [...words, '--json', '--stop-with-stdin'], { PATH: process.env.PATH, HOME: world.folder });
const isWarm = (line: Line): boolean => (line.models as { state: string }[]).some(({ state }) => state === 'warm');

interface Logged {
  readonly level: string;
  readonly message: string;
  readonly times?: number;
  readonly retryInMs?: number;
}
const logged = (): Logged[] =>
  readFileSync(join(data, 'device.log'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Logged);

const isConnected = async (): Promise<boolean> =>
  (await hub.client.devices.list()).some(({ name, state }) => name === 'ada' && state === 'ready');
const ready = async (): Promise<boolean> =>
  (await hub.client.devices.list()).some(
    ({ name, state, models }) => name === 'ada' && state === 'ready' && models.length > 0,
  );

async function answers(): Promise<void> {
  const asked = { model: MODEL, messages: [{ role: 'user' as const, content: 'What news?' }], max_tokens: 8 };
  expect(await wholeAnswer(hub.client.chat(asked))).toMatchObject({ finish: 'length' });
}

test('a device that starts while its hub is away waits, says little, and works when the hub is back', async () => {
  await hub.stop();
  const before = logged().length;
  const device = startDevice(['join', '--data', data, '--as-service']);
  try {
    const told = (): Logged[] => logged().slice(before);
    await until(() => told().some(({ times }) => times === 4), 'dialling again and again', DEADLINE_MS);
    const refused = told().filter(({ retryInMs }) => retryInMs !== undefined);
    expect(refused.map(({ times }) => times)).toEqual([undefined, 2, 4]);
    expect(Math.max(...refused.map(({ retryInMs }) => retryInMs ?? 0))).toBeLessThanOrEqual(LIMITS.reconnectMsMax);
    expect(device.lines).toEqual([]);
    hub = await world.startHub({ data: hub.data, port: hub.port });
    await device.line(isWarm, 'the hub being back', { deadlineMs: DEADLINE_MS });
    await until(ready, 'the hub seeing the device');
    await answers();
  } finally {
    await device.stop();
  }
  expect((await device.ended).code).toBe(EXIT.ok);
});

test('what starting again cannot change ends a service well, and makes nothing', async () => {
  const nothing = join(world.folder, 'left');
  const device = startDevice(['join', '--data', nothing, '--as-service']);
  expect((await device.ended).code).toBe(EXIT.ok);
  expect(device.said()).toMatch(/no device has joined from .*; it is not started again/);
  expect(existsSync(nothing)).toBe(false);
});

/** `idlewild` as its user types it; TMPDIR, for the project may lie among temporary things while it is tested. */
const idlewild = (manager: UserManager, ...words: string[]): Promise<Ran> =>
  manager.run([process.execPath, CLI, ...words], { TMPDIR: world.folder });

async function json(manager: UserManager, ...words: string[]): Promise<Line> {
  const { code, out, err } = await idlewild(manager, ...words, '--json');
  expect({ words, code, err }).toEqual({ words, code: EXIT.ok, err: '' });
  return JSON.parse(out) as Line;
}

test.skipIf(why !== undefined)(
  `a service lends after a power cut and without a hub, and leaves nothing${why === undefined ? '' : `: ${why}`}`,
  async () => {
    const unit = join(world.folder, '.config/systemd/user/idlewild.service');
    let manager = await startUserManager(world.folder);
    try {
      expect(await idlewild(manager, 'service', 'install', '--data', data)).toMatchObject({ code: EXIT.usage });
      expect(existsSync(unit)).toBe(false);
      const made = await json(manager, 'service', 'install', '--data', data, '--yes');
      expect(made).toMatchObject({ manager: 'systemd', file: unit, data, linger: false, enabled: true, running: true });
      await until(ready, 'the service being ready', DEADLINE_MS);
      await answers();

      // Again is an update: it starts anew.
      const again = await json(manager, 'service', 'install', '--data', data, '--yes');
      expect(again).toMatchObject({ running: true, pid: expect.any(Number) as number });
      expect(again.pid).not.toBe(made.pid);
      await until(isConnected, 'the updated service', DEADLINE_MS);

      await hub.stop();
      await manager.cut();
      manager = await startUserManager(world.folder);
      await until(async () => (await json(manager, 'service', 'status')).running === true, 'starting with the machine');
      hub = await world.startHub({ data: hub.data, port: hub.port });
      await until(ready, 'lending after a power cut', DEADLINE_MS);
      await answers();

      const { pid } = await json(manager, 'service', 'status');
      await manager.run(['kill', '-KILL', String(pid)]);
      await until(async () => !(await isConnected()), 'the device being gone');
      const waits = async (): Promise<boolean> => {
        const { out } = await manager.run(['systemctl', '--user', 'show', 'idlewild', '--property=SubState']);
        return out.trim() === 'SubState=auto-restart';
      };
      await until(waits, 'what it left being cleared away');
      const down = await json(manager, 'service', 'status');
      expect(down).toMatchObject({ running: false, lastExit: { signal: 'SIGKILL' } });

      const files = readdirSync(data).sort();
      expect(await json(manager, 'service', 'uninstall')).toEqual({ removed: true, file: unit, data });
      expect(existsSync(unit)).toBe(false);
      expect(await idlewild(manager, 'service', 'status')).toMatchObject({ code: EXIT.notFound });
      const known = await manager.run(['systemctl', '--user', 'list-unit-files', 'idlewild*', '--no-legend']);
      expect(known.out).toBe('');
      expect(readdirSync(data).sort()).toEqual(files);
    } finally {
      await manager.stop();
    }
  },
  5 * DEADLINE_MS,
);

test.skipIf(why !== undefined)(
  'a device that its steward revoked is not started again, status says why, and leaving removes the service',
  async () => {
    const manager = await startUserManager(world.folder);
    try {
      await json(manager, 'service', 'install', '--data', data, '--yes');
      await until(isConnected, 'the service', DEADLINE_MS);
      const [device] = await hub.client.devices.list();
      await hub.client.devices.revoke(device?.id ?? '');
      await until(async () => (await json(manager, 'service', 'status')).running === false, 'the service ending');
      expect(await json(manager, 'service', 'status')).toMatchObject({
        enabled: true,
        running: false,
        lastExit: { code: 0 },
        problem: { code: 'device_revoked' },
      });
      const told = await idlewild(manager, 'service', 'status');
      expect(told.out).toMatch(/^state +does not run$/m);
      expect(told.out).toMatch(/^because +.*revoked/m);
      // Leaving takes it along.
      expect(await json(manager, 'lending', 'leave', '--data', data, '--yes')).toMatchObject({ service: true });
      expect(await idlewild(manager, 'service', 'status')).toMatchObject({ code: EXIT.notFound });
    } finally {
      await manager.stop();
    }
  },
  3 * DEADLINE_MS,
);
