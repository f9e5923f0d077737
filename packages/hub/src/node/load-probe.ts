/** How this process is: what Node measures of its event loop and its memory, for `gateway/door/overload.ts`. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { totalmem } from 'node:os';
import { constrainedMemory, memoryUsage } from 'node:process';
import { getHeapStatistics } from 'node:v8';
import type { LoadProbe } from '../gateway/door/overload.ts';

/** Node wakes up this often to see how late it is. */
const RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;

export function createLoadProbe(databaseMs: () => number): LoadProbe & { stop(): void } {
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delays.enable();
  // A container's limit, or the machine; Node says 0 or more than there is where there is no limit.
  const limit = constrainedMemory();
  const roomBytes = limit > 0 ? Math.min(limit, totalmem()) : totalmem();
  let rssBytes = 0;
  /** Reading it takes a file, and a process that may open no more of them is not to end by that. */
  function residentBytes(): number {
    try {
      rssBytes = memoryUsage.rss();
    } catch {
      // What it was a moment ago.
    }
    return rssBytes;
  }
  return {
    loopLateMs() {
      // It counts the interval itself. Without a single tick since the last look there is no mean.
      const meanMs = delays.count === 0 ? 0 : delays.mean / NS_PER_MS - RESOLUTION_MS;
      delays.reset();
      return Math.max(0, meanMs);
    },
    databaseMs,
    memory() {
      const { used_heap_size: used, heap_size_limit: heap } = getHeapStatistics();
      return Math.max(used / heap, residentBytes() / roomBytes);
    },
    stop: () => void delays.disable(),
  };
}
