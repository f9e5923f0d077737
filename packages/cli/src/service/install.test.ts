import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockFolder } from '@idlewild/protocol/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { describeLending } from './description.ts';
import { install, installed, refuseHeld, statusOf, uninstall, uninstallOf, type ServicePorts } from './install.ts';
import { readJoined } from './joined.ts';
import { thisMachine } from './machine.ts';
import { lastingNode, refusePassing } from './program-place.ts';
import { createSystemd } from './systemd.ts';
import { scriptedMachine, type ScriptedMachine } from './testing/scripted-machine.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-service-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A systemd that runs the unit for `runsFor` looks. */
function systemd(runsFor = Infinity): ServicePorts & { readonly machine: ScriptedMachine } {
  let looks = 0;
  const machine = scriptedMachine((command, { files }) => {
    const isThere = files.has('/home/ada/.config/systemd/user/idlewild.service');
    if (command.includes('FragmentPath'))
      return { out: 'LoadState=loaded\nFragmentPath=/home/ada/.config/systemd/user/idlewild.service' };
    if (!command.includes('UnitFileState')) return undefined;
    const runs = isThere && ++looks <= runsFor;
    return { out: `UnitFileState=${isThere ? 'enabled' : ''}\nActiveState=${runs ? 'active' : 'inactive'}\nMainPID=9` };
  });
  return { machine, manager: createSystemd({ machine, home: '/home/ada', user: 'ada', env: {} }) };
}

const factsIn = (data: string, linger = false) => ({ program: '/node', script: '/idlewild.mjs', data, linger });
const serviceIn = (data: string) => describeLending({ ...factsIn(data), joined: join(data, 'device.json'), env: {} });

test('what was installed is found again, is updated by another, and is gone when it is removed', async () => {
  const ports = systemd();
  await expect(statusOf(ports)).rejects.toMatchObject({ code: 'not_found' });
  expect(await install(ports, serviceIn(folder), factsIn(folder))).toMatchObject({ running: true, pid: 9 });
  await install(ports, serviceIn('/other'), factsIn('/other'));
  expect(installed(ports)).toEqual(factsIn('/other'));
  expect(await statusOf(ports)).toMatchObject({
    manager: 'systemd',
    enabled: true,
    data: '/other',
    problem: undefined,
  });
  expect(await uninstall(ports)).toEqual(factsIn('/other'));
  expect(ports.machine.files.size).toBe(0);
  expect(await uninstall(ports)).toBeUndefined();
});

test('running without a login is undone only where install began it', async () => {
  for (const linger of [false, true]) {
    const ports = systemd();
    await install(ports, serviceIn(folder), factsIn(folder, linger));
    await uninstall(ports);
    expect(ports.machine.called.includes('loginctl disable-linger')).toBe(linger);
  }
});

test('a device that has left takes its service along, and no other', async () => {
  const ports = systemd();
  expect(await uninstallOf(ports, folder)).toBe(false);
  ports.machine.write(ports.manager.file, '[Service]\nExecStart=/bin/mine\n');
  expect(await uninstallOf(ports, folder)).toBe(false);
  ports.machine.remove(ports.manager.file);
  await install(ports, serviceIn(folder), factsIn(folder));
  expect(await uninstallOf(ports, '/other')).toBe(false);
  expect(await uninstallOf(ports, folder)).toBe(true);
  expect(ports.machine.files.size).toBe(0);
});

test('a unit of somebody else is neither replaced nor removed', async () => {
  const ports = systemd();
  ports.machine.write(ports.manager.file, '[Service]\nExecStart=/bin/mine\n');
  await expect(refuseHeld(ports, folder)).rejects.toMatchObject({ code: 'conflict' });
  await expect(uninstall(ports)).rejects.toMatchObject({ code: 'conflict' });
  expect(ports.machine.read(ports.manager.file)).toContain('/bin/mine');
});

test('a service that ends at once is told of with what its log says', async () => {
  const line = {
    at: '2026-11-23T01:02:03.000Z',
    level: 'error',
    message: 'the steward revoked it',
    code: 'device_revoked',
  };
  const before = { at: '2026-11-23T01:02:00.000Z', level: 'info', message: 'connected to the hub' };
  writeFileSync(join(folder, 'device.log'), `torn"}\n${JSON.stringify(before)}\n${JSON.stringify(line)}\n`);
  const ports = systemd(2);
  await expect(install(ports, serviceIn(folder), factsIn(folder))).rejects.toThrow(
    /ended at once: the steward revoked it/,
  );
  const { at, code, message } = line;
  expect(await statusOf(ports)).toMatchObject({ running: false, problem: { at, code, message } });
  // What was overcome is no reason any more.
  writeFileSync(join(folder, 'device.log'), `${JSON.stringify(line)}\n${JSON.stringify(before)}\n`);
  expect(await statusOf(ports)).toMatchObject({ running: false, problem: undefined });
});

test('status names what the service needs and does not find', async () => {
  const ports = systemd();
  await install(ports, serviceIn(folder), factsIn(folder));
  ports.machine.files.set('/node', '');
  expect((await statusOf(ports)).missing).toEqual(['/idlewild.mjs', join(folder, 'device.json')]);
});

test('a device that runs in a terminal is not started twice, and its service is not in its own way', async () => {
  const ports = systemd();
  await refuseHeld(ports, folder);
  const lock = lockFolder(folder, 'device');
  await expect(refuseHeld(ports, folder)).rejects.toMatchObject({ code: 'conflict' });
  await install(ports, serviceIn(folder), factsIn(folder));
  await refuseHeld(ports, folder);
  lock.release();
});

test('only a device that has joined and agreed is made a service', () => {
  const device = { url: 'https://hub', name: 'ada', enrolled: true, territory: 'x' };
  const save = (name: string, value: unknown): void => writeFileSync(join(folder, name), JSON.stringify(value));
  const reading = (): unknown => readJoined(folder, 'idlewild');
  expect(reading).toThrow(/no device has joined from/);
  save('device.json', device);
  expect(reading).toThrow(/nobody has agreed/);
  save('consent.json', {});
  expect(reading()).toMatchObject({ name: 'ada', url: 'https://hub' });
  save('device.json', { ...device, enrolled: false });
  expect(reading).toThrow(/has not let this device in yet/);
  save('device.json', { name: 7 });
  expect(reading).toThrow(expect.objectContaining({ code: 'data_corrupt' }));
});

test.each([
  '/home/ada/.npm/_npx/0a1b/node_modules/@idlewild/cli/bin/idlewild.mjs',
  'C:\\Users\\ada\\AppData\\Local\\npm-cache\\_npx\\0a1b\\node_modules\\@idlewild\\cli\\bin\\idlewild.mjs',
  '/home/ada/.cache/pnpm/dlx-4711/node_modules/idlewild/bin/idlewild.mjs',
  '/home/ada/.cache/pnpm/dlx/0f/node_modules/idlewild/bin/idlewild.mjs',
  '/tmp/clone/packages/cli/bin/idlewild.mjs',
])('a program in %s is not made a service', (path) => {
  const refused = expect.objectContaining({ code: 'usage', message: expect.stringContaining(path) as string }) as Error;
  expect(() => refusePassing({ program: '/usr/bin/node', script: path }, '/tmp')).toThrow(refused);
  expect(() => refusePassing({ program: path, script: '/opt/idlewild.mjs' }, '/tmp')).toThrow(refused);
});

test('a clone that stays is a good place', () => {
  const script = '/home/ada/idlewild/packages/cli/bin/idlewild.mjs';
  const program = '/home/ada/idlewild/node_modules/node/bin/node';
  expect(() => refusePassing({ program, script }, '/tmp')).not.toThrow();
});

test('of a Node that Homebrew will replace, the link is taken', () => {
  const cellar = '/opt/homebrew/Cellar/node@24/24.21.0/bin/node';
  expect(lastingNode(cellar, (path) => path === '/opt/homebrew/opt/node@24/bin/node')).toBe(
    '/opt/homebrew/opt/node@24/bin/node',
  );
  expect(lastingNode(cellar, () => false)).toBe(cellar);
  expect(lastingNode('/usr/bin/node', () => true)).toBe('/usr/bin/node');
});

test('commands have an end, and files are written whole', async () => {
  expect(
    await thisMachine.run(process.execPath, ['-e', 'console.log("out"); console.error("err"); process.exit(7)']),
  ).toEqual({ code: 7, out: 'out\n', err: 'err\n' });
  expect(await thisMachine.run('no-such-program-of-idlewild', [])).toMatchObject({ code: 127 });
  const path = join(folder, 'a', 'b.service');
  expect(thisMachine.read(path)).toBeUndefined();
  thisMachine.write(path, 'one');
  thisMachine.write(path, Buffer.from('\ufefftwo', 'utf16le'));
  expect(thisMachine.read(path)).toBe('two');
  thisMachine.remove(path);
  thisMachine.remove(path);
  expect(existsSync(path)).toBe(false);
});
