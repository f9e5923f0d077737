/**
 * What we and all that we started have used of the processors, in ticks: the tree below one process. Children are asked
 * of the kernel, process by process; those once seen stay ours until they end, also when their parent has gone before
 * them. What a child used is its parent's from the moment in which it was buried, so the sum only grows.
 */
import { SIGNAL_LIMITS } from '../limits.ts';
import type { System } from '../system.ts';

export interface OwnProcesses {
  /** `nowMs` of a monotonic clock. */
  ticks(nowMs: number): number;
  pids(): ReadonlySet<number>;
}

interface Stat {
  readonly ticks: number;
  readonly parent: number;
  /** When it started, by which a process is told from another that got its number later. */
  readonly started: string;
}

export function createOwnProcesses(system: System): OwnProcesses {
  let known = new Map<number, string>();
  let walkedMs = -Infinity;

  return {
    ticks(nowMs) {
      const isFullWalk = nowMs - walkedMs >= SIGNAL_LIMITS.treeWalkMs;
      if (isFullWalk) walkedMs = nowMs;
      const seen = new Map<number, string>();
      const childrenOf = familyOf(system, isFullWalk);
      const queue = [system.pid, ...known.keys()];
      let ticks = 0;
      for (const pid of queue) {
        if (seen.has(pid) || seen.size >= SIGNAL_LIMITS.processesMax) continue;
        const stat = readStat(system.peek(`/proc/${pid}/stat`));
        const before = known.get(pid);
        if (stat === undefined || (before !== undefined && before !== stat.started)) continue;
        seen.set(pid, stat.started);
        ticks += stat.ticks;
        queue.push(...childrenOf(pid));
      }
      known = seen;
      return ticks;
    },
    pids: () => new Set(known.keys()),
  };
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
  const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
  return started === undefined || !Number.isFinite(ticks) ? undefined : { ticks, parent, started };
}
