/**
 * How busy other programs keep the processors: all time since the last reading in which a processor was not idle, less
 * what we and our children used. Inside a container that has a share of the machine it is also what others in it take
 * of that share; the higher of both counts, for the person may sit outside.
 *
 * Busy is what is left of the clock's time: idle time is counted exactly, and the kernel's own sum of busy time only by
 * who happens to run at a tick, which over a twentieth of a second is a guess.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import { numberOf, within, type Probe } from '../probe.ts';
import type { System } from '../system.ts';
import { TICK_MS, createOwnProcesses, type OwnProcesses } from './own-processes.ts';

interface Sample {
  readonly atMs: number;
  readonly processors: number;
  /** Grows with time, or nobody counts here. */
  readonly allMs: number;
  /** Of all processors together: idle, or waiting for disks. */
  readonly awayMs: number;
  readonly stolenMs: number;
  readonly ownMs: number;
  readonly group: Group | undefined;
}

/** What the container may use and has used. */
interface Group {
  readonly processors: number;
  readonly usedMs: number;
}

export function createCpuProbe(system: System, clock: Clock): Probe {
  const ours = createOwnProcesses(system);
  const isLimited = readGroup(system) !== undefined;
  let before = takeSample(system, clock, ours, isLimited);
  let share: number | undefined;
  const where = isLimited ? 'processor time of this machine and of this container' : 'processor time (/proc/stat)';
  return {
    sources: () => (before === undefined ? {} : { otherCpu: `${where}, less what Idlewild itself uses` }),
    read() {
      if (before === undefined || clock.monotonic() - before.atMs >= SIGNAL_LIMITS.cpuWindowMsMin) {
        const now = takeSample(system, clock, ours, isLimited);
        share = before === undefined || now === undefined ? undefined : shareOfOthers(before, now);
        before = now;
      }
      return share === undefined ? {} : { otherCpu: share };
    },
  };
}

function shareOfOthers(before: Sample, now: Sample): number | undefined {
  const passedMs = now.atMs - before.atMs;
  const allMs = passedMs * now.processors - (now.stolenMs - before.stolenMs);
  if (allMs <= 0 || now.allMs <= before.allMs) return undefined;
  const ownMs = Math.max(0, now.ownMs - before.ownMs);
  const machine = (allMs - (now.awayMs - before.awayMs) - ownMs) / allMs;
  if (before.group === undefined || now.group === undefined) return within(machine, 0, 1);
  const usedMs = now.group.usedMs - before.group.usedMs - ownMs;
  return within(Math.max(machine, usedMs / (passedMs * now.group.processors)), 0, 1);
}

function takeSample(system: System, clock: Clock, ours: OwnProcesses, isLimited: boolean): Sample | undefined {
  const ownMs = ours.usedMs(clock.monotonic());
  const times = readTimes(system.peek('/proc/stat'));
  if (times === undefined) return undefined;
  return { atMs: clock.monotonic(), ownMs, ...times, group: isLimited ? readGroup(system) : undefined };
}

/**
 * user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; the rest is counted in these.
 * A processor that another virtual machine has taken is nobody's here: neither busy nor idle.
 */
function readTimes(text = ''): Omit<Sample, 'atMs' | 'ownMs' | 'group'> | undefined {
  const numbers = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(' ').map(Number);
  if (numbers === undefined || numbers.length < 4 || numbers.some((value) => !Number.isFinite(value))) return undefined;
  const [, , , idle = 0, disks = 0, , , stolen = 0] = numbers;
  const allMs = numbers.reduce((sum, value) => sum + value, 0) * TICK_MS;
  const processors = text.match(/^cpu\d/gm)?.length ?? 1;
  return { processors, allMs, awayMs: (idle + disks) * TICK_MS, stolenMs: stolen * TICK_MS };
}

/** Only a container with a limit has these files at the top of what it sees (cgroup v2, then v1). */
function readGroup(system: System): Group | undefined {
  const [quota, period] = system.peek('/sys/fs/cgroup/cpu.max')?.split(' ').map(numberOf) ?? [
    numberOf(system.peek('/sys/fs/cgroup/cpu/cpu.cfs_quota_us')),
    numberOf(system.peek('/sys/fs/cgroup/cpu/cpu.cfs_period_us')),
  ];
  if (quota === undefined || period === undefined || quota <= 0 || period <= 0) return undefined;
  const micros = numberOf(/^usage_usec (\d+)$/m.exec(system.peek('/sys/fs/cgroup/cpu.stat') ?? '')?.[1]);
  const nanos = numberOf(system.peek('/sys/fs/cgroup/cpuacct/cpuacct.usage'));
  const usedMs = micros === undefined ? (nanos === undefined ? undefined : nanos / 1e6) : micros / 1e3;
  return usedMs === undefined ? undefined : { processors: quota / period, usedMs };
}
