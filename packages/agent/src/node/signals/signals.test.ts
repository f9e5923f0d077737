import { createFakeClock, yieldToNode, type FakeClock } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import type { Signals, SignalSource } from '../../core/lending/idleness/port.ts';
import { checkReading, signalSourceConformance } from '../../testing/signals-conformance.ts';
import { SIGNAL_NAMES } from './probe.ts';
import { openSignals } from './open-signals.ts';
import {
  NOW_MS,
  container,
  cpuTimes,
  desktop,
  laptop,
  macBook,
  macProcesses,
  processStat,
  server,
  windowsLaptop,
  windowsLine,
} from './testing/machines.ts';
import { createRecordedSystem, emptyMachine, type Machine, type RecordedSystem } from './testing/recorded-system.ts';

interface World {
  readonly clock: FakeClock;
  readonly system: RecordedSystem;
  readonly source: SignalSource;
}

async function openWorld(machine: Machine, programs: readonly string[] = []): Promise<World> {
  const clock = createFakeClock(yieldToNode, NOW_MS);
  const system = createRecordedSystem(machine);
  const opening = openSignals({ clock, system, programs: () => programs });
  let isOpen = false;
  void opening.then(() => (isOpen = true));
  await clock.settle();
  // A program that prints nothing is waited for.
  if (!isOpen) await clock.advance(5_000);
  return { clock, system, source: await opening };
}

/** Nobody was there a moment ago, and now somebody is. */
function returns(system: RecordedSystem): void {
  system.print(windowsLine({ idleMs: 9_000 }));
  system.print(windowsLine({ idleMs: 15 }));
}

const RECORDED = {
  laptop,
  desktop,
  server,
  container,
  macBook,
  windowsLaptop,
  'no known system': () => emptyMachine('haiku'),
};

describe.each(Object.entries(RECORDED))('a recorded machine: %s', (_, machine) => {
  let world: World;
  const claims = signalSourceConformance({
    async open() {
      world = await openWorld(machine(), ['bash']);
      return world.source;
    },
    pass: (ms) => world.clock.advance(ms),
    ...(machine === laptop ? { touch: () => world.system.touch('/dev/input/event1') } : {}),
    ...(machine === windowsLaptop ? { touch: () => returns(world.system) } : {}),
  });
  test.for(claims)('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());

  test('every signal has words, and those that begin with "not read" are not read', async () => {
    const { source, clock } = await openWorld(machine());
    await clock.advance(1_000);
    const signals = await source.read();
    for (const name of SIGNAL_NAMES) {
      const words = source.sources[name] ?? '';
      expect(words, name).not.toBe('');
      if (words.startsWith('not read')) expect(signals, words).not.toHaveProperty(name);
    }
    source.close();
  });
});

describe('a laptop on battery', () => {
  test('tells all that it has', async () => {
    const { source, clock, system } = await openWorld(laptop());
    // A counter of sleep that has once moved is believed.
    system.machine.files['/sys/class/drm/card0/gt/gt0/rc6_residency_ms'] = '500500';
    await clock.advance(500);
    await source.read();
    system.machine.files['/proc/stat'] = cpuTimes(1_030, 9_070);
    system.machine.files['/sys/class/drm/card0/gt/gt0/rc6_residency_ms'] = '501400';
    await clock.advance(1_000);
    expect(await source.read()).toEqual({
      inputIdleMs: 1_500,
      audio: false,
      camera: false,
      otherCpu: 0.3,
      otherGpu: expect.closeTo(0.1),
      onBattery: true,
      charge: expect.closeTo(0.43),
      celsius: 62,
      memoryPressure: 0.025,
      memoryFree: 0.5,
      programs: [],
    });
    expect(source.headless).toBe(false);
    expect(source.sources.inputIdleMs).toContain('events of 3 keyboards, mice and the like');
    expect(source.sources.locked).toMatch(/^not read: /);
  });

  test('that is plugged in is not on battery, whatever a mouse says of itself', async () => {
    const { source, clock, system } = await openWorld(laptop());
    Object.assign(system.machine.files, {
      '/sys/class/power_supply/AC/online': '1\n',
      '/sys/class/power_supply/BAT0/status': 'Not charging\n',
    });
    await clock.advance(6_000);
    await source.read();
    await clock.settle();
    expect(await source.read()).toMatchObject({ onBattery: false, charge: expect.closeTo(0.43) });
  });

  test('hears a touch at once, and neither a sensor of movement nor a plug', async () => {
    const { source, clock, system } = await openWorld(laptop());
    let touches = 0;
    source.onInput?.(() => touches++);
    for (const deaf of ['3', '4']) system.touch(`/dev/input/event${deaf}`);
    await clock.advance(1_000);
    expect(touches).toBe(0);
    system.touch('/dev/input/event2');
    await clock.advance(100);
    expect(touches).toBe(1);
    expect((await source.read()).inputIdleMs).toBeLessThanOrEqual(100);
  });

  test('goes on without a keyboard that was unplugged, and with one that was plugged in', async () => {
    const { source, clock, system } = await openWorld(laptop());
    let touches = 0;
    source.onInput?.(() => touches++);
    delete system.machine.files['/dev/input/event1'];
    await clock.advance(6_000);
    await source.read();
    expect(source.sources.inputIdleMs).toContain('2 keyboards');
    system.machine.files['/dev/input/event1'] = '';
    await clock.advance(6_000);
    await source.read();
    system.touch('/dev/input/event1');
    await clock.advance(100);
    expect(touches).toBe(1);
  });

  test('tells of a camera that is open and of sound that is played', async () => {
    const { source, clock, system } = await openWorld(laptop());
    system.machine.files['/sys/module/uvcvideo/refcnt'] = '1\n';
    system.machine.files['/proc/asound/card0/pcm0c/sub0/status'] = 'state: RUNNING\nowner_pid   : 812\n';
    await clock.advance(6_000);
    expect(await source.read()).toMatchObject({ camera: true, audio: true });
  });

  test('whose camera has another driver is looked through for open files, a few processes at a time', async () => {
    const machine = laptop();
    machine.links['/sys/class/video4linux/video0/device/driver'] = '../../bus/pci/drivers/intel-ipu6';
    for (let pid = 5_000; pid < 5_100; pid++) machine.files[`/proc/${pid}/comm`] = 'firefox\n';
    machine.links['/proc/5099/fd/17'] = '/dev/video0';
    const { source, clock } = await openWorld(machine);
    const seen = [];
    for (let round = 0; round < 4; round++) {
      await clock.advance(6_000);
      seen.push((await source.read()).camera);
    }
    expect(seen.at(-1)).toBe(true);
    delete machine.links['/proc/5099/fd/17'];
    await clock.advance(6_000);
    expect((await source.read()).camera).toBe(false);
  });
});

describe('a desktop', () => {
  test('tells of graphics, Bluetooth sound and a game by its own name', async () => {
    const { source, clock } = await openWorld(desktop(), ['cyberpunk2077', 'bash', 'Node', 'steam']);
    await clock.advance(1_000);
    expect(await source.read()).toMatchObject({
      inputIdleMs: 6_000,
      audio: true,
      otherGpu: 0.87,
      onBattery: false,
      celsius: 71,
      programs: ['cyberpunk2077', 'bash', 'Node'],
    });
  });

  test('whose cards sleep does not wake them', async () => {
    const machine = desktop();
    for (const path of Object.keys(machine.files)) {
      if (path.endsWith('runtime_status')) machine.files[path] = 'suspended\n';
    }
    const { source, clock, system } = await openWorld(machine);
    await clock.advance(1_000);
    const signals = await source.read();
    expect(signals.otherGpu).toBe(0);
    expect(signals.celsius).toBeCloseTo(60.125);
    expect([...system.runs.keys()].filter((line) => line.startsWith('nvidia-smi'))).toEqual([]);
  });

  test('runs commands seldom, however often it is read', async () => {
    const { source, clock, system } = await openWorld(desktop());
    for (let round = 0; round < 600; round++) {
      await source.read();
      await clock.advance(50);
    }
    const runs = [...system.runs].filter(([line]) => line.startsWith('nvidia-smi') || line.startsWith('pactl'));
    expect(Object.fromEntries(runs.map(([line, count]) => [line.split(' --')[0], count]))).toEqual({
      'nvidia-smi': 1,
      'pactl list short sinks': 3,
      'pactl list short sources': 3,
    });
  });
});

describe('a machine that nobody sits at', () => {
  test('is headless and says so; who types over ssh is no person before it', async () => {
    const { source } = await openWorld(server());
    expect(source.headless).toBe(true);
    expect(await source.read()).toEqual({
      onBattery: false,
      celsius: 51,
      memoryPressure: 0,
      memoryFree: expect.closeTo(0.78),
      programs: [],
    });
    expect(source.sources.inputIdleMs).toMatch(/^not read: .*no screen and no keyboard; load alone/);
  });

  test('in a container it is headless though it sees the monitor of its machine', async () => {
    const { source, clock, system } = await openWorld(container());
    expect(source.headless).toBe(true);
    expect(source.sources.inputIdleMs).toMatch(/^not read: a container/);
    // One second: the machine did nothing else, others in the container used 0.8 of its two processors.
    Object.assign(system.machine.files, {
      '/proc/stat': cpuTimes(1_110, 16_490),
      '/sys/fs/cgroup/cpu.stat': 'usage_usec 2100000\nuser_usec 1\nsystem_usec 1\n',
      '/proc/4242/stat': processStat(4242, 'node', 1, 30),
    });
    await clock.advance(1_000);
    expect(await source.read()).toMatchObject({ otherCpu: 0.4, memoryPressure: 0.12, memoryFree: expect.closeTo(0.2) });
  });

  test('which gets a screen is headless no more', async () => {
    const { source, system } = await openWorld(server());
    system.machine.files['/sys/class/drm/card0-VGA-1/status'] = 'connected\n';
    expect(source.headless).toBe(false);
    expect((await source.read()).inputIdleMs).toBe(1_000);
  });
});

describe('a Mac', () => {
  test('tells what its commands print', async () => {
    const { source, clock, system } = await openWorld(macBook(), ['google chrome', 'Xcode']);
    system.machine.processors = { busyMs: 104_000, totalMs: 1_010_000 };
    system.machine.outputs['/bin/ps -A -o pid=,ppid=,time=,comm='] = macProcesses(11.5, 21);
    await clock.advance(10_000);
    await source.read();
    await clock.settle();
    expect(await source.read()).toEqual({
      inputIdleMs: 68_130,
      locked: false,
      fullScreen: true,
      audio: true,
      otherCpu: expect.closeTo(0.1),
      otherGpu: 0.34,
      onBattery: true,
      charge: 0.78,
      memoryFree: 0.56,
      programs: ['google chrome'],
    });
  });

  test('that is locked says so, and without a battery it is on mains', async () => {
    const machine = macBook();
    machine.outputs['/usr/sbin/ioreg -n Root -d 1'] =
      '"IOConsoleUsers" = ({"kCGSSessionOnConsoleKey"=Yes,"CGSSessionScreenIsLocked"=Yes,"kCGSSessionUserIDKey"=501})';
    machine.outputs['/usr/bin/pmset -g batt'] = "Now drawing from 'AC Power'\n";
    const { source } = await openWorld(machine);
    expect(await source.read()).toMatchObject({ locked: true, onBattery: false });
    expect(source.sources.charge).toBe('not read: there is no battery');
  });
});

describe('a Windows machine', () => {
  test('tells what its watcher prints', async () => {
    const { source } = await openWorld(windowsLaptop(), ['Explorer']);
    expect(await source.read()).toEqual({
      inputIdleMs: 4_210,
      locked: false,
      fullScreen: false,
      audio: false,
      camera: false,
      otherCpu: 0.25,
      onBattery: true,
      charge: 0.62,
      memoryFree: 0.412,
      meteredNetwork: true,
      programs: ['Explorer'],
    });
  });

  test.for([
    [1, { locked: true, fullScreen: false }],
    [2, { locked: false, fullScreen: true }],
    [3, { locked: false, fullScreen: true }],
    [4, { locked: false, fullScreen: true }],
    [6, { locked: false, fullScreen: false }],
  ] as const)('in state %i', async ([state, expected]) => {
    const { source, system } = await openWorld(windowsLaptop());
    system.print(windowsLine({ state }));
    expect(await source.read()).toMatchObject(expected);
  });

  test('of whose watcher nothing more is heard tells nothing', async () => {
    const { source, clock } = await openWorld(windowsLaptop());
    await clock.advance(6_000);
    expect(await source.read()).toEqual({});
    expect(source.sources.inputIdleMs).toMatch(/^not read: /);
  });

  test('whose watcher may not run tries again later, and later', async () => {
    const machine = windowsLaptop();
    const printed = machine.lines;
    machine.lines = [];
    const { source, clock } = await openWorld(machine);
    expect(await source.read()).toEqual({});
    machine.lines = printed;
    await clock.advance(31_000);
    expect(await source.read()).toMatchObject({ inputIdleMs: 4_210 });
  });

  test('that is closed ends its watcher for good', async () => {
    const { source, clock, system } = await openWorld(windowsLaptop());
    expect(system.isFollowed()).toBe(true);
    source.close();
    await clock.advance(400_000);
    expect(system.isFollowed()).toBe(false);
  });

  test('a service has no screen', async () => {
    const { source, system } = await openWorld(windowsLaptop());
    system.print(windowsLine({ session: 0 }));
    expect(source.headless).toBe(true);
    expect(await source.read()).not.toHaveProperty('inputIdleMs');
  });
});

describe('garbage', () => {
  const WAYS: readonly ((text: string) => string)[] = [
    () => '',
    () => '\0\u{fffd}\n'.repeat(40),
    () => 'NaN',
    () => ' ',
    // These may leave something that is true: they are not to throw, and to stay within bounds.
    (text) => text.slice(0, Math.floor(text.length / 2)),
    (text) => `-${text}`,
    () => '99999999999999999999',
  ];
  const MEANINGLESS = 4;

  async function readingOf(machine: Machine): Promise<Signals> {
    const { source, clock } = await openWorld(machine, ['bash']);
    checkReading(await source.read());
    await clock.advance(1_000);
    const reading = await source.read();
    checkReading(reading);
    source.close();
    return reading;
  }
  const alarms = ({ locked, fullScreen, audio, camera, onBattery, otherCpu = 0, otherGpu = 0 }: Signals): string[] =>
    Object.entries({ locked, fullScreen, audio, camera, onBattery, load: otherCpu > 0, graphics: otherGpu > 0 })
      .filter(([, isSo]) => isSo === true)
      .map(([name]) => name);
  const machines = { laptop, desktop, server, container, macBook, windowsLaptop };

  test.for(Object.entries(machines))('in one record of %s is no reason that was not there', async ([, create]) => {
    const intact = alarms(await readingOf(create()));
    const paths = Object.keys({ ...create().files, ...create().outputs });
    for (const [index, path] of paths.entries()) {
      const machine = create();
      const records = path in machine.files ? machine.files : machine.outputs;
      const way = index % WAYS.length;
      records[path] = WAYS[way]!(records[path]!);
      const seen = alarms(await readingOf(machine));
      const known = way < MEANINGLESS ? intact : seen;
      expect(known, `${path}, way ${way}`).toEqual(expect.arrayContaining(seen));
    }
  });

  test.for(Object.entries(machines))('in every record of %s leaves nothing to pause for', async ([, create]) => {
    for (const [way, garble] of WAYS.entries()) {
      const machine = create();
      for (const records of [machine.files, machine.outputs]) {
        for (const [path, text] of Object.entries(records)) records[path] = garble(text);
      }
      machine.lines = machine.lines.map(garble);
      const seen = alarms(await readingOf(machine));
      expect(way < MEANINGLESS ? seen : [], `way ${way}`).toEqual([]);
    }
  });
});
