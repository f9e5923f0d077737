/**
 * What we and all that we started have used of the processors: the tree below one process. Children are asked of the
 * kernel, process by process; those once seen stay ours until they end, also when their parent has gone before them.
 * What a child used is its parent's from the moment in which it was buried, so the sum only grows.
 *
 * Ticks are cheap and ten milliseconds long. Over a twentieth of a second that is no measure, and the kernel's own
 * count of each thread is asked for: exact but for what a thread has used since the last tick of its processor.
 */
import { SIGNAL_LIMITS } from '../limits.ts';
import type { System } from '../system.ts';

export interface OwnProcesses {
  /** `nowMs` of a monotonic clock. */
  ticks(nowMs: number): number;
  /** The same in milliseconds, and finer; where the kernel counts no threads, it is ticks. */
  usedMs(nowMs: number): number;
}

/** Of `/proc` on every architecture that Node runs on. */
export const TICK_MS = 10;

interface Stat {
  readonly ticks: number;
  /** Of children that were buried. */
  readonly buriedTicks: number;
  readonly parent: number;
  /** When it started, by which a process is told from another that got its number later. */
  readonly started: string;
}

interface Known {
  readonly started: string;
  /** What threads used that have ended: it is in the ticks of their process, and in no thread's own count. */
  readonly endedMs: number;
}

type Used = (pid: number, stat: Stat, endedMs: number) => { readonly used: number; readonly endedMs?: number };

export function createOwnProcesses(system: System): OwnProcesses {
  let known = new Map<number, Known>();
  let walkedMs = -Infinity;

  function sum(nowMs: number, usedOf: Used): number {
    const isFullWalk = nowMs - walkedMs >= SIGNAL_LIMITS.treeWalkMs;
    if (isFullWalk) walkedMs = nowMs;
    const seen = new Map<number, Known>();
    const childrenOf = familyOf(system, isFullWalk);
    const queue = [system.pid, ...known.keys()];
    let all = 0;
    for (const pid of queue) {
      if (seen.has(pid) || seen.size >= SIGNAL_LIMITS.processesMax) continue;
      const stat = readStat(system.peek(`/proc/${pid}/stat`));
      const before = known.get(pid);
      if (stat === undefined || (before !== undefined && before.started !== stat.started)) continue;
      const { used, endedMs = 0 } = usedOf(pid, stat, before?.endedMs ?? 0);
      seen.set(pid, { started: stat.started, endedMs });
      all += used;
      queue.push(...childrenOf(pid));
    }
    known = seen;
    return all;
  }

  return {
    ticks: (nowMs) => sum(nowMs, (_, { ticks, buriedTicks }) => ({ used: ticks + buriedTicks })),
    usedMs: (nowMs) =>
      sum(nowMs, (pid, { ticks, buriedTicks }, endedBeforeMs) => {
        const threadsMs = threadsMsOf(system, pid);
        const endedMs = Math.max(endedBeforeMs, ticks * TICK_MS - threadsMs);
        return { used: threadsMs + endedMs + buriedTicks * TICK_MS, endedMs };
      }),
  };
}

/** `schedstat`: nanoseconds on processors, then of waiting for one, then how often; zeros where nobody counts. */
function threadsMsOf(system: System, pid: number): number {
  let nanos = 0;
  for (const thread of system.list(`/proc/${pid}/task`)) {
    const own = Number(system.peek(`/proc/${pid}/task/${thread}/schedstat`)?.split(' ')[0]);
    if (Number.isFinite(own)) nanos += own;
  }
  return nanos / 1e6;
}

/** `children` is there on every kernel that can restore processes; without it all processes name their parents. */
function familyOf(system: System, isFullWalk: boolean): (pid: number) => readonly number[] {
  const childrenOf = (pid: number, thread: number): number[] | undefined =>
    system
      .peek(`/proc/${pid}/task/${thread}/children`)
      ?.split(' ')
      .map(Number)
      .filter((child) => child > 0);
  if (childrenOf(system.pid, system.pid) === undefined) return byParent(system);
  return (pid) => {
    // Node starts programs in its main thread; others of its threads are looked at now and then.
    const threads = isFullWalk ? system.list(`/proc/${pid}/task`).map(Number) : [pid];
    return threads.flatMap((thread) => childrenOf(pid, thread) ?? []);
  };
}

function byParent(system: System): (pid: number) => readonly number[] {
  const families = new Map<number, number[]>();
  for (const name of system.list('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readStat(system.peek(`/proc/${name}/stat`));
    if (stat === undefined) continue;
    const siblings = families.get(stat.parent) ?? [];
    siblings.push(Number(name));
    families.set(stat.parent, siblings);
  }
  return (pid) => families.get(pid) ?? [];
}

/** A program's name may hold spaces and brackets, so fields are counted from behind it (proc(5): 3, 4, 14–17, 22). */
function readStat(text: string | undefined): Stat | undefined {
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [parent, started] = [Number(fields[1]), fields[19]];
  const [user, kernel, buriedUser, buriedKernel] = fields.slice(11, 15).map(Number);
  const ticks = Number(user) + Number(kernel);
  const buriedTicks = Number(buriedUser) + Number(buriedKernel);
  if (started === undefined || !Number.isFinite(ticks + buriedTicks)) return undefined;
  return { ticks, buriedTicks, parent, started };
}
