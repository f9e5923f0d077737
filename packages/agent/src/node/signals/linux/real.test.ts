/**
 * Against the real things: an X server that is typed into, a message bus with logind, NetworkManager and GNOME played
 * by another implementation, a Wayland compositor, and processes that compute. What is not installed here is skipped,
 * and the name of the test says what it needs.
 */
import { systemClock } from '@idlewild/protocol/node';
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import type { SignalSource } from '../../../core/lending/idleness/port.ts';
import { signalSourceConformance } from '../../../testing/signals-conformance.ts';
import { createNodeSystem } from '../node-system.ts';
import { openSignals } from '../open-signals.ts';
import type { System } from '../system.ts';
import { createCpuProbe } from './cpu.ts';

const isLinux = process.platform === 'linux';
const has = (...commands: string[]): boolean =>
  isLinux && commands.every((command) => spawnSync('which', [command]).status === 0);
const PYTHON = '/usr/bin/python3';
const hasMocks = has('dbus-daemon', 'gdbus') && spawnSync(PYTHON, ['-c', 'import dbusmock']).status === 0;

const folder = mkdtempSync(join(tmpdir(), 'idlewild-signals-'));
const started: ChildProcess[] = [];
const sources: SignalSource[] = [];
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  for (const child of started.splice(0)) child.kill('SIGKILL');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const patience = { timeout: 15_000, interval: 50 };
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

function start(command: string, args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
    env: { PATH: process.env['PATH'], ...env },
  });
  started.push(child);
  return child;
}

/** This machine, as somebody with another environment sees it. */
async function open(env: Record<string, string>, changes: Partial<System> = {}): Promise<SignalSource> {
  const source = await openSignals({ clock: systemClock, system: { ...createNodeSystem(), env, ...changes } });
  sources.push(source);
  return source;
}

describe('this machine', () => {
  const claims = signalSourceConformance({ open: () => openSignals({ clock: systemClock }), pass: () => pause(120) });
  test.for(claims)('$claim', { timeout: 30_000 }, ({ check }) => expect(check()).resolves.toBeUndefined());
});

describe('X11', () => {
  const cookie = new Uint8Array(16).fill(0x5a);
  function authority(secret: Uint8Array): string {
    const path = join(folder, `authority-${secret[0]}`);
    const field = (bytes: Uint8Array): Buffer => Buffer.concat([Buffer.of(0, bytes.length), bytes]);
    const texts = [hostname(), '', 'MIT-MAGIC-COOKIE-1'].map((text) => Buffer.from(text));
    writeFileSync(path, Buffer.concat([Buffer.of(1, 0), ...[...texts, secret].map(field)]));
    return path;
  }
  async function startDisplay(): Promise<Record<string, string>> {
    const XAUTHORITY = authority(cookie);
    const server = start('Xvfb', [
      '-displayfd',
      '3',
      '-screen',
      '0',
      '320x240x8',
      '-auth',
      XAUTHORITY,
      '-nolisten',
      'tcp',
    ]);
    let number = '';
    server.stdio[3]?.on('data', (text: Buffer) => (number += text.toString()));
    await vi.waitFor(() => expect(number).toMatch(/^\d+\n/), patience);
    return { DISPLAY: `:${number.trim()}`, XAUTHORITY };
  }

  test.skipIf(!has('Xvfb', 'xdotool'))(
    'input is counted, and told within 250 ms (needs Xvfb, xdotool)',
    { timeout: 60_000 },
    async () => {
      const env = await startDisplay();
      const source = await open(env);
      expect(source.headless).toBe(false);
      expect(source.sources.inputIdleMs).toMatch(/^display :\d+ \(X11\)/);
      let toldMs = 0;
      source.onInput?.(() => (toldMs = performance.now()));
      const waits: number[] = [];
      for (const act of [
        ['key', 'a'],
        ['mousemove', '10', '20'],
        ['click', '1'],
      ]) {
        await vi.waitFor(async () => expect((await source.read()).inputIdleMs).toBeGreaterThan(1_100), patience);
        toldMs = 0;
        execFileSync('xdotool', act, { env: { ...process.env, ...env } });
        const actedMs = performance.now();
        await vi.waitFor(() => expect(toldMs).toBeGreaterThan(0), { timeout: 5_000, interval: 5 });
        waits.push(toldMs - actedMs);
        await vi.waitFor(async () => expect((await source.read()).inputIdleMs).toBeLessThan(1_000), patience);
      }
      // xdotool ends after it acted, so we may have been told before; a machine that runs other tests is slower.
      expect(Math.min(...waits)).toBeLessThan(250);
    },
  );

  test.skipIf(!has('Xvfb', 'xprop', 'xwininfo'))(
    'the active window is full-screen, or not (needs Xvfb, xprop, xwininfo)',
    { timeout: 30_000 },
    async () => {
      const env = await startDisplay();
      const source = await open(env);
      expect(await source.read()).not.toHaveProperty('fullScreen');
      expect(source.sources.fullScreen).toMatch(/^not read: /);
      const xprop = (...args: string[]): string =>
        execFileSync('xprop', ['-root', ...args], { env: { ...process.env, ...env }, encoding: 'utf8' });
      const described = execFileSync('xwininfo', ['-root'], { env: { ...process.env, ...env }, encoding: 'utf8' });
      const root = String(Number(/Window id: (0x[0-9a-f]+)/.exec(described)?.[1]));
      xprop('-f', '_NET_ACTIVE_WINDOW', '32c', '-set', '_NET_ACTIVE_WINDOW', root);
      await vi.waitFor(async () => expect((await source.read()).fullScreen).toBe(false), patience);
      xprop('-f', '_NET_WM_STATE', '32a', '-set', '_NET_WM_STATE', '_NET_WM_STATE_FULLSCREEN');
      await vi.waitFor(async () => expect((await source.read()).fullScreen).toBe(true), patience);
      xprop('-remove', '_NET_WM_STATE');
      await vi.waitFor(async () => expect((await source.read()).fullScreen).toBe(false), patience);
    },
  );

  test.skipIf(!has('Xvfb'))(
    'a display that does not let us in, or dies, tells nothing (needs Xvfb)',
    { timeout: 30_000 },
    async () => {
      const env = await startDisplay();
      const refused = await open({ ...env, XAUTHORITY: authority(new Uint8Array(16)) });
      expect((await refused.read()).inputIdleMs).toBeUndefined();
      const source = await open(env);
      expect((await source.read()).inputIdleMs).toBeGreaterThanOrEqual(0);
      started[0]?.kill('SIGKILL');
      await vi.waitFor(async () => expect(await source.read()).not.toHaveProperty('inputIdleMs'), patience);
    },
  );
});

describe.skipIf(!hasMocks)('message buses (need dbus-daemon, gdbus, python3-dbusmock)', () => {
  async function startBus(): Promise<(...call: string[]) => string> {
    const daemon = start('dbus-daemon', ['--session', '--nofork', '--print-address=3']);
    let address = '';
    daemon.stdio[3]?.on('data', (text: Buffer) => (address += text.toString()));
    await vi.waitFor(() => expect(address).toMatch(/\n/), patience);
    env = { DBUS_SYSTEM_BUS_ADDRESS: address.trim(), DBUS_SESSION_BUS_ADDRESS: address.trim() };
    return (...call) =>
      execFileSync('gdbus', ['call', '--session', ...call], {
        env: { ...process.env, ...env },
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      });
  }
  let env: Record<string, string> = {};
  const mock = (...args: string[]): void => void start(PYTHON, ['-m', 'dbusmock', ...args], env);
  const LOGIN = 'org.freedesktop.login1';
  const SESSION = '/org/freedesktop/login1/session/c1';
  const change = (gdbus: (...call: string[]) => string, name: string, value: string): string =>
    gdbus('-d', LOGIN, '-o', SESSION, '-m', 'org.freedesktop.DBus.Properties.Set', `${LOGIN}.Session`, name, value);

  async function startSession(): Promise<(...call: string[]) => string> {
    const gdbus = await startBus();
    mock('--system', '--template', 'logind');
    const add = ['-d', LOGIN, '-o', '/org/freedesktop/login1', '-m', 'org.freedesktop.DBus.Mock.AddSession'];
    await vi.waitFor(() => gdbus(...add, 'c1', 'seat0', String(process.getuid?.()), 'lender', 'true'), patience);
    change(gdbus, 'Type', "<'wayland'>");
    return gdbus;
  }

  test(
    'logind tells whether the screen is locked, and of an idle hint when nothing else does',
    { timeout: 60_000 },
    async () => {
      const gdbus = await startSession();
      const source = await open(env);
      expect(await source.read()).toMatchObject({ locked: false, inputIdleMs: 0 });
      expect(source.headless).toBe(false);
      expect(source.sources.inputIdleMs).toMatch(/hint \(logind\)/);
      change(gdbus, 'LockedHint', '<true>');
      change(gdbus, 'IdleSinceHint', `<uint64 ${(Date.now() - 600_000) * 1_000}>`);
      change(gdbus, 'IdleHint', '<true>');
      await vi.waitFor(async () => expect(await source.read()).toMatchObject({ locked: true }), patience);
      // Somebody types in a terminal of this machine meanwhile, or not.
      const { inputIdleMs = 0 } = await source.read();
      expect(inputIdleMs).toBeLessThan(700_000);
    },
  );

  test('NetworkManager tells of a metered network', { timeout: 60_000 }, async () => {
    const gdbus = await startBus();
    const NETWORK = 'org.freedesktop.NetworkManager';
    const path = '/org/freedesktop/NetworkManager';
    mock('--system', '--template', 'networkmanager');
    const add = ['-d', NETWORK, '-o', path, '-m', 'org.freedesktop.DBus.Mock.AddProperty', NETWORK, 'Metered'];
    await vi.waitFor(() => gdbus(...add, '<uint32 3>'), patience);
    expect((await (await open(env)).read()).meteredNetwork).toBe(true);
    gdbus('-d', NETWORK, '-o', path, '-m', 'org.freedesktop.DBus.Properties.Set', NETWORK, 'Metered', '<uint32 2>');
    expect((await (await open(env)).read()).meteredNetwork).toBe(false);
  });

  test('GNOME tells the idle time, input as it comes, and what keeps the screen on', { timeout: 60_000 }, async () => {
    const gdbus = await startSession();
    const MUTTER = 'org.gnome.Mutter.IdleMonitor';
    const core = '/org/gnome/Mutter/IdleMonitor/Core';
    const KEEPER = 'org.gnome.SessionManager';
    mock('--session', MUTTER, core, MUTTER);
    mock('--session', KEEPER, '/org/gnome/SessionManager', KEEPER);
    mock('--session', '--template', 'gnome_screensaver');
    const mutter = (...call: string[]): string => gdbus('-d', MUTTER, '-o', core, '-m', ...call);
    const method = 'org.freedesktop.DBus.Mock.AddMethod';
    await vi.waitFor(() => mutter(method, MUTTER, 'GetIdletime', '', 't', 'ret = 5000'), patience);
    mutter(method, MUTTER, 'AddUserActiveWatch', '', 'u', 'ret = 7');
    const keep = ['-d', KEEPER, '-o', '/org/gnome/SessionManager', '-m', 'org.freedesktop.DBus.Mock.AddProperty'];
    await vi.waitFor(() => gdbus(...keep, KEEPER, 'InhibitedActions', '<uint32 12>'), patience);
    const saver = [
      '-d',
      'org.gnome.ScreenSaver',
      '-o',
      '/org/gnome/ScreenSaver',
      '-m',
      'org.gnome.ScreenSaver.SetActive',
    ];
    await vi.waitFor(() => gdbus(...saver, 'true'), patience);

    const source = await open(env);
    expect(source.sources.inputIdleMs).toContain("GNOME's idle monitor");
    let touches = 0;
    source.onInput?.(() => touches++);
    await pause(600);
    expect(await source.read()).toMatchObject({ locked: true, fullScreen: true });
    expect(source.sources.fullScreen).toMatch(/keeps the screen on \(GNOME\)/);
    await vi.waitFor(() => {
      mutter('org.freedesktop.DBus.Mock.EmitSignal', MUTTER, 'WatchFired', 'u', '[<uint32 7>]');
      expect(touches).toBe(1);
    }, patience);
    expect((await source.read()).inputIdleMs).toBeLessThanOrEqual(5_000);
  });
});

test.skipIf(!has('sway', 'wtype', 'setpriv') || process.getuid?.() !== 0)(
  'a Wayland compositor tells of input as it comes (needs sway, wtype, root)',
  { timeout: 60_000 },
  async () => {
    const [user, runtime] = [65_534, mkdtempSync(join(folder, 'run-'))];
    chownSync(runtime, user, user);
    chownSync(folder, user, user);
    const display = { WLR_BACKENDS: 'headless', WLR_LIBINPUT_NO_DEVICES: '1', WLR_RENDERER: 'pixman' };
    const drop = ['--reuid', String(user), '--regid', String(user), '--clear-groups'];
    start('setpriv', [...drop, 'sway', '-c', '/dev/null'], { ...display, XDG_RUNTIME_DIR: runtime, HOME: runtime });
    await vi.waitFor(() => expect(readdirSync(runtime)).toContain('wayland-1'), patience);
    const env = { XDG_RUNTIME_DIR: runtime, WAYLAND_DISPLAY: 'wayland-1' };
    const source = await open(env);
    expect(source.sources.inputIdleMs).toMatch(/^the compositor \(Wayland\)/);
    let touches = 0;
    source.onInput?.(() => touches++);
    await vi.waitFor(async () => expect((await source.read()).inputIdleMs).toBeGreaterThan(1_500), patience);
    execFileSync('wtype', ['a'], { env: { ...process.env, ...env } });
    await vi.waitFor(() => expect(touches).toBe(1), patience);
    await vi.waitFor(async () => expect((await source.read()).inputIdleMs).toBeLessThan(2_000), patience);
  },
);

describe.skipIf(!isLinux)("processes that compute are ours, or others'", () => {
  const SPIN = 'n=0; while [ $n -lt 2000 ]; do n=$((n+1)); i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; done';
  const ticksOf = (pid: number): number => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return Number(fields[11]) + Number(fields[12]) + Number(fields[13]) + Number(fields[14]);
  };
  const total = (): number =>
    readFileSync('/proc/stat', 'utf8')
      .split('\n')[0]!
      .split(/ +/)
      .slice(1, 8)
      .reduce((sum, text) => sum + Number(text), 0);
  const shareFor = (pid: number) => {
    const probe = createCpuProbe({ ...createNodeSystem(), pid }, systemClock);
    return async (): Promise<number> => (await probe.read()).otherCpu ?? Number.NaN;
  };

  /** Over the same time, seen as ours and not: this machine does other things, too, and they are the same for both. */
  async function compare(pid: number, rootOfOwn: number, rootOfOthers: number): Promise<{ gap: number; used: number }> {
    const [own, others] = [shareFor(rootOfOwn), shareFor(rootOfOthers)];
    const [ticks, all] = [ticksOf(pid), total()];
    await vi.waitFor(() => expect(ticksOf(pid) - ticks).toBeGreaterThan(30), { timeout: 20_000, interval: 100 });
    const [asOwn, asOther] = [await own(), await others()];
    return { gap: asOther - asOwn, used: (ticksOf(pid) - ticks) / (total() - all) };
  }

  test('a child of ours is ours', { timeout: 30_000 }, async () => {
    const child = start('sh', ['-c', SPIN]);
    const bystander = start('sleep', ['30']);
    const { gap, used } = await compare(child.pid!, process.pid, bystander.pid!);
    expect(gap).toBeGreaterThan(used * 0.7);
  });

  test('a process that left us at its start is none of ours', { timeout: 30_000 }, async () => {
    // Its parent ends at once, so it is nobody's child of ours.
    const starter = start('sh', ['-c', `(${SPIN}) & echo $!`]);
    let said = '';
    starter.stdout?.on('data', (text: Buffer) => (said += text.toString()));
    await vi.waitFor(() => expect(said).toMatch(/\n/), patience);
    const pid = Number(said.trim());
    try {
      await vi.waitFor(
        () => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).not.toContain(`) S ${starter.pid} `),
        patience,
      );
      const { gap, used } = await compare(pid, pid, process.pid);
      // Ours did something as well meanwhile: this test.
      expect(gap).toBeGreaterThan(used * 0.4 - 0.02);
    } finally {
      process.kill(pid, 'SIGKILL');
    }
  });
});
