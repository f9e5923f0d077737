/**
 * The signals of a Mac, as the commands that every Mac has print them. They need no permission, and none of them is
 * long-lived, so input is noticed within seconds and not at once.
 *
 * Not read: the camera, temperatures and metered networks, which macOS tells only to root or to signed applications.
 */
import type { Clock } from '@idlewild/protocol';
import type { SignalName, SignalSource, Signals } from '../../core/lending/idleness/port.ts';
import { SIGNAL_LIMITS } from './limits.ts';
import { numberOf, paced, within, type Probe, type Sources } from './probe.ts';
import { createProgramNames } from './program-names.ts';
import { createSource } from './source.ts';
import type { System } from './system.ts';

const ABSENT: Readonly<Record<SignalName, string>> = {
  inputIdleMs: 'ioreg does not tell the idle time of keyboard and mouse',
  locked: 'nobody is logged in at the screen',
  fullScreen: 'pmset does not tell what keeps the screen on',
  audio: 'pmset does not tell who plays or records sound',
  camera: 'macOS tells nobody who uses the camera; a call shows by its sound',
  otherCpu: 'ps does not list the processes',
  otherGpu: 'no graphics driver tells its load',
  onBattery: 'pmset does not tell what the machine runs on',
  charge: 'there is no battery',
  celsius: 'macOS tells temperatures to root alone',
  memoryPressure: 'macOS does not count what waits for memory',
  memoryFree: 'memory_pressure does not answer',
  meteredNetwork: 'macOS does not tell which networks cost by the byte',
  programs: 'ps does not list the processes',
};

export async function openMacSignals(
  system: System,
  clock: Clock,
  programs: () => readonly string[],
): Promise<SignalSource> {
  let canSeeInput = false;
  const command = (everyMs: number, file: string, args: readonly string[], read: Reader): Probe => {
    let told: Signals = {};
    return paced(clock, everyMs, {
      sources: () => Object.fromEntries(Object.keys(told).map((name) => [name, waysOf(name, file)])),
      async read() {
        told = read((await system.run(file, args)) ?? '');
        return told;
      },
    });
  };
  const { inputCommandEveryMs, commandsEveryMs, networkEveryMs } = SIGNAL_LIMITS;
  return createSource({
    probes: [
      command(inputCommandEveryMs, '/usr/sbin/ioreg', ['-r', '-c', 'IOHIDSystem', '-d', '1'], (out) => {
        const read = readInput(out);
        canSeeInput = read.inputIdleMs !== undefined;
        return read;
      }),
      command(commandsEveryMs, '/usr/sbin/ioreg', ['-n', 'Root', '-d', '1'], readLocked),
      command(commandsEveryMs, '/usr/bin/pmset', ['-g', 'assertions'], readAssertions),
      command(commandsEveryMs, '/usr/sbin/ioreg', ['-r', '-c', 'IOAccelerator', '-d', '1'], readGraphics),
      command(networkEveryMs, '/usr/bin/pmset', ['-g', 'batt'], readBattery),
      command(commandsEveryMs, '/usr/bin/memory_pressure', ['-Q'], readMemory),
      paced(clock, commandsEveryMs, createProcessesProbe(system, programs)),
    ],
    isHeadless: () => !canSeeInput,
    absent: (name) => ABSENT[name],
  });
}

type Reader = (out: string) => Signals;

function waysOf(name: string, file: string): string {
  const command = file.split('/').at(-1) ?? file;
  if (name === 'inputIdleMs')
    return `keyboard and mouse (${command}), every ${SIGNAL_LIMITS.inputCommandEveryMs / 1000} s`;
  if (name === 'fullScreen') return `whether a program keeps the screen on (${command})`;
  return command;
}

/** Nanoseconds. */
function readInput(out: string): Signals {
  const nanos = numberOf(/"HIDIdleTime"\s*=\s*(\d+)/.exec(out)?.[1]);
  return nanos === undefined ? {} : { inputIdleMs: Math.floor(nanos / 1e6) };
}

/** An open session has no word about being locked, rather than the word "no". */
function readLocked(out: string): Signals {
  if (!out.includes('"IOConsoleUsers"')) return {};
  return { locked: /"CGSSessionScreenIsLocked"\s*=\s*Yes/.test(out) || /"IOConsoleLocked"\s*=\s*Yes/.test(out) };
}

/** Calls, films and presentations keep the screen on; sound that is played or recorded keeps the machine awake. */
function readAssertions(out: string): Signals {
  const screen = /^\s*PreventUserIdleDisplaySleep\s+(\d+)\s*$/m.exec(out)?.[1];
  if (screen === undefined) return {};
  return { fullScreen: screen !== '0', audio: /\bResources:.*\baudio-(?:in|out)\b/.test(out) };
}

function readGraphics(out: string): Signals {
  const loads = [...out.matchAll(/"Device Utilization %"\s*=\s*(\d+)/g)].flatMap(([, text]) => numberOf(text) ?? []);
  return loads.length === 0 ? {} : { otherGpu: within(Math.max(...loads) / 100, 0, 1) };
}

function readBattery(out: string): Signals {
  const from = /^Now drawing from '([^']+)'/m.exec(out)?.[1];
  if (from === undefined) return {};
  // A mouse's battery is listed by its own name.
  const percent = numberOf(/^ ?-InternalBattery-\d+.*?\t(\d{1,3})%;/m.exec(out)?.[1]);
  return { onBattery: from !== 'AC Power', ...(percent === undefined ? {} : { charge: within(percent / 100, 0, 1) }) };
}

function readMemory(out: string): Signals {
  const percent = numberOf(/free percentage: (\d+)%/.exec(out)?.[1]);
  return percent === undefined ? {} : { memoryFree: within(percent / 100, 0, 1) };
}

interface MacProcess {
  readonly pid: number;
  readonly parent: number;
  readonly ms: number;
  readonly path: string;
}

/** Programs that run, and how busy those that are not ours keep the processors between two looks. */
function createProcessesProbe(system: System, listed: () => readonly string[]): Probe {
  let before: { readonly busyMs: number; readonly totalMs: number; readonly ownMs: number } | undefined;
  let told: Sources = {};
  return {
    sources: () => told,
    async read() {
      const out = await system.run('/bin/ps', ['-A', '-o', 'pid=,ppid=,time=,comm=']);
      const processes = readProcesses(out ?? '');
      const times = system.processorTimes();
      told = {};
      if (processes.length === 0) return {};
      told = { programs: 'the list of processes (ps)' };
      const names = createProgramNames(listed());
      for (const { path } of processes) names.see(path);
      const now = times === undefined ? undefined : { ...times, ownMs: ownMs(processes, system.pid) };
      const share = before === undefined || now === undefined ? undefined : shareOfOthers(before, now);
      before = now;
      if (now !== undefined) told = { ...told, otherCpu: 'processor time, less what Idlewild itself uses (ps)' };
      return { programs: names.seen(), ...(share === undefined ? {} : { otherCpu: share }) };
    },
  };
}

interface Times {
  readonly busyMs: number;
  readonly totalMs: number;
  readonly ownMs: number;
}

function shareOfOthers(before: Times, now: Times): number | undefined {
  const total = now.totalMs - before.totalMs;
  if (total <= 0) return undefined;
  return within((now.busyMs - before.busyMs - Math.max(0, now.ownMs - before.ownMs)) / total, 0, 1);
}

/** Minutes and seconds, or days, hours, minutes and seconds: `12:34.56`, `1-02:03:04`. */
function readProcesses(out: string): MacProcess[] {
  return [...out.matchAll(/^ *(\d+) +(\d+) +(?:(\d+)-)?([\d:.]+) +(.+)$/gm)].flatMap((match) => {
    const [, pid, parent, days = '0', time = '', path = ''] = match;
    const seconds = time.split(':').reduce((sum, part) => sum * 60 + Number(part), 0) + Number(days) * 86_400;
    return Number.isFinite(seconds) ? [{ pid: Number(pid), parent: Number(parent), ms: seconds * 1000, path }] : [];
  });
}

function ownMs(processes: readonly MacProcess[], root: number): number {
  const families = Map.groupBy(processes, ({ parent }) => parent);
  const own = new Set(processes.filter(({ pid }) => pid === root));
  for (const member of own) for (const child of families.get(member.pid) ?? []) own.add(child);
  return [...own].reduce((sum, { ms }) => sum + ms, 0);
}
