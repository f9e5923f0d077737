/**
 * Memory that is short: the share of the last ten seconds in which something waited for it (pressure stall
 * information, Linux 4.20), and the share that can be had. In a container with a limit, whichever of container and
 * machine is worse off.
 */
import { numberOf, within, type Probe } from '../probe.ts';
import type { System } from '../system.ts';

/** Limits beyond this are how cgroup v1 writes that there is none. */
const NO_LIMIT = 2 ** 60;

export function createMemoryProbe(system: System): Probe {
  const pressure = (): number | undefined => {
    const some = (path: string): number | undefined =>
      numberOf(/^some avg10=([\d.]+)/m.exec(system.peek(path) ?? '')?.[1]);
    const seen = [some('/proc/pressure/memory'), some('/sys/fs/cgroup/memory.pressure')].filter((v) => v !== undefined);
    return seen.length === 0 ? undefined : within(Math.max(...seen) / 100, 0, 1);
  };
  const free = (): number | undefined => {
    const seen = [machineFree(system), groupFree(system)].filter((share) => share !== undefined);
    return seen.length === 0 ? undefined : within(Math.min(...seen), 0, 1);
  };
  return {
    sources: () => ({
      ...(pressure() === undefined ? {} : { memoryPressure: 'what waits for memory (/proc/pressure)' }),
      ...(free() === undefined ? {} : { memoryFree: 'memory that is available (/proc/meminfo)' }),
    }),
    read() {
      const [memoryPressure, memoryFree] = [pressure(), free()];
      return {
        ...(memoryPressure === undefined ? {} : { memoryPressure }),
        ...(memoryFree === undefined ? {} : { memoryFree }),
      };
    },
  };
}

function machineFree(system: System): number | undefined {
  const text = system.peek('/proc/meminfo') ?? '';
  const total = numberOf(/^MemTotal: +(\d+) kB$/m.exec(text)?.[1]);
  const available = numberOf(/^MemAvailable: +(\d+) kB$/m.exec(text)?.[1]);
  return total === undefined || available === undefined || total === 0 ? undefined : available / total;
}

/** Pages of files that nobody has used for a while can be had at once, so they count as free. */
function groupFree(system: System): number | undefined {
  const root = '/sys/fs/cgroup';
  const first = (...paths: string[]): number | undefined =>
    paths.map((path) => numberOf(system.peek(`${root}/${path}`))).find((value) => value !== undefined);
  const limit = first('memory.max', 'memory/memory.limit_in_bytes');
  const used = first('memory.current', 'memory/memory.usage_in_bytes');
  if (limit === undefined || used === undefined || limit <= 0 || limit >= NO_LIMIT) return undefined;
  const stat = system.peek(`${root}/memory.stat`) ?? system.peek(`${root}/memory/memory.stat`) ?? '';
  const old = numberOf(/^(?:total_)?inactive_file (\d+)$/m.exec(stat)?.[1]) ?? 0;
  return (limit - used + old) / limit;
}
