/** What the kernel tells of a process and all its threads. Linux. */
import { readFileSync, readdirSync } from 'node:fs';

/** Of each thread: R, S, D, T, …; none when the process is gone. */
export function threadStates(pid: number): string[] {
  return threadsOf(pid).flatMap((tid) => peek(`/proc/${pid}/task/${tid}/stat`).split(') ')[1]?.[0] ?? []);
}

/** Milliseconds on processors, of all threads together; counts to the nanosecond. */
export function processorMs(pid: number): number {
  return threadsOf(pid).reduce(
    (sum, tid) => sum + Number(peek(`/proc/${pid}/task/${tid}/schedstat`).split(' ')[0] ?? 0) / 1e6,
    0,
  );
}

/** The processes below one that have none below themselves: of a device, its engines, whatever isolates them. */
export function leavesBelow(pid: number): number[] {
  const children = peek(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);
  return children.flatMap((child) => {
    const below = leavesBelow(child);
    return below.length > 0 ? below : [child];
  });
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

/** Empty for what has just gone. */
function peek(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
