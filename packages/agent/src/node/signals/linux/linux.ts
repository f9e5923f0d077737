/**
 * The signals of a Linux machine, put together: which probes there are, how often each may look, and what "somebody
 * touched it" means where several can tell.
 *
 * What is read at every poll costs microseconds; what asks hardware, a bus or a command is paced. Everything comes and
 * goes: a person logs in after us, plugs in a screen, starts another desktop.
 */
import type { Clock } from '@idlewild/protocol';
import type { SignalName, SignalSource } from '../../../core/lending/idleness/port.ts';
import { SIGNAL_LIMITS } from '../limits.ts';
import { paced, type Probe } from '../probe.ts';
import { createSource } from '../source.ts';
import type { System } from '../system.ts';
import { createCameraProbe } from './camera.ts';
import { createCpuProbe } from './cpu.ts';
import { openBus } from './dbus.ts';
import { createDesktopProbe, createMutterProbe, createNames, createNetworkProbe } from './desktop.ts';
import { createEventDevices } from './event-devices.ts';
import { createGpuProbe, createNvidiaProbe } from './gpu.ts';
import { createGraphicsClientsProbe } from './graphics-clients.ts';
import { createHeatProbe } from './heat.ts';
import { createInputProbe } from './input.ts';
import { createLink } from './link.ts';
import { createLogind } from './logind.ts';
import { createMemoryProbe } from './memory.ts';
import { createPowerProbe } from './power.ts';
import { createProgramsProbe } from './programs.ts';
import { createScreen } from './screen.ts';
import { createSoundCardProbe, createSoundServerProbe } from './sound.ts';
import { createTerminalsProbe } from './terminals.ts';

const ABSENT: Readonly<Record<SignalName, string>> = {
  inputIdleMs: 'this desktop does not tell programs whether somebody is there',
  locked: 'no login manager and no desktop tells',
  fullScreen: 'there is no screen, or its desktop does not tell',
  audio: 'there is no sound card',
  camera: 'there is no camera',
  otherCpu: '/proc/stat cannot be read',
  otherGpu: 'no graphics driver tells its load',
  onBattery: '/sys/class/power_supply cannot be read',
  charge: 'there is no battery',
  celsius: 'no sensor of processors or graphics can be read',
  memoryPressure: 'this kernel does not count what waits for memory',
  memoryFree: '/proc/meminfo cannot be read',
  meteredNetwork: 'NetworkManager does not run, or does not know',
  programs: '/proc cannot be read',
};

export async function openLinuxSignals(
  system: System,
  clock: Clock,
  programs: () => readonly string[],
): Promise<SignalSource> {
  const { env, userId } = system;
  const systemBus = createLink(clock, () => openBus(system, clock, env['DBUS_SYSTEM_BUS_ADDRESS'] ?? SYSTEM_BUS));
  const own = `unix:path=${env['XDG_RUNTIME_DIR'] ?? `/run/user/${userId}`}/bus`;
  const sessionBus = createLink(clock, () => openBus(system, clock, env['DBUS_SESSION_BUS_ADDRESS'] ?? own));
  const names = createNames(clock);

  const { sessionsEveryMs, screenEveryMs, sensorsEveryMs, programsEveryMs, commandsEveryMs } = SIGNAL_LIMITS;
  /** A look of microseconds, or an answer of a bus, is waited for; a command or a sensor is not. */
  const soon = (everyMs: number, probe: Probe): Probe => paced(clock, everyMs, probe, 'wait');
  const later = (everyMs: number, probe: Probe): Probe => paced(clock, everyMs, probe);

  const logind = createLogind(systemBus, clock);
  const sessions = soon(sessionsEveryMs, logind);
  // Who sits where is needed to find the screen.
  await sessions.read();
  const screen = createScreen(system, clock, logind.sessions);
  const events = createEventDevices(system, clock);
  const isHeadless = (): boolean =>
    screen.kind() === undefined &&
    events.count() === 0 &&
    logind.hintedIdleMs() === undefined &&
    (isContainer(system) || !hasMonitor(system));
  const input = createInputProbe({
    direct: [soon(screenEveryMs, screen), soon(screenEveryMs, createMutterProbe(sessionBus, names)), events],
    terminals: soon(screenEveryMs, createTerminalsProbe(system, clock)),
    hintedIdleMs: logind.hintedIdleMs,
    hasWindows: () => screen.kind() !== undefined || logind.hintedIdleMs() !== undefined,
    isHeadless,
  });
  const isWayland = (): boolean => screen.kind() === 'wayland';
  const probes = [
    sessions,
    input,
    soon(sessionsEveryMs, createDesktopProbe(sessionBus, names, isWayland)),
    createCpuProbe(system, clock),
    soon(SIGNAL_LIMITS.graphicsEveryMs, createGpuProbe(system, clock)),
    soon(SIGNAL_LIMITS.graphicsClientsEveryMs, createGraphicsClientsProbe(system, clock)),
    soon(SIGNAL_LIMITS.memoryEveryMs, createMemoryProbe(system)),
    soon(sessionsEveryMs, createSoundCardProbe(system, clock)),
    soon(sensorsEveryMs, createCameraProbe(system)),
    soon(programsEveryMs, createProgramsProbe(system, programs)),
    later(sensorsEveryMs, createPowerProbe(system)),
    later(sensorsEveryMs, createHeatProbe(system, clock)),
    later(commandsEveryMs, createSoundServerProbe(system)),
    later(SIGNAL_LIMITS.nvidiaEveryMs, createNvidiaProbe(system)),
    later(SIGNAL_LIMITS.networkEveryMs, createNetworkProbe(systemBus)),
  ];
  return createSource({
    probes,
    isHeadless,
    absent: (name) => (name === 'inputIdleMs' && isHeadless() ? whyHeadless(system) : ABSENT[name]),
    close() {
      systemBus.close();
      sessionBus.close();
    },
  });
}

const SYSTEM_BUS = 'unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket';

const whyHeadless = (system: System): string =>
  isContainer(system)
    ? 'a container sees neither screen nor keyboard of its machine; load alone tells whether it is idle'
    : 'this machine has no screen and no keyboard; load alone tells whether it is idle';

/** A container has its host's /sys, monitors and all, but sees nobody who sits before them. */
function isContainer(system: System): boolean {
  if (system.env['KUBERNETES_SERVICE_HOST'] !== undefined || system.env['container'] !== undefined) return true;
  const marks = ['/.dockerenv', '/run/.containerenv', '/run/systemd/container'];
  if (marks.some((path) => system.peek(path) !== undefined)) return true;
  return /\/(docker|kubepods|lxc|libpod|containerd)/.test(system.peek('/proc/1/cgroup') ?? '');
}

function hasMonitor(system: System): boolean {
  const drm = '/sys/class/drm';
  return system.list(drm).some((name) => system.peek(`${drm}/${name}/status`)?.trim() === 'connected');
}
