/**
 * How busy other programs keep the processors: all that was busy since the last reading, less what we and our children
 * used. Inside a container that has a share of the machine it is also what others in it take of that share; the higher
 * of both counts, for the person may sit outside.
 */
import type { Clock } from '@idlewild/protocol';
import { SIGNAL_LIMITS } from '../limits.ts';
import { numberOf, within, type Probe } from '../probe.ts';
import type { System } from '../system.ts';
import { createOwnProcesses, type OwnProcesses } from './own-processes.ts';

/** Of `/proc` on every architecture that Node runs on. */
const TICK_MS = 10;

interface Sample {
  readonly atMs: number;
  readonly busy: number;
  readonly total: number;
  readonly own: number;
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
  const total = now.total - before.total;
  if (total <= 0) return undefined;
  const own = Math.max(0, now.own - before.own);
  const machine = (now.busy - before.busy - own) / total;
  if (before.group === undefined || now.group === undefined) return within(machine, 0, 1);
  const usedMs = now.group.usedMs - before.group.usedMs - own * TICK_MS;
  return within(Math.max(machine, usedMs / ((now.atMs - before.atMs) * now.group.processors)), 0, 1);
}

function takeSample(system: System, clock: Clock, ours: OwnProcesses, isLimited: boolean): Sample | undefined {
  const atMs = clock.monotonic();
  const own = ours.ticks(atMs);
  const times = readTimes(system.peek('/proc/stat'));
  return times === undefined ? undefined : { atMs, own, ...times, group: isLimited ? readGroup(system) : undefined };
}

/**
 * user, nice, system, idle, waiting for disks, interrupts, soft interrupts, stolen; the rest is counted in these.
 * A processor that another virtual machine has taken is nobody's here: neither busy nor idle.
 */
function readTimes(text: string | undefined): { busy: number; total: number } | undefined {
  const numbers = /^cpu +([\d ]+)$/m
    .exec(text ?? '')?.[1]
    ?.split(' ')
    .map(Number);
  if (numbers === undefined || numbers.length < 4 || numbers.some((value) => !Number.isFinite(value))) return undefined;
  const [user = 0, nice = 0, kernel = 0, idle = 0, disks = 0, hard = 0, soft = 0] = numbers;
  const busy = user + nice + kernel + hard + soft;
  return { busy, total: busy + idle + disks };
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
