/**
 * The signals of a Windows machine: one PowerShell that runs for as long as we do asks Windows' own functions once a
 * second and prints a line of JSON (`watch.ps1` beside this file, to be read by whoever wants to know what it asks). It
 * ends by itself when we are gone. A line that cannot be read is passed over; when lines stop, nothing is told.
 */
import type { Clock, Timer } from '@idlewild/protocol';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import type { SignalName, SignalSource, Signals } from '../../../core/lending/idleness/port.ts';
import { SIGNAL_LIMITS } from '../limits.ts';
import { within, type Sources } from '../probe.ts';
import { createProgramNames } from '../program-names.ts';
import { createSource } from '../source.ts';
import type { Following, System } from '../system.ts';

const ABSENT: Readonly<Record<SignalName, string>> = {
  inputIdleMs: 'this is a service without a screen, or PowerShell may not run here',
  locked: 'this is a service without a screen, or PowerShell may not run here',
  fullScreen: 'this is a service without a screen, or PowerShell may not run here',
  audio: 'Windows does not tell whether sound is played',
  camera: 'Windows keeps no record of who uses the camera',
  otherCpu: 'PowerShell may not run here',
  otherGpu: 'Windows tells it only at a cost that would be felt',
  onBattery: 'PowerShell may not run here',
  charge: 'there is no battery',
  celsius: 'Windows tells temperatures to administrators alone',
  memoryPressure: 'Windows does not count what waits for memory',
  memoryFree: 'PowerShell may not run here',
  meteredNetwork: 'Windows does not tell what the network costs',
  programs: 'PowerShell may not run here',
};

const WAYS: Sources = {
  inputIdleMs: 'Windows (GetLastInputInfo)',
  locked: 'Windows (SHQueryUserNotificationState)',
  fullScreen: 'Windows (SHQueryUserNotificationState)',
  audio: 'the default loudspeaker, and who uses the microphone',
  camera: "Windows' record of who uses the camera",
  otherCpu: 'processor time, less what Idlewild itself uses (GetSystemTimes)',
  onBattery: 'Windows (GetSystemPowerStatus)',
  charge: 'Windows (GetSystemPowerStatus)',
  memoryFree: 'Windows (GlobalMemoryStatusEx)',
  meteredNetwork: 'what Windows says the network costs',
  programs: 'the list of processes',
};

/** What `watch.ps1` prints. The slow part comes with every tenth line or so and holds until the next. */
const lineSchema = z.object({
  /** 0: a service, which no person sits before. */
  session: z.number().optional(),
  idleMs: z.number().min(0).optional(),
  /** QUERY_USER_NOTIFICATION_STATE. */
  state: z.number().optional(),
  /** SYSTEM_POWER_STATUS: ACLineStatus, BatteryFlag, BatteryLifePercent. */
  line: z.number().optional(),
  flag: z.number().optional(),
  percent: z.number().optional(),
  memoryFree: z.number().optional(),
  busyMs: z.number().optional(),
  totalMs: z.number().optional(),
  ownMs: z.number().optional(),
  sound: z.boolean().optional(),
  microphone: z.boolean().optional(),
  camera: z.boolean().optional(),
  metered: z.boolean().optional(),
  programs: z.array(z.string()).optional(),
});
type Line = z.infer<typeof lineSchema>;

const STATE = { notPresent: 1, busy: 2, direct3d: 3, presentation: 4 } as const;
const NO_BATTERY = 128;
const UNKNOWN = 255;

export async function openWindowsSignals(
  system: System,
  clock: Clock,
  programs: () => readonly string[],
): Promise<SignalSource> {
  const watcher = createWatcher(system, clock);
  await watcher.first;
  const signals = (): Signals => {
    const line = watcher.line();
    return line === undefined ? {} : read(line, watcher.share(), programs());
  };
  return createSource({
    probes: [
      {
        sources: () => Object.fromEntries(Object.keys(signals()).map((name) => [name, WAYS[name as SignalName] ?? ''])),
        read: signals,
        onInput: watcher.onInput,
        close: watcher.close,
      },
    ],
    isHeadless: () => watcher.line()?.session === 0,
    absent: (name) => ABSENT[name],
  });
}

function read(line: Line, share: number | undefined, listed: readonly string[]): Signals {
  const { idleMs, state, memoryFree, camera, metered, percent = UNKNOWN, flag = UNKNOWN } = line;
  const names = createProgramNames(listed);
  for (const program of line.programs ?? []) names.see(program);
  const hasScreen = line.session !== 0;
  const isUsed = state === STATE.busy || state === STATE.direct3d || state === STATE.presentation;
  const isSound = line.sound === undefined ? line.microphone : line.sound || line.microphone === true;
  return {
    ...(hasScreen && idleMs !== undefined ? { inputIdleMs: idleMs } : {}),
    ...(hasScreen && state !== undefined ? { locked: state === STATE.notPresent, fullScreen: isUsed } : {}),
    ...(isSound === undefined ? {} : { audio: isSound }),
    ...(camera === undefined ? {} : { camera }),
    ...(share === undefined ? {} : { otherCpu: share }),
    ...(line.line === 0 || line.line === 1 ? { onBattery: line.line === 0 } : {}),
    ...(flag !== NO_BATTERY && percent <= 100 ? { charge: within(percent / 100, 0, 1) } : {}),
    ...(memoryFree === undefined ? {} : { memoryFree: within(memoryFree, 0, 1) }),
    ...(metered === undefined ? {} : { meteredNetwork: metered }),
    ...(line.programs === undefined ? {} : { programs: names.seen() }),
  };
}

interface Watcher {
  /** Resolves with the first line, or when there is none to be expected soon. */
  readonly first: Promise<void>;
  line(): Line | undefined;
  /** Of the processors, what others kept busy between the last two lines that are far enough apart. */
  share(): number | undefined;
  /** Called when a line says that somebody has come back. */
  onInput(listen: () => void): void;
  close(): void;
}

function createWatcher(system: System, clock: Clock): Watcher {
  const { promise: first, resolve: onFirst } = Promise.withResolvers<void>();
  let line: Line | undefined;
  let lineAtMs = -Infinity;
  let before: Line | undefined;
  let share: number | undefined;
  let following: Following | undefined;
  let restart: Timer | undefined;
  let restarts = 0;
  let isClosed = false;
  let beforeMs = 0;
  let listener: (() => void) | undefined;

  function took(text: string): void {
    const next = parse(text);
    if (next === undefined) return;
    restarts = 0;
    const { programs, camera, microphone, metered, sound } = { ...line };
    const slow = Object.entries({ programs, camera, microphone, metered, sound }).filter(
      ([, value]) => value !== undefined,
    );
    line = { ...Object.fromEntries(slow), ...next };
    lineAtMs = clock.monotonic();
    measure(line);
    const { idleMs = Infinity, session } = next;
    if (idleMs < SIGNAL_LIMITS.awayMs && beforeMs >= SIGNAL_LIMITS.awayMs && session !== 0) listener?.();
    beforeMs = idleMs;
    onFirst();
  }
  function measure(now: Line): void {
    const [total, busy, own] = (['totalMs', 'busyMs', 'ownMs'] as const).map(
      (name) => (now[name] ?? 0) - (before?.[name] ?? 0),
    );
    if (total === undefined || busy === undefined || own === undefined || now.totalMs === undefined) return;
    if (before !== undefined && total < SIGNAL_LIMITS.cpuWindowMsMin) return;
    if (before !== undefined) share = within((busy - Math.max(0, own)) / total, 0, 1);
    before = now;
  }
  function start(): void {
    const shell = `${system.env['SystemRoot'] ?? 'C:\\Windows'}\\System32\\WindowsPowerShell\\v1.0\\powershell.exe`;
    const script = fileURLToPath(new URL('watch.ps1', import.meta.url));
    const how = ['-NoProfile', '-NonInteractive', '-ExecutionPolicy', 'Bypass', '-File', script];
    following = system.follow(shell, [...how, '-Parent', String(system.pid)], took);
    if (following === undefined) return again();
    void following.ended.then(again);
  }
  function again(): void {
    onFirst();
    if (isClosed) return;
    following = undefined;
    restarts = Math.min(restarts + 1, 10);
    restart = clock.after(SIGNAL_LIMITS.restartMs * restarts, start);
  }
  start();
  const patience = clock.after(SIGNAL_LIMITS.commandMsMax, onFirst);
  return {
    first: first.finally(() => patience.cancel()),
    line: () => (clock.monotonic() - lineAtMs <= SIGNAL_LIMITS.sensorsEveryMs ? line : undefined),
    share: () => share,
    onInput(listen) {
      listener = listen;
    },
    close() {
      isClosed = true;
      listener = undefined;
      restart?.cancel();
      following?.stop();
    },
  };
}

function parse(text: string): Line | undefined {
  try {
    const { success, data } = lineSchema.safeParse(JSON.parse(text));
    return success ? data : undefined;
  } catch {
    return undefined;
  }
}
