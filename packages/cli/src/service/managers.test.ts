import { expect, test } from 'vitest';
import { describeLending, readMarked } from './description.ts';
import { createLaunchd, stateIn as launchdState } from './launchd.ts';
import { createSystemd, stateIn as systemdState } from './systemd.ts';
import { createTaskScheduler, stateIn as taskState } from './task-scheduler.ts';
import { scriptedMachine, type ScriptedMachine } from './testing/scripted-machine.ts';

const facts = { program: '/usr/bin/node', script: '/opt/idlewild.mjs', data: '/data', linger: false };
const service = describeLending({ ...facts, joined: '/data/device.json', env: {} });

const UNIT = '/home/ada/.config/systemd/user/idlewild.service';
const loaded = `LoadState=loaded\nFragmentPath=${UNIT}\n`;
const systemdOn = (machine: ScriptedMachine, env: Record<string, string> = {}) =>
  createSystemd({ machine, home: '/home/ada', user: 'ada', env });

test('systemd is told of the unit, enables it and starts it anew', async () => {
  const machine = scriptedMachine((command) => (command.includes('FragmentPath') ? { out: loaded } : undefined));
  const manager = systemdOn(machine);
  await manager.install(service, facts);
  expect(machine.called).toEqual([
    `write ${UNIT}`,
    'systemctl --user --no-pager daemon-reload',
    'systemctl --user --no-pager show idlewild.service --property=LoadState,FragmentPath',
    'systemctl --user --no-pager enable idlewild.service',
    'systemctl --user --no-pager restart idlewild.service',
  ]);
  expect(readMarked(machine.read(manager.file) ?? '')).toEqual(facts);
  await manager.uninstall();
  expect(machine.files.size).toBe(0);
  expect(machine.called).toContain('systemctl --user --no-pager disable --now idlewild.service');
});

test('a systemd that reads another unit, or none, is told of', async () => {
  const elsewhere = { out: 'LoadState=loaded\nFragmentPath=/etc/systemd/user/idlewild.service\n' };
  const machine = scriptedMachine((command) => (command.includes('FragmentPath') ? elsewhere : undefined));
  const manager = systemdOn(machine, { XDG_CONFIG_HOME: '/elsewhere' });
  expect(manager.file).toBe('/elsewhere/systemd/user/idlewild.service');
  await expect(manager.install(service, facts)).rejects.toThrow(/reads \/etc\/systemd\/user\/idlewild\.service/);
});

test('where no systemd answers, or a command fails, it is said which and what to do', async () => {
  const none = systemdOn(scriptedMachine(() => ({ code: 127 })));
  await expect(none.check()).rejects.toMatchObject({
    code: 'usage',
    message: expect.stringMatching(/--dry-run/) as string,
  });
  const silent = systemdOn(scriptedMachine(() => ({ code: 1, err: 'Failed to connect to bus: No medium found\n' })));
  await expect(silent.check()).rejects.toThrow(/Failed to connect to bus: No medium found/);
  const machine = scriptedMachine((command) =>
    command.includes('FragmentPath') ? { out: loaded } : command.includes('enable') ? { code: 1, err: 'no\nmore' } : {},
  );
  await expect(systemdOn(machine).install(service, facts)).rejects.toMatchObject({
    code: 'internal',
    message: '`systemctl --user enable idlewild.service` ended with 1: no',
  });
});

test('lingering is looked up without asking, and turned where the system allows it', async () => {
  const machine = scriptedMachine((command) =>
    command === 'loginctl disable-linger' ? { code: 1, err: 'denied' } : {},
  );
  const { linger } = systemdOn(machine);
  expect(linger?.isOn()).toBe(false);
  await linger?.turn(true);
  expect(machine.called).toEqual(['loginctl enable-linger']);
  machine.files.set('/var/lib/systemd/linger/ada', '');
  expect(linger?.isOn()).toBe(true);
  await expect(linger?.turn(false)).rejects.toThrow(/denied/);
});

const STATES = ['LoadState', 'UnitFileState', 'ActiveState', 'MainPID', 'ExecMainCode', 'ExecMainStatus'];
test.each([
  [['loaded', 'enabled', 'active', '77', '0', '0'], { enabled: true, running: true, pid: 77, lastExit: undefined }],
  [['loaded', 'enabled', 'inactive', '0', '1', '0'], { running: false, pid: undefined, lastExit: { code: 0 } }],
  [['loaded', 'disabled', 'failed', '0', '1', '203'], { enabled: false, running: false, lastExit: { code: 203 } }],
  [['loaded', 'enabled', 'activating', '0', '2', '9'], { running: false, lastExit: { signal: 'SIGKILL' } }],
  [['not-found', '', 'inactive', '0', '0', '0'], { enabled: false, running: false, lastExit: undefined }],
])('what systemctl shows is read: %j', (values, state) => {
  const out = STATES.map((name, index) => `${name}=${values[index]}`).join('\n');
  expect(systemdState(`${out}\n`)).toMatchObject(state);
});

const AGENT = '/Users/ada/Library/LaunchAgents/idlewild.device.plist';
const launchdOn = (machine: ScriptedMachine) => createLaunchd({ machine, home: '/Users/ada', userId: 501 });

test('launchd lets go of the old agent before it is handed the new one', async () => {
  let looks = 0;
  const machine = scriptedMachine((command) =>
    command.includes(' list ') ? { code: looks++ < 3 ? 0 : 113 } : undefined,
  );
  await launchdOn(machine).install(service, facts);
  expect(machine.called).toEqual([
    '/bin/launchctl bootout gui/501/idlewild.device',
    ...Array<string>(4).fill('/bin/launchctl list idlewild.device'),
    `write ${AGENT}`,
    '/bin/launchctl enable gui/501/idlewild.device',
    `/bin/launchctl bootstrap gui/501 ${AGENT}`,
  ]);
  expect(readMarked(machine.read(AGENT) ?? '')).toEqual(facts);
});

test('an agent that launchd keeps, refuses, or has no screen for, is told of', async () => {
  await expect(launchdOn(scriptedMachine()).install(service, facts)).rejects.toThrow(/does not let go/);
  const refusing = scriptedMachine((command) =>
    command.includes('bootstrap')
      ? { code: 5, err: 'Bootstrap failed: 5: Input/output error\n' }
      : command.includes(' list ')
        ? { code: 113 }
        : undefined,
  );
  await expect(launchdOn(refusing).install(service, facts)).rejects.toThrow(/ended with 5: Bootstrap failed/);
  const remote = scriptedMachine(() => ({ code: 125, err: 'Domain does not support specified action' }));
  await expect(launchdOn(remote).check()).rejects.toMatchObject({ code: 'usage' });
  expect(await launchdOn(scriptedMachine(() => ({ code: 113 }))).state()).toMatchObject({
    enabled: false,
    running: false,
  });
});

const listed = (...lines: string[]): string =>
  ['{', '\t"LimitLoadToSessionType" = "Aqua";', '\t"Label" = "idlewild.device";', ...lines, '};'].join('\n');
test.each([
  [
    ['\t"OnDemand" = false;', '\t"LastExitStatus" = 0;', '\t"PID" = 4321;'],
    { running: true, pid: 4321, lastExit: undefined },
  ],
  [['\t"OnDemand" = true;', '\t"LastExitStatus" = 0;'], { running: false, pid: undefined, lastExit: { code: 0 } }],
  [['\t"LastExitStatus" = 256;'], { running: false, lastExit: { code: 1 } }],
  [['\t"LastExitStatus" = 9;', '\t"PID" = 7;'], { running: true, lastExit: { signal: 'signal 9' } }],
])('what launchctl lists is read: %j', (lines, state) => {
  expect(launchdState(listed(...lines))).toMatchObject({ enabled: true, ...state });
});

test("the task is made from a file in the scheduler's encoding, and started", async () => {
  const env = { LOCALAPPDATA: 'C:\\Users\\ada\\AppData\\Local', USERDOMAIN: 'PC', USERNAME: 'ada' };
  const machine = scriptedMachine();
  const manager = createTaskScheduler({ machine, env, home: 'C:\\Users\\ada' });
  await manager.install(service, facts);
  const file = 'C:\\Users\\ada\\AppData\\Local\\Idlewild\\service.xml';
  expect(machine.called).toEqual([
    `write ${file}`,
    'schtasks.exe /End /TN Idlewild',
    `schtasks.exe /Create /TN Idlewild /XML ${file} /F`,
    'schtasks.exe /Run /TN Idlewild',
  ]);
  const bytes = machine.files.get(file) as Buffer;
  expect([...bytes.subarray(0, 4)]).toEqual([0xff, 0xfe, 0x3c, 0x00]);
  expect(readMarked(machine.read(file) ?? '')).toEqual(facts);
  expect(machine.read(file)).toContain('<UserId>PC\\ada</UserId>');
  await manager.uninstall();
  expect(machine.called).toContain('schtasks.exe /Delete /TN Idlewild /F');
  expect(machine.files.size).toBe(0);
});

test.each([
  ['{"last":267009,"state":4}\r\n', { enabled: true, running: true, lastExit: undefined }],
  ['{"last":267011,"state":3}', { enabled: true, running: false, lastExit: undefined }],
  ['{"last":1,"state":3}', { enabled: true, running: false, lastExit: { code: 1 } }],
  ['{"last":0,"state":1}', { enabled: false, running: false, lastExit: { code: 0 } }],
  ['', { enabled: false, running: false, lastExit: undefined }],
])('what the scheduler says is read: %j', (out, state) => {
  expect(taskState(out)).toMatchObject(state);
});
